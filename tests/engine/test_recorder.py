"""The recorder: all that came through the ring, in files that line up, whatever happens to it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
import soundfile
from numpy.typing import NDArray

from rtsep.backends.stream import open_stream
from rtsep.engine.inprocess import InProcessEngine
from rtsep.engine.recorder import MIX, Recorder
from rtsep.io.file import FileDriver, array_reader
from rtsep.rt.ring import RingBuffer
from rtsep.spec import AudioFileError
from tests.cli.command import environment, snapshot
from tests.io.test_growing import files_end_at, named
from tests.models import build_tiny_model
from tests.waiting import until

STEMS = ("vocals", "drums")
WIDTH = 6
NAMES = (*STEMS, MIX)
NOISE = np.random.default_rng(2).standard_normal((30_000, WIDTH)).astype(np.float32)


def recorder(folder: Path, frames: int = 1 << 16) -> tuple[RingBuffer, Recorder]:
    ring = RingBuffer(WIDTH, frames)
    return ring, Recorder(ring, folder, STEMS, 44100, 2)


def read(folder: Path, suffix: str = ".wav") -> NDArray[np.float32]:
    """All files side by side, as they were in the ring."""
    return np.hstack([soundfile.read(folder / f"{name}{suffix}", dtype="float32")[0] for name in NAMES])


def test_what_is_pushed_is_in_the_files_bit_for_bit(tmp_path: Path) -> None:
    folder = tmp_path / "new" / "set"
    ring, tape = recorder(folder)
    tape.start()
    position = 0
    for count in (1, 511, 8192, 8193, 3000, 10_103):
        assert ring.push(NOISE[position : position + count]) == count
        position += count
        until(lambda: tape.frames == position)  # noqa: B023 - used at once
    made = tape.stop()
    assert made == tape.stop()
    assert made.frames == len(NOISE) and made.failure is None
    assert made.seconds == pytest.approx(len(NOISE) / 44100)
    assert made.files == tuple(folder / f"{name}.wav" for name in NAMES)
    assert sorted(file.name for file in folder.iterdir()) == sorted(f"{name}.wav" for name in NAMES)
    np.testing.assert_array_equal(read(folder), NOISE)


def test_one_file_has_all_of_them_side_by_side(tmp_path: Path) -> None:
    ring = RingBuffer(WIDTH, 1 << 16)
    tape = Recorder(ring, tmp_path / "set", STEMS, 44100, 2, multichannel=True)
    tape.start()
    ring.push(NOISE[:7000])
    part, whole = tmp_path / "set" / "multichannel.part.wav", tmp_path / "set" / "multichannel.wav"
    until(lambda: soundfile.info(part).frames == 7000)
    np.testing.assert_array_equal(soundfile.read(part, dtype="float32")[0], NOISE[:7000])
    ring.push(NOISE[7000:])
    made = tape.stop()
    assert (made.files, made.frames, made.failure) == ((whole,), len(NOISE), None)
    assert [file.name for file in (tmp_path / "set").iterdir()] == ["multichannel.wav"]
    np.testing.assert_array_equal(soundfile.read(whole, dtype="float32")[0], NOISE)
    assert named(whole) == ["vocals L", "vocals R", "drums L", "drums R", "mix L", "mix R"]
    with pytest.raises(AudioFileError, match=r"multichannel\.wav: exists already"):
        Recorder(ring, tmp_path / "set", STEMS, 44100, 2, multichannel=True)


def test_a_full_disk_keeps_what_one_file_had(tmp_path: Path) -> None:
    ring = RingBuffer(WIDTH, 1 << 16)
    tape = Recorder(ring, tmp_path / "set", STEMS, 44100, 2, multichannel=True)
    tape.start()
    ring.push(NOISE[:4000])
    until(lambda: tape.frames == 4000)
    with files_end_at(150_000):
        ring.push(NOISE[4000:])
        until(lambda: tape.failure is not None)
    made = tape.stop()
    (part,) = made.files
    assert part.name == "multichannel.part.wav" and made.frames == 4000
    np.testing.assert_array_equal(soundfile.read(part, dtype="float32")[0], NOISE[:4000])


def test_what_is_in_the_ring_when_it_stops_is_taken_along(tmp_path: Path) -> None:
    ring, tape = recorder(tmp_path / "set")
    tape.start()
    ring.push(NOISE)
    assert tape.stop().frames == len(NOISE)
    np.testing.assert_array_equal(read(tmp_path / "set"), NOISE)


def test_while_it_records_the_files_say_so_and_play(tmp_path: Path) -> None:
    ring, tape = recorder(tmp_path)
    tape.start()
    ring.push(NOISE[:7000])
    until(lambda: soundfile.info(tmp_path / f"{MIX}.part.wav").frames == 7000)
    assert sorted(file.name for file in tmp_path.iterdir()) == sorted(f"{n}.part.wav" for n in NAMES)
    np.testing.assert_array_equal(read(tmp_path, ".part.wav"), NOISE[:7000])
    tape.stop()


def test_nothing_recorded_leaves_nothing(tmp_path: Path) -> None:
    _, tape = recorder(tmp_path / "a" / "b")
    tape.start()
    assert (tmp_path / "a" / "b" / "mix.part.wav").exists()
    made = tape.stop()
    assert (made.files, made.frames, made.failure) == ((), 0, None)
    assert snapshot(tmp_path) == {}
    _, unused = recorder(tmp_path / "a" / "b")
    assert unused.stop().files == () and snapshot(tmp_path) == {}


@pytest.mark.parametrize(
    ("file", "message"),
    [("drums.wav", "exists already"), ("mix.part.wav", "left of a recording that was cut off")],
)
def test_an_existing_recording_is_never_replaced(tmp_path: Path, file: str, message: str) -> None:
    ring = RingBuffer(WIDTH, 64)
    (tmp_path / file).write_text("an evening")
    before = snapshot(tmp_path)
    with pytest.raises(AudioFileError, match=message):
        Recorder(ring, tmp_path, STEMS, 44100, 2)
    assert snapshot(tmp_path) == before


def test_one_that_appears_meanwhile_is_not_replaced_either(tmp_path: Path) -> None:
    ring, tape = recorder(tmp_path)
    tape.start()
    ring.push(NOISE[:100])
    (tmp_path / "drums.wav").write_text("an evening")
    made = tape.stop()
    assert made.failure is not None and "drums.wav has appeared meanwhile" in made.failure
    assert made.files == tuple(tmp_path / f"{name}.part.wav" for name in NAMES)
    assert (tmp_path / "drums.wav").read_text() == "an evening"
    np.testing.assert_array_equal(read(tmp_path, ".part.wav"), NOISE[:100])


def test_a_folder_that_cannot_be_is_said_before_anything_is_made(tmp_path: Path) -> None:
    ring = RingBuffer(WIDTH, 64)
    (tmp_path / "file").write_text("")
    with pytest.raises(AudioFileError, match="a file, where a folder"):
        Recorder(ring, tmp_path / "file", STEMS, 44100, 2)
    before = snapshot(tmp_path)
    with pytest.raises(AudioFileError, match="cannot be recorded to: Not a directory"):
        Recorder(ring, tmp_path / "file" / "set", STEMS, 44100, 2).start()
    assert snapshot(tmp_path) == before


def test_a_ring_of_another_width_is_a_mistake(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="8 wide"):
        Recorder(RingBuffer(8, 64), tmp_path, STEMS, 44100, 2)


def test_a_full_disk_keeps_what_there_was_and_says_so(tmp_path: Path) -> None:
    ring, tape = recorder(tmp_path / "set")
    tape.start()
    ring.push(NOISE[:4000])
    until(lambda: tape.frames == 4000)
    with files_end_at(50_000):
        ring.push(NOISE[4000:])
        until(lambda: tape.failure is not None)
    # Whoever pushes is not held up, and never was: the ring fills and no more.
    ring.push(NOISE)
    assert ring.push(NOISE) + 2 * len(NOISE) <= ring.capacity + len(NOISE)
    made = tape.stop()
    assert made.failure is not None and "\n" not in made.failure
    assert "File too large" in made.failure and str(tmp_path / "set" / "*.part.wav") in made.failure
    assert made.files == tuple(tmp_path / "set" / f"{name}.part.wav" for name in NAMES)
    # All of one length.
    np.testing.assert_array_equal(read(tmp_path / "set", ".part.wav"), NOISE[: made.frames])
    assert made.frames == 4000


_DIE = """
import os, signal, sys, time
from pathlib import Path
import numpy as np, soundfile
from rtsep.engine.recorder import Recorder
from rtsep.rt.ring import RingBuffer
folder = Path(sys.argv[1])
ring = RingBuffer(6, 1 << 16)
Recorder(ring, folder, ("vocals", "drums"), 44100, 2).start()
ring.push(np.random.default_rng(2).standard_normal((30_000, 6)).astype(np.float32))
while soundfile.info(folder / "mix.part.wav").frames < 30_000:
    time.sleep(0.01)
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_a_process_that_is_killed_leaves_what_it_recorded(tmp_path: Path) -> None:
    done = subprocess.run([sys.executable, "-c", _DIE, tmp_path], env=environment(), check=False, timeout=60)
    assert done.returncode == -signal.SIGKILL
    np.testing.assert_array_equal(read(tmp_path, ".part.wav"), NOISE)
    with pytest.raises(AudioFileError, match="cut off, and plays as it is"):
        recorder(tmp_path)


