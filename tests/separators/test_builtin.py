"""Methods that were never trained do what their papers say, on sounds that are made for it."""

from __future__ import annotations

import sys
from typing import Any

import librosa
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from sklearn.decomposition import NMF

from rtsep.backends.open import open_backend, open_offline
from rtsep.backends.stream import open_stream
from rtsep.engine.offline import separate_array
from rtsep.separators import builtin
from rtsep.separators.factorisation import constrained_nmf, hoyer_sparseness
from rtsep.separators.hpss import _exchange
from rtsep.separators.kernel_additive import periodic_median, wiener
from rtsep.separators.registry import ModelPackage, OfflinePackage, built_in, find, find_any
from rtsep.separators.repet import repeating_magnitudes, repeating_period
from rtsep.spec import BackendError, ModelError

RATE = 44100
OFFLINE = sorted(name for name, entry in builtin.methods().items() if entry.kind == "offline")

Audio = NDArray[np.float32]


def seconds(count: float) -> NDArray[np.float64]:
    return np.arange(int(count * RATE)) / RATE


def tones(count: float) -> NDArray[np.float64]:
    time = seconds(count)
    return sum((np.sin(2 * np.pi * f * time) for f in (330.0, 495.0, 660.0)), np.zeros_like(time)) * 0.1


def strokes(count: float, every: float = 0.25) -> NDArray[np.float64]:
    time = seconds(count)
    rng = np.random.default_rng(1)
    return 0.8 * rng.standard_normal(time.size) * np.exp(-80.0 * (time % every))


def quick(name: str, **config: Any) -> OfflinePackage:
    """A method with a configuration that takes less time."""
    package = built_in(name)
    assert isinstance(package, OfflinePackage)
    known = {key: value for key, value in config.items() if key in package.manifest.config}
    manifest = package.manifest.model_copy(update={"config": package.manifest.config | known})
    return OfflinePackage(manifest, package.root)


def sdr(truth: NDArray[np.floating], estimate: NDArray[np.floating]) -> float:
    return float(10.0 * np.log10(np.sum(truth**2) / np.sum((truth - estimate) ** 2)))


@pytest.mark.parametrize("name", OFFLINE)
def test_offline_methods_share_the_mixture_out(name: str) -> None:
    mix = np.stack([tones(1.5), 0.5 * tones(1.5)]) + 0.3 * strokes(1.5)
    mix = mix.astype(np.float32)
    model = open_offline(quick(name, iterations=2, components=4, analysis=1024, hop=512))
    for piece in (mix, mix[:, :1], mix[:, 3000:3700], np.zeros((2, 5000), np.float32)):
        stems = model.separate(piece)
        assert stems.shape == (len(model.spec.stems), *piece.shape) and stems.dtype == np.float32
        np.testing.assert_allclose(stems.sum(axis=0), piece, rtol=0.0, atol=1e-5)
    assert np.array_equal(model.separate(mix), model.separate(mix)), "the same twice"


@pytest.mark.parametrize("name", ["hpss", "hpss-centred", "nmf-kl", "nmf-is", "nmf-hp"])
def test_tones_are_harmonic_and_strokes_percussive(name: str) -> None:
    tonal, struck = tones(3.0), 0.6 * strokes(3.0)
    mix = np.repeat((tonal + struck)[None], 2, axis=0).astype(np.float32)
    package = quick(name, iterations=40, components=6) if name in OFFLINE else find(name)
    model = open_offline(package) if isinstance(package, OfflinePackage) else open_stream(package)
    harmonic, percussive = separate_array(model, mix)
    model.close()
    assert sdr(tonal, harmonic[0]) > sdr(tonal, mix[0]) + 3.0
    assert sdr(struck, percussive[0]) > sdr(struck, mix[0]) + 3.0


@pytest.mark.parametrize("name", ["repet", "repet-sim"])
def test_what_repeats_is_background(name: str) -> None:
    """A bar of two seconds four times, and over it a sound that glides and never comes back."""
    rng = np.random.default_rng(0)
    time = seconds(2.0)
    bar = sum(
        (
            np.sin(2 * np.pi * f * time) * (np.abs(time - at) < 0.25)
            for f, at in zip(rng.uniform(200, 2000, 8), np.linspace(0.25, 1.75, 8), strict=True)
        ),
        np.zeros_like(time),
    )
    background = 0.2 * np.tile(bar, 4)
    whole = seconds(8.0)
    voice = 0.2 * np.sin(2 * np.pi * (300.0 * whole + 90.0 * whole**2))
    mix = np.repeat((background + voice)[None], 2, axis=0).astype(np.float32)
    foreground, repeating = open_offline(quick(name)).separate(mix)
    assert sdr(voice, foreground[0]) > sdr(voice, mix[0]) + 3.0
    assert sdr(background, repeating[0]) > sdr(background, mix[0]) + 3.0


def test_the_period_is_found() -> None:
    rng = np.random.default_rng(2)
    bar = rng.random((50, 20)) ** 4
    magnitudes = np.tile(bar, (6, 1))[None] + 0.05 * rng.random((1, 300, 20))
    assert repeating_period(magnitudes, 20.0) in (50, 100)
    assert repeating_period(magnitudes[:, :50], 20.0) is None
    repeated = repeating_magnitudes(magnitudes[:, :290], 50)
    assert repeated.shape == (1, 290, 20) and np.all(repeated <= magnitudes[:, :290])


