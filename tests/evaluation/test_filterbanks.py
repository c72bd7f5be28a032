"""Ideal masks on learned encodings: the model's own, and its pseudo-inverse."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file, save_file

from rtsep.evaluation.filterbanks import Filterbank, filterbank_irm
from rtsep.evaluation.scorer import song_sdr
from rtsep.separators.registry import find
from rtsep.spec import ModelError, UsageError
from tests.evaluation.test_oracles import song
from tests.models import build_tiny_model, build_tiny_network

COMPLETE = {"filters": 48}
"""More filters than a frame of 2 x 16 samples has numbers: the encoding loses nothing."""


@pytest.fixture(scope="module")
def filterbank(tmp_path_factory: pytest.TempPathFactory) -> Filterbank:
    root = build_tiny_model(tmp_path_factory.mktemp("models"), "conv-tasnet", name="bank", **COMPLETE)
    return Filterbank.read(find(root))


def test_the_pseudo_inverse_reconstructs(filterbank: Filterbank) -> None:
    bank = filterbank.inverted()
    frame = np.random.default_rng(0).standard_normal(bank.encoder.shape[1])
    np.testing.assert_allclose(2.0 * bank.decoder @ bank.encode(frame), frame, atol=1e-9)
    stems = song()
    stems[1:] = 0.0
    np.testing.assert_allclose(filterbank_irm(stems, bank), stems, atol=1e-9)


@pytest.mark.parametrize("alpha", [1.0, 2.0])
@pytest.mark.parametrize("inverted", [False, True])
def test_stems_add_up_to_the_mixture(filterbank: Filterbank, alpha: float, inverted: bool) -> None:
    bank = filterbank.inverted() if inverted else filterbank
    for samples in (1, 7, 16, 1000, 5001):
        stems = song()[..., :samples]
        estimates = filterbank_irm(stems, bank, alpha)
        assert estimates.shape == stems.shape
        np.testing.assert_allclose(estimates.sum(axis=0), stems.sum(axis=0), atol=1e-12)


def test_a_complete_encoding_separates(filterbank: Filterbank) -> None:
    stems = song()
    mixture = stems.sum(axis=0)
    for truth, estimate in zip(stems, filterbank_irm(stems, filterbank.inverted(), 2.0), strict=True):
        assert song_sdr(truth, estimate) > song_sdr(truth, mixture) + 3.0


def test_encoding_and_decoding_are_the_networks(filterbank: Filterbank) -> None:
    """With one stem the mask is one everywhere: what is left is the network's own way there and back."""
    network = build_tiny_network("conv-tasnet", **COMPLETE)
    audio = song()[:1, :, :400].sum(axis=0)
    padded = torch.from_numpy(np.pad(audio, ((0, 0), (8, 8)))).float()[None]
    with torch.no_grad():
        features = network._encode(padded)
        frames = network.decoder(features).numpy()[0].reshape(-1, 2, 16)
    expected = np.zeros((2, 416))
    for k, frame in enumerate(frames):
        expected[:, 8 * k : 8 * k + 16] += frame
    stems = np.stack([audio, np.zeros_like(audio)])
    estimates = filterbank_irm(stems, filterbank)
    missing = audio - expected[:, 8:-8]
    np.testing.assert_allclose(estimates[0], expected[:, 8:-8] + missing / 2.0, atol=1e-5)


def test_the_length_of_a_block_does_not_matter(
    filterbank: Filterbank, monkeypatch: pytest.MonkeyPatch
) -> None:
    stems = song()[..., :1000]
    whole = filterbank_irm(stems, filterbank)
    monkeypatch.setattr("rtsep.evaluation.filterbanks.BLOCK", 9)
    np.testing.assert_allclose(filterbank_irm(stems, filterbank), whole, atol=1e-12)


def test_what_does_not_fit_is_refused(filterbank: Filterbank, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="for 2 channels, the track has 1"):
        filterbank_irm(song(channels=1), filterbank)
    with pytest.raises(UsageError, match="expected"):
        filterbank_irm(song()[0], replace(filterbank))
    lstm = build_tiny_model(tmp_path)
    with pytest.raises(ModelError, match="only a conv-tasnet has a learned filterbank"):
        Filterbank.read(find(lstm))


def test_damaged_weights_are_refused(tmp_path: Path) -> None:
    root = build_tiny_model(tmp_path, "conv-tasnet")
    file = root / "weights.safetensors"
    weights = load_file(file)
    save_file(weights | {"encoder.weight": weights["encoder.weight"][:, 1:].copy()}, file)
    with pytest.raises(ModelError, match="manifest"):
        Filterbank.read(find(root))
