"""Ideal masks on what an offline Conv-TasNet encodes with."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from rtsep.evaluation.encodings import TrainedEncoding
from rtsep.evaluation.filterbanks import Filterbank, filterbank_irm
from rtsep.evaluation.systems import open_oracle
from rtsep.separators.encoders import BankCodec
from rtsep.separators.offline_conv_tasnet import OfflineConvTasNet, OfflineConvTasNetConfig
from rtsep.separators.offline_folder import write_offline
from rtsep.spec import ModelError, UsageError
from tests.evaluation.test_oracles import song
from tests.models import build_tiny_model

SIZES: dict[str, Any] = {
    "sample_rate": 8000, "filters": 40, "window": 16, "stride": 8, "bottleneck": 4, "hidden": 4, "blocks": 1,
    "repeats": 1, "stft_frame": 64,
}  # fmt: skip


def model(folder: Path, **changes: Any) -> Path:
    folder.mkdir()
    network = OfflineConvTasNet(OfflineConvTasNetConfig.model_validate(SIZES | changes))
    about = {"title": "", "description": "", "version": "1", "licence": ""}
    return write_offline(folder, OfflineConvTasNet, network.config, network.state_dict(), **about).root


def test_on_one_matrix_each_it_is_the_causal_ones() -> None:
    """The two implementations of FB-IRM agree, channel by channel."""
    config = OfflineConvTasNetConfig.model_validate(SIZES | {"encoding": "convolution"})
    network = OfflineConvTasNet(config)
    codec = network.codec
    assert isinstance(codec, BankCodec)
    there, back = (kernels.detach().double().numpy() for kernels in codec.kernels())
    stems = song()
    for alpha in (1.0, 2.0):
        found = TrainedEncoding(network).ideal_ratio_stems(stems, alpha)
        for channel in range(2):
            bank = Filterbank(8000, 1, 16, there, back.T, rectified=True)
            wanted = filterbank_irm(stems[:, [channel]], bank, alpha)
            np.testing.assert_allclose(found[:, [channel]], wanted, atol=1e-4 * np.abs(wanted).max())


@pytest.mark.parametrize("changes", [{}, {"bank": "stft"}, {"encoding": "deep", "layers": 2}])
def test_stems_add_up_to_the_mixture(changes: dict[str, Any], tmp_path: Path) -> None:
    oracle = open_oracle(f"fb-irm1:{model(tmp_path / 'bank', **changes)}")
    assert oracle.name == "fb-irm1:bank"
    stems = song()
    estimates = oracle._separate(stems)  # type: ignore[attr-defined]
    assert estimates.shape == stems.shape
    np.testing.assert_allclose(estimates.sum(axis=0), stems.sum(axis=0), atol=1e-6)


def test_what_does_not_fit_is_refused(tmp_path: Path) -> None:
    root = model(tmp_path / "bank")
    with pytest.raises(UsageError, match="is of a causal conv-tasnet"):
        open_oracle(f"fb-irm1-pinv:{root}")
    encoding = TrainedEncoding(OfflineConvTasNet(OfflineConvTasNetConfig.model_validate(SIZES)))
    with pytest.raises(UsageError, match="for 2 channels, the track has 1"):
        encoding.ideal_ratio_stems(song(channels=1))
    with pytest.raises(UsageError, match="expected"):
        encoding.ideal_ratio_stems(song()[0])
    torch.manual_seed(0)
    with pytest.raises(ModelError, match="only a conv-tasnet has a learned filterbank"):
        open_oracle(f"fb-irm1:{build_tiny_model(tmp_path)}")
