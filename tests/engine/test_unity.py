"""Whoever puts the engine in a signal chain loses nothing until a fader is touched.

Through the whole engine, with real networks: rings, native callback, framing, overlap-add, mixer.
"""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from rtsep.backends.stream import HopStream, open_stream
from rtsep.dsp.resampling import pass_band
from rtsep.rt.ring import RingBuffer
from tests.engine.standin import delayed, through_file
from tests.models import ARCHITECTURES, build_tiny_model

SECONDS = 1.5


@pytest.fixture(scope="module", params=ARCHITECTURES)
def stream(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> HopStream:
    """Separates nonsense, but into stems that differ."""
    return open_stream(build_tiny_model(tmp_path_factory.mktemp("models"), request.param))


def noise(rate: int, below: float | None = None) -> NDArray[np.float32]:
    """White, or with nothing above `below` Hz; each channel its own, within full scale."""
    samples = int(SECONDS * rate)
    white = np.random.default_rng(3).standard_normal((2, samples))
    if below is not None:
        spectrum = np.fft.rfft(white)
        spectrum[:, int(below / rate * samples) :] = 0.0
        # Silence at both ends: a band limit rings on both sides of an edge.
        edge = np.clip(np.minimum(np.arange(samples), np.arange(samples)[::-1]) / 8000.0, 0.0, 1.0)
        white = np.fft.irfft(spectrum, samples) * (0.5 - 0.5 * np.cos(np.pi * edge))
    return (0.2 * white).astype(np.float32)


def residual_db(out: NDArray[np.float32], audio: NDArray[np.float32], latency: int) -> float:
    """Level of what the engine changed against the signal, from the first sample of the output to the last.

    The opening of the gate, 64 samples, lies before the first sound.
    """
    due = delayed(audio, latency, out.shape[1]).astype(np.float64)
    rest = np.sqrt(np.mean(np.square(out - due)))
    return float(20.0 * np.log10(max(rest, 1e-12) / np.sqrt(np.mean(np.square(due)))))


@pytest.mark.parametrize("block", [64, 128, 480, 509, 1021, 1024])
def test_the_output_is_the_delayed_input(stream: HopStream, block: int) -> None:
    audio = noise(44100)
    out, telemetry, latency = through_file(stream, audio, block)
    assert telemetry.underruns == telemetry.bad_hops == 0
    assert out.shape[1] == audio.shape[1] + latency
    assert residual_db(out, audio, latency) < -100.0


def test_the_stems_that_are_recorded_sum_to_the_delayed_input(stream: HopStream) -> None:
    audio = noise(44100)
    hop, delay = stream.spec.hop, stream.spec.delay
    tape = RingBuffer((len(stream.spec.stems) + 1) * 2, audio.shape[1] + 16 * 1024)
    through_file(stream, audio, recorder=tape)
    frames = np.zeros((tape.read_available, tape.channels), np.float32)
    assert tape.pop(frames) == len(frames) >= audio.shape[1] // hop * hop
    recorded = frames.T.reshape(len(stream.spec.stems) + 1, 2, -1)
    stems, mix = recorded[:-1], recorded[-1]
    due = delayed(audio, delay, mix.shape[1])
    assert np.abs(stems.sum(axis=0) - mix).max() < 1e-6
    assert np.abs(mix - due).max() < 1e-5
    # They are stems, not four times the same.
    assert np.abs(stems[0] - stems[1]).max() > 0.01


def test_at_another_rate_what_is_lost_lies_above_the_pass_band(stream: HopStream) -> None:
    """48 kHz through a model at 44.1: two resamplers, each flat to within their design below 20 kHz."""
    audio = noise(48000, below=0.99 * pass_band(48000, 44100))
    out, telemetry, latency = through_file(stream, audio, 480, rate=48000)
    assert telemetry.underruns == 0
    due = delayed(audio, latency, out.shape[1])
    # The delay of the resamplers is no whole number of samples; what the rounding leaves is undone here.
    frequencies = np.fft.rfftfreq(out.shape[1])
    wanted, heard = np.fft.rfft(due), np.fft.rfft(out)
    phase = np.sum(np.angle(heard * wanted.conj()) * np.abs(wanted) ** 2 * frequencies)
    offset = -phase / np.sum(np.abs(wanted) ** 2 * frequencies**2) / (2.0 * np.pi)
    assert abs(offset) <= 0.5
    shifted = wanted * np.exp(-2j * np.pi * frequencies * offset)
    rest = np.linalg.norm(heard - shifted) / np.linalg.norm(wanted)
    assert 20.0 * np.log10(rest) < -80.0
