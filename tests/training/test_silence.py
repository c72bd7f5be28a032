"""Where a source is found silent, and that it is nowhere found so where it sounds."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from rtsep.training.corpus import Track
from rtsep.training.labels import BASS, DRUMS, OTHER, VOCALS
from rtsep.training.silence import BLOCK, band_power, block_power, silent_stretches

RATE = 44100
BLOCKS = 20
SAMPLES = BLOCKS * BLOCK


def tone(frequency: float, level: float = 0.2, first: int = 0, last: int = BLOCKS) -> NDArray[np.float64]:
    """A sine between two blocks, silence around it."""
    audio = np.zeros((SAMPLES, 2))
    time = np.arange((last - first) * BLOCK) / RATE
    audio[first * BLOCK : last * BLOCK] = level * np.sin(2.0 * np.pi * frequency * time)[:, None]
    return audio


def stem(audio: NDArray[np.float64]) -> NDArray[np.int16]:
    return np.round(audio * 32767.0).astype(np.int16)


def ranges(track: Track, source: int, samples: int = 4 * BLOCK, db: float = -40.0) -> list[tuple[int, int]]:
    found = silent_stretches(track, False, source, RATE, db, samples)
    return [(s.start // BLOCK, s.end // BLOCK) for s in found]


def test_powers_are_mean_squares() -> None:
    audio = stem(tone(1000.0))
    assert block_power(audio) == pytest.approx(0.02, rel=0.02)
    assert band_power(audio, RATE, ((800.0, 1200.0),))[2:-2] == pytest.approx(0.02, rel=0.05)
    assert band_power(audio, RATE, ((30.0, 300.0),)).max() < 1e-9
    assert (
        block_power(audio[: BLOCK - 1]).size == band_power(audio[: BLOCK - 1], RATE, ((1.0, 2.0),)).size == 0
    )


def test_long_sounds_are_taken_in_pieces_without_a_seam() -> None:
    time = np.arange(1100 * BLOCK) / RATE
    audio = stem(np.repeat(0.2 * np.sin(2.0 * np.pi * 1000.0 * time)[:, None], 2, axis=1))
    assert block_power(audio) == pytest.approx(0.02, rel=0.02)
    assert band_power(audio, RATE, ((800.0, 1200.0),)) == pytest.approx(0.02, rel=0.05)


def test_a_bass_is_silent_where_an_accompaniment_has_no_low_end() -> None:
    whole = tone(6000.0) + tone(80.0, first=8)
    track = Track("song", "root", {"accompaniment": stem(whole)})
    ((start, end),) = ranges(track, BASS)
    assert (start, end) == (0, 7)  # the block before the first note shares a frame with it
    (stretch,) = silent_stretches(track, False, BASS, RATE, -40.0, 4 * BLOCK)
    # There are no vocals, and that is known; what was one group is one without the bass.
    assert stretch.labels == (((VOCALS,), ()), ((DRUMS, OTHER), ("accompaniment",)))
    assert ranges(track, BASS, samples=8 * BLOCK) == []


def test_of_an_unlabelled_song_the_rest_is_three_stems() -> None:
    stems = {"rest": stem(tone(80.0) + tone(1000.0, first=6, last=10))}
    track = Track("song", "root", stems, rest=("vocals", "drums", "bass", "other"), unknown=True)
    assert ranges(track, VOCALS) == [(0, 5), (11, 20)]
    assert ranges(track, BASS) == [] and ranges(track, DRUMS) == []  # 80 Hz could be either
    stretches = silent_stretches(track, False, VOCALS, RATE, -40.0, 4 * BLOCK)
    assert stretches[0].labels == (((DRUMS, BASS, OTHER), ("rest",)),)
    assert ranges(track, OTHER) == [], "there is no band that it must use"


@pytest.mark.parametrize(("level", "found"), [(0.2e-1, False), (0.2e-3, True)])
def test_what_is_let_pass_is_below_the_threshold(level: float, found: bool) -> None:
    """The threshold bounds how wrong a label may be: -40 dB is a hundredth of the amplitude."""
    stems = {"accompaniment": stem(tone(6000.0) + tone(100.0, level))}
    assert bool(ranges(Track("song", "root", stems), BASS)) == found


def test_in_a_mastered_mixture_a_source_is_silent_where_its_file_is() -> None:
    stems = {"vocals": stem(tone(500.0, first=9)), "mixture": stem(0.5 * tone(700.0) + tone(500.0, first=9))}
    track = Track("song", "root", stems, unknown=True)
    assert ranges(track, VOCALS) == [(0, 9)]
    (stretch,) = silent_stretches(track, False, VOCALS, RATE, -40.0, 4 * BLOCK)
    assert stretch.labels == (((DRUMS, BASS, OTHER), ("mixture",)),)
    assert ranges(track, DRUMS) == [], "of the drums there is no file"


def test_a_source_that_is_known_apart_is_not_looked_for() -> None:
    four = {name: stem(tone(6000.0)) for name in ("vocals", "drums", "bass", "other")}
    assert all(ranges(Track("song", "root", four), source) == [] for source in range(4))
    alone = Track("song", "root", {"vocals": stem(tone(6000.0))}, unknown=True)
    assert all(ranges(alone, source) == [] for source in range(4))


def test_silence_all_through_has_no_level_to_be_below_of() -> None:
    assert ranges(Track("song", "root", {"accompaniment": stem(np.zeros((SAMPLES, 2)))}), BASS) == []