def test_centred_medians_are_librosas() -> None:
    mix = np.repeat((tones(1.0) + strokes(1.0))[None], 2, axis=0).astype(np.float32)
    package = quick("hpss-centred")
    model = open_offline(package)
    harmonic, _ = model.separate(mix)
    spectrum = librosa.stft(
        mix[0], n_fft=2048, hop_length=512, window=np.sqrt(librosa.filters.get_window("hann", 2048))
    )
    tonal, _ = librosa.decompose.hpss(np.abs(spectrum), kernel_size=31, power=2.0, mask=True)
    wanted = librosa.istft(
        tonal * spectrum, n_fft=2048, hop_length=512, length=RATE,
        window=np.sqrt(librosa.filters.get_window("hann", 2048)),
    )  # fmt: skip
    # Frames lie elsewhere: the same sound, not the same samples.
    assert sdr(wanted[4096:-4096], harmonic[0, 4096:-4096]) > 20.0


@given(st.lists(st.floats(0.0, 1.0, width=32), min_size=5, max_size=60), st.integers(1, 9))
@settings(max_examples=50, deadline=None)
def test_exchanging_values_keeps_them_in_order(values: list[float], size: int) -> None:
    ring, ordered = np.zeros(size, np.float32), np.zeros(size, np.float32)
    for number, value in enumerate(np.array(values, np.float32)):
        _exchange(ordered, ring[number % size], value)
        ring[number % size] = value
        assert np.array_equal(ordered, np.sort(ring))


def test_unconstrained_updates_are_scikit_learns() -> None:
    rng = np.random.default_rng(0)
    data = rng.random((30, 4)) @ rng.random((4, 50)) + 0.01
    spectra, gains = rng.random((30, 6)) + 0.1, rng.random((6, 50)) + 0.1
    theirs = NMF(6, init="custom", solver="mu", beta_loss="kullback-leibler", max_iter=20, tol=0.0)
    wanted = theirs.fit_transform(data, W=spectra.copy(), H=gains.copy())
    found = constrained_nmf(data, spectra, gains, 20, 0.0, 0.0)
    np.testing.assert_allclose(found[0], wanted, rtol=1e-3, atol=1e-6)
    np.testing.assert_allclose(found[1], theirs.components_, rtol=1e-3, atol=1e-6)


def test_constraints_make_the_halves_differ() -> None:
    rng = np.random.default_rng(3)
    data = rng.random((40, 60)) ** 3 + 0.01
    spectra, gains = rng.random((40, 6)) + 0.1, rng.random((6, 60)) + 0.1

    def contrast(smoothness: float, sparseness: float) -> float:
        w, h = constrained_nmf(data, spectra, gains, 60, smoothness, sparseness)
        sparse_spectra, sparse_gains = hoyer_sparseness(w.T), hoyer_sparseness(h)
        return float((sparse_spectra - sparse_gains)[:3].mean() - (sparse_spectra - sparse_gains)[3:].mean())

    assert contrast(0.3, 0.3) > contrast(0.0, 0.0) + 0.2


def test_the_wiener_filter_parts_by_place_and_power() -> None:
    rng = np.random.default_rng(4)
    alone = rng.standard_normal((2, 40, 5)) + 1j * rng.standard_normal((2, 40, 5))
    sources = alone[:, None] * np.array([[1.0, 0.1], [0.1, 1.0]])[:, :, None, None]
    powers = np.mean(np.abs(sources) ** 2, axis=1) + 1e-9
    mix = sources.sum(axis=0)
    found = wiener(mix, sources, powers)
    np.testing.assert_allclose(found.sum(axis=0), mix, atol=1e-9)
    assert np.sum(np.abs(found - sources) ** 2) < 0.05 * np.sum(np.abs(sources) ** 2)


def test_periodic_medians_look_periods_away() -> None:
    power = np.tile(np.arange(12.0).reshape(4, 3), (5, 1))
    power[9] = 1000.0  # one bar is different, once
    assert np.array_equal(periodic_median(power, 4), np.tile(np.arange(12.0).reshape(4, 3), (5, 1)))
    assert not periodic_median(power, None).any()


def test_centre_and_adress_find_the_middle() -> None:
    side, middle = strokes(2.0), tones(2.0)
    mix = np.stack([middle + side, middle]).astype(np.float32)
    for name in ("centre", "adress"):
        with open_stream(name) as stream:
            stems = dict(zip(stream.spec.stems, separate_array(stream, mix), strict=True))
        assert sdr(middle, stems["centre"][0]) > sdr(middle, mix[0]) + 6.0, name
    with open_stream("adress") as stream:
        stems = dict(zip(stream.spec.stems, separate_array(stream, mix), strict=True))
    assert np.sum(stems["left"] ** 2) > 10.0 * np.sum(stems["right"] ** 2)


def test_built_in_methods_say_what_they_cannot(monkeypatch: pytest.MonkeyPatch) -> None:
    hpss, repet = find("hpss"), find_any("repet")
    assert isinstance(hpss, ModelPackage) and isinstance(repet, OfflinePackage)
    hpss.verify()
    repet.verify()
    for broken in (lambda: hpss.weights, lambda: hpss.onnx, lambda: repet.weights):
        with pytest.raises(ModelError, match="is built in: it has no weights"):
            broken()
    with pytest.raises(ModelError, match="repet is an offline model"):
        find("repet")
    with pytest.raises(BackendError, match="runs on the CPU, not on cuda"):
        open_backend(hpss, device="cuda")
    monkeypatch.setitem(sys.modules, "librosa", None)
    with pytest.raises(BackendError, match=r"needs librosa, which is not installed: pip install 'rtsep\[cl"):
        open_offline(repet)
    assert open_backend(hpss, "torch").name == "compiled"
