"""`rtsep demo` on the real song, with a tiny model in place of the shipped one."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
import soundfile
from matplotlib.figure import Figure

from rtsep.evaluation.picture import draw_spectrograms, spectrogram
from tests.cli.command import rtsep
from tests.models import build_tiny_model

STEMS = ("vocals", "drums", "bass", "other")
TONE = 46 * 44100 / 2048
"""In the middle of a bin."""


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_tiny_model(tmp_path_factory.mktemp("models"), "causal-lstm", passthrough=True)


@pytest.mark.realtime
def test_the_demo_writes_aligned_stems_a_mix_and_a_picture(model: Path, tmp_path: Path) -> None:
    import stempeg

    result = rtsep("demo", "--model", model, "-o", tmp_path / "out")
    assert result.returncode == 0, result.stderr
    for words in ("algorithmic", "p99.9 ms", "deadline ms", "underruns", "vocals", "dB"):
        assert words in result.stdout
    sounds = {
        path.stem: soundfile.read(path, dtype="float32")[0] for path in (tmp_path / "out").glob("*.wav")
    }
    assert set(sounds) == {*STEMS, "mix-without-vocals"}
    mixture = stempeg.read_stems(stempeg.example_stem_path(), stem_id=0)[0].astype(np.float32)
    # The passthrough model gives every stem a quarter of the mixture; muting one leaves three quarters.
    total = sum(sounds[stem] for stem in STEMS)
    # In real time, what a busy machine never got to is silence, and what comes next to it has no past.
    lost = np.convolve(~total.any(axis=1), np.ones(2049), "same") > 0.5
    assert np.abs(total - mixture)[~lost].max() < 1e-4
    assert np.mean(~lost) > 0.25
    picture = (tmp_path / "out" / "muted-vocals.png").read_bytes()
    assert picture.startswith(b"\x89PNG") and len(picture) > 50_000


def test_a_spectrogram_shows_a_tone_where_it_is() -> None:
    tone = np.sin(2.0 * np.pi * TONE * np.arange(44100) / 44100).astype(np.float32)
    level = spectrogram(np.stack((tone, tone)))
    loudest = level[:, 20].argmax() * 44100 / 2048
    assert loudest == pytest.approx(TONE)
    assert level.max() == pytest.approx(0.0, abs=0.5)


@pytest.mark.parametrize("rate", [8000, 16000, 44100])
def test_a_spectrogram_ends_where_there_are_no_more_frequencies(
    rate: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    saved: list[Figure] = []
    monkeypatch.setattr(Figure, "savefig", lambda figure, *_, **__: saved.append(figure))
    draw_spectrograms({"noise": np.ones((2, rate), np.float32)}, rate, io.BytesIO())
    axis = saved[0].axes[0]
    assert axis.get_ylim() == (60.0, rate / 2)
    assert 3000 in axis.get_yticks() and (10000 in axis.get_yticks()) == (rate == 44100)


@pytest.mark.realtime
def test_an_unknown_model_is_one_line(tmp_path: Path) -> None:
    result = rtsep("demo", "--model", "no-such-model", "-o", tmp_path / "out")
    assert result.returncode == 4
    assert len(result.stderr.strip().splitlines()) == 1
    assert not (tmp_path / "out").exists()