def test_memory_does_not_grow_with_the_recording(tmp_path: Path) -> None:
    ring, tape = recorder(tmp_path, 8192)
    tape.start()
    block = NOISE[:4096]

    def feed(times: int) -> None:
        for _ in range(times):
            until(lambda: ring.write_available >= len(block))
            ring.push(block)

    feed(4)
    tracemalloc.start()
    try:
        feed(4)
        tracemalloc.reset_peak()
        before, _ = tracemalloc.get_traced_memory()
        feed(30)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    # A copy of one stem's chunk, at most; what was fed is 2.9 MB.
    assert peak - before < 2 * block.nbytes
    assert tape.stop().frames == 38 * len(block)


@pytest.mark.parametrize("architecture", ["causal-lstm", "conv-tasnet"])
def test_stems_of_the_engine_add_up_to_its_input_and_at_unity_to_the_mix(
    tmp_path: Path, architecture: str
) -> None:
    noise = (0.1 * np.random.default_rng(3).standard_normal((2, 30_000))).astype(np.float32)
    heard: list[NDArray[np.float32]] = []

    def run(folder: Path, muted: str | None) -> dict[str, NDArray[np.float32]]:
        heard.clear()
        driver = FileDriver(array_reader(noise), lambda b: heard.append(b.copy()), 44100, block=128)
        ring = RingBuffer(10, 1 << 17)
        tape = Recorder(ring, folder, stream.spec.stems, 44100, 2)
        engine = InProcessEngine(driver, stream, recorder=ring)
        if muted is not None:
            engine.board.set_mute(muted)
        tape.start()
        with engine:
            assert engine.wait(60.0)
        assert engine.telemetry().record_lost == 0
        made = tape.stop()
        assert made.frames == engine.telemetry().hops * stream.spec.hop
        return {file.stem: soundfile.read(file, dtype="float32")[0].T for file in made.files}

    with open_stream(build_tiny_model(tmp_path, architecture)) as stream:
        delay = stream.spec.delay
        open_ = run(tmp_path / "open", None)
        total = np.sum([open_[stem] for stem in stream.spec.stems], axis=0, dtype=np.float32)
        assert np.abs(total[:, delay : delay + 30_000] - noise[:, : total.shape[1] - delay]).max() < 1e-5
        assert np.abs(total[:, :delay]).max() < 1e-6
        np.testing.assert_array_equal(open_[MIX], total)
        muted = run(tmp_path / "muted", "vocals")
        # The stems are those before their gains; the mix is what was heard. Whether the last hop, all beyond
        # the input's end, is still separated is a matter of who stops first.
        length = min(muted[MIX].shape[1], total.shape[1])
        assert length >= 30_000 + delay - stream.spec.hop
        for stem in stream.spec.stems:
            np.testing.assert_array_equal(muted[stem][:, :length], open_[stem][:, :length])
        rest = np.sum([muted[stem] for stem in stream.spec.stems[1:]], axis=0, dtype=np.float32)
        assert np.abs(muted[MIX] - rest).max() < 1e-6 < np.abs(muted["vocals"]).max()
        played = np.concatenate(heard, axis=1)
        np.testing.assert_array_equal(played, muted[MIX][:, delay : delay + played.shape[1]])


def test_what_the_ring_cannot_take_is_counted_and_does_not_hold_up_the_sound(tmp_path: Path) -> None:
    noise = np.zeros((2, 30_000), np.float32)
    driver = FileDriver(array_reader(noise), None, 44100, block=128)
    ring = RingBuffer(10, 4096)
    with open_stream(build_tiny_model(tmp_path)) as stream:
        with InProcessEngine(driver, stream, recorder=ring) as engine:
            assert engine.wait(60.0)
        telemetry = engine.telemetry()
    assert telemetry.record_lost == telemetry.hops * stream.spec.hop - 4096 > 0
    assert telemetry.underruns == 0 and driver.frames_written == 30_000
    assert os.listdir(tmp_path) == ["causal-lstm"]
