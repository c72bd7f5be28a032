"""Compiled training: the same numbers, and a word where nothing compiles."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor

from rtsep.spec import UsageError
from rtsep.training.compilation import compile_parts
from rtsep.training.loop import Trainer
from tests.models import build_tiny_network
from tests.training.test_architectures import config_of


def test_what_is_compiled_computes_the_same_and_scoring_stays_as_it_is() -> None:
    network = build_tiny_network("conv-tasnet", blocks=1, repeats=1).train()
    mix = torch.randn(2, 2, 1600)

    def learn() -> list[Tensor]:
        network.zero_grad()
        stems = network(mix)
        stems.square().mean().backward()
        gradients = [p.grad.clone() for p in network.parameters() if p.grad is not None]
        return [stems.detach(), *gradients]

    written = learn()
    compile_parts(network, torch.device("cpu"))
    compiled = learn()
    assert len(compiled) == len(written) > 5
    for one, other in zip(written, compiled, strict=True):
        assert (one - other).abs().max() <= 1e-3 * one.abs().max() + 1e-6
    counted = torch._dynamo.utils.counters["stats"]["unique_graphs"]
    assert counted >= 3
    with torch.no_grad():
        network.eval()(torch.randn(1, 2, 777))
    assert torch._dynamo.utils.counters["stats"]["unique_graphs"] == counted


def test_no_compiler_is_told_in_one_line(
    corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(function: object) -> object:
        def call(_: Tensor) -> None:
            raise RuntimeError("no C++ compiler\nand a long story")

        return call

    monkeypatch.setattr(torch, "compile", broken)
    config = config_of("conv-tasnet", corpus, tmp_path, compute={"compile": True})
    with pytest.raises(UsageError, match="torch cannot compile here: no C\\+\\+ compiler$"):
        Trainer(config, lambda _: None).run()
    assert not (tmp_path / "tiny").exists()
