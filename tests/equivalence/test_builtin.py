"""Built-in methods in the stream: equal to the whole computed at once, causal, transparent, on time."""

from __future__ import annotations

from pathlib import Path

import librosa
import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.ndimage import median_filter
from scipy.signal import lfilter

from rtsep.backends.stream import HopStream, open_stream
from rtsep.dsp.spectra import Transform
from rtsep.engine.inprocess import InProcessEngine
from rtsep.io.file import FileDriver, array_reader
from rtsep.separators.registry import ModelPackage, built_in
from tests.backends.steadiness import assert_makes_no_array
from tests.equivalence.streaming import equal_sizes, noise, random_sizes, run_in_blocks

METHODS = ("adress", "centre", "hpss")
SAMPLES = 30011


def opened(name: str) -> HopStream:
    return open_stream(name)


def music(samples: int = SAMPLES, seed: int = 0) -> NDArray[np.float32]:
    """A tone on the left, one in the middle, clicks on the right, and a little noise everywhere."""
    time = np.arange(samples) / 44100.0
    left = 0.3 * np.sin(2 * np.pi * 440.0 * time)
    middle = 0.3 * np.sin(2 * np.pi * 1000.0 * time + 3.0 * np.sin(2 * np.pi * 5.0 * time))
    clicks = np.where(np.arange(samples) % 9000 == 4000, 0.9, 0.0)
    whole = np.stack([left + middle, middle + clicks])
    return (whole + 0.01 * noise(2, samples, seed)).astype(np.float32)


