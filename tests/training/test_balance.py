"""How loud stems should be: found where it is known, and what ships has it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from rtsep.separators.catalogue import load_weights
from rtsep.separators.network import CausalNetwork
from rtsep.separators.registry import ModelPackage
from rtsep.spec import ModelError, UsageError
from rtsep.training.balance import fit_balance
from rtsep.training.mixing import Example
from rtsep.training.release import release
from tests.models import build_tiny_network
from tests.training.test_architectures import config_of, run

TRUE = np.array(
    [[1.5, -0.25, 0.0, 0.1], [-0.5, 2.0, 0.0, 0.0], [0.0, -0.5, 0.75, 0.4], [0.0, -0.25, 0.25, 0.5]]
)


def examples(network: CausalNetwork, count: int, groups: np.ndarray) -> Iterator[Example]:
    """Mixtures whose known parts are what `TRUE` makes of the network's stems."""
    rng = np.random.default_rng(0)
    for level in 10.0 ** rng.uniform(-3, 0, count):
        mix = torch.from_numpy((level * rng.standard_normal((1, 2, 2000))).astype(np.float32))
        with torch.no_grad():
            stems = network(mix)[0].numpy()
        parts = np.einsum("pk,ks,sct->pct", groups, TRUE, stems)
        yield Example(parts.astype(np.float32), groups.astype(np.float32))


@pytest.mark.parametrize("partial", [False, True])
def test_what_the_truth_is_made_of_is_found(partial: bool) -> None:
    network = build_tiny_network("conv-tasnet").eval()
    known = list(examples(network, 4, np.eye(4)))
    if partial:
        # Of most only the vocals and the sum of the rest are known.
        merged = np.array([[1, 0, 0, 0], [0, 1, 1, 1], [0, 0, 0, 0], [0, 0, 0, 0]], dtype=float)
        known = known[:1] + list(examples(network, 3, merged))
    found = np.array(fit_balance(network, known))
    np.testing.assert_allclose(found, TRUE, atol=2e-3)
    np.testing.assert_allclose(found.sum(axis=0), 1.0, atol=1e-9)


def test_silence_does_not_tell_how_loud_a_stem_is() -> None:
    network = build_tiny_network("conv-tasnet").eval()
    silent = Example(np.zeros((4, 2, 2000), np.float32), np.eye(4, dtype=np.float32))
    with pytest.raises(ModelError, match="do not say how loud every stem should be"):
        fit_balance(network, [silent])


def test_a_release_is_balanced_where_it_is_asked_for(corpus: Path, tmp_path: Path) -> None:
    config = config_of("conv-tasnet", corpus, tmp_path / "runs", release={"balance": 3})
    run(config)
    package = release(config, "train", tmp_path / "mine", "", lambda _: None)
    assert isinstance(package, ModelPackage)
    network = load_weights(package)
    balance = np.array(network.config.balance)
    assert balance.shape == (4, 4) and np.abs(balance - np.eye(4)).max() > 1e-3
    mix = 0.1 * torch.randn(1, 2, 4000)
    with torch.no_grad():
        assert (network(mix).sum(dim=1) - mix).abs().max() < 1e-5
    # A run can go on from what is balanced: its weights are of the same sizes.
    again = config_of("conv-tasnet", corpus, tmp_path / "again", optimiser={"steps": 1})
    run(again.model_copy(update={"start_from": package.root}))


def test_masks_that_sum_to_one_have_no_balance(corpus: Path, tmp_path: Path) -> None:
    config = config_of(
        "causal-lstm", corpus, tmp_path / "runs", release={"balance": 3}, optimiser={"steps": 1}
    )
    run(config)
    with pytest.raises(UsageError, match="causal-lstm has no balance to fit"):
        release(config, "train", tmp_path / "mine", "", lambda _: None)