def masks(name: str, spectra: NDArray[np.complex128], config: dict[str, float]) -> NDArray[np.complex128]:
    """Stems (stems, channels, frames, bins) of all spectra at once, by libraries and by brute force."""
    if name == "hpss":
        magnitude = np.sqrt(np.sum(np.abs(spectra) ** 2, axis=0))
        # Along time over the newest frames: scipy's window moved into the past.
        frames = 17
        tones = median_filter(magnitude, size=(frames, 1), mode="constant", origin=(frames // 2, 0))
        strokes = median_filter(magnitude, size=(1, int(config["bins"])), mode="reflect")
        mask = librosa.util.softmask(tones, strokes, power=2.0, split_zeros=True)
        return np.stack([mask * spectra, (1.0 - mask) * spectra])
    left, right = spectra
    if name == "centre":
        a = config["memory"]
        both = lfilter([1.0 - a], [1.0, -a], np.abs(left) ** 2 + np.abs(right) ** 2, axis=0)
        common = lfilter([1.0 - a], [1.0, -a], 2.0 * (left * right.conj()).real, axis=0)
        mask = np.exp(-0.5 * ((1.0 - common / np.maximum(both, 1e-18)) / config["width"]) ** 2)
        octaves = np.log2(np.maximum(np.arange(left.shape[1]) * config["bin_hz"], 1e-3) / config["low_hz"])
        mask *= 0.5 - 0.5 * np.cos(np.pi * np.clip(octaves, 0.0, 1.0))
        middle = np.stack([0.5 * mask * (left + right)] * 2)
        return np.stack([middle, spectra - middle])
    # The scan of the paper, four times as fine.
    gains = np.linspace(0.0, 1.0, 401)[:, None, None]
    louder = np.abs(left) > np.abs(right)
    strong, weak = np.where(louder, left, right), np.where(louder, right, left)
    scan = np.abs(weak - gains * strong)
    lowest, highest = scan.min(axis=0), scan.max(axis=0)
    clear = 1.0 - lowest / np.maximum(highest, 1e-18)
    azimuth = 1.0 - gains[np.argmin(scan, axis=0), 0, 0]
    middle = clear * np.maximum(1.0 - azimuth / config["width"], 0.0)
    beside = clear - middle
    shares = np.stack([np.where(louder, beside, 0.0), middle, np.where(louder, 0.0, beside), 1.0 - clear])
    return shares[:, None] * spectra


def offline(package: ModelPackage, mix: NDArray[np.float32]) -> NDArray[np.float64]:
    window = package.manifest.window
    assert window is not None
    transform = Transform(window.analysis, window.synthesis, package.spec.hop)
    spectra = transform.whole(mix)
    return transform.signal(masks(package.name, spectra, package.manifest.config), mix.shape[1])


@pytest.mark.parametrize("name", METHODS)
def test_the_stream_is_the_method_on_the_whole_signal(name: str) -> None:
    samples = 8009 if name == "adress" else SAMPLES
    mix = music(samples)
    with opened(name) as stream:
        expected = offline(stream.package, mix)
        assert np.abs(expected[0] - expected[1]).max() > 0.01
        runs = [list(equal_sizes(samples, size)) for size in (64, 509)] + [list(random_sizes(samples, 1))]
        first = None
        for sizes in runs:
            stream.reset()
            found = run_in_blocks(stream, mix, sizes)
            # ADRess' scan goes in steps.
            tolerance = 5e-3 if name == "adress" else 1e-4
            np.testing.assert_allclose(found, expected, rtol=0.0, atol=tolerance)
            first = found if first is None else first
            assert np.array_equal(found, first), "how the stream is cut into blocks is heard"


@pytest.mark.parametrize("name", METHODS)
def test_stems_sum_to_the_mixture_and_do_not_see_the_future(name: str) -> None:
    mix = noise(2, SAMPLES, seed=4)
    other = mix.copy()
    other[:, 16001:] *= -0.5
    with opened(name) as stream:
        hop, delay = stream.spec.hop, stream.spec.delay
        before = run_in_blocks(stream, mix, [SAMPLES])
        stream.reset()
        after = run_in_blocks(stream, other, [SAMPLES])
    np.testing.assert_allclose(before.sum(axis=0), mix, rtol=0.0, atol=3e-6)
    settled = 16001 // hop * hop - delay
    assert np.array_equal(before[..., :settled], after[..., :settled])
    assert np.abs(before - after)[..., settled:].max() > 1e-3


@pytest.mark.parametrize("name", METHODS)
def test_a_hop_makes_no_array_and_a_reset_forgets_all(name: str) -> None:
    with opened(name) as stream:
        smallest = min(stream.stems.nbytes, stream.input.nbytes) * 4
        stream.input[:] = noise(2, stream.spec.hop)
        assert_makes_no_array(stream.step, smallest, times=100)
        signal = music(20 * stream.spec.hop)
        stream.input.fill(np.nan)
        for _ in range(3):
            stream.step()
        assert np.isnan(stream.stems).any()
        stream.reset()
        used = run_in_blocks(stream, signal, [signal.shape[1]])
    with opened(name) as fresh:
        assert np.array_equal(used, run_in_blocks(fresh, signal, [signal.shape[1]]))


@pytest.mark.parametrize("name", METHODS)
@pytest.mark.parametrize("block", [64, 509])
def test_through_the_engine_unity_is_the_input_as_late_as_reported(name: str, block: int) -> None:
    audio = np.concatenate([np.zeros((2, 2000), np.float32), music(20000)], axis=1)
    audio[:, 1001] = 0.5  # an impulse in the silence
    heard: list[np.ndarray] = []
    with opened(name) as stream:
        driver = FileDriver(
            array_reader(audio), lambda b: heard.append(b.copy()), 44100, 2, 2, block, align=False
        )
        with InProcessEngine(driver, stream) as engine:
            assert engine.wait(60.0)
            assert engine.telemetry().underruns == 0
            late = engine.latency.stream
    out = np.concatenate(heard, axis=1)
    assert int(np.argmax(np.abs(out[0, : 1900 + late]))) == 1001 + late
    expected = np.zeros_like(out)
    expected[:, late:] = audio[:, : out.shape[1] - late]
    rest = np.linalg.norm(out - expected) / np.linalg.norm(expected)
    assert 20.0 * np.log10(rest) < -100.0


def test_a_folder_of_that_name_goes_before_the_method(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from rtsep.separators.registry import find
    from tests.models import build_tiny_model

    assert find("hpss").built_in
    build_tiny_model(tmp_path, name="hpss")
    monkeypatch.setenv("RTSEP_MODELS", str(tmp_path))
    assert not find("hpss").built_in
    package = built_in("hpss")
    assert package is not None and package.built_in
