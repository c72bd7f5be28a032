"""The precision that a run computes in is one that its device has."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from rtsep.spec import UsageError
from rtsep.training import autocasting
from rtsep.training.autocasting import choose_precision, has_bfloat16

CPU = torch.device("cpu")


def on_a_cpu(monkeypatch: pytest.MonkeyPatch, *, bfloat16: bool) -> None:
    monkeypatch.setattr(autocasting, "has_bfloat16", lambda device: bfloat16)


@pytest.mark.parametrize(
    ("masks", "bfloat16", "precision"),
    [(True, True, "bf16"), (True, False, "fp32"), (False, True, "fp32"), (False, False, "fp32")],
)
def test_by_itself_it_is_what_the_device_has(
    masks: bool, bfloat16: bool, precision: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    on_a_cpu(monkeypatch, bfloat16=bfloat16)
    assert choose_precision("auto", masks, CPU) == precision


def test_what_is_asked_for_and_there_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    on_a_cpu(monkeypatch, bfloat16=True)
    assert choose_precision("bf16", False, CPU) == "bf16"
    assert choose_precision("fp32", True, CPU) == "fp32"


def test_a_cpu_without_bfloat16_is_told_in_a_line(monkeypatch: pytest.MonkeyPatch) -> None:
    on_a_cpu(monkeypatch, bfloat16=False)
    with pytest.raises(UsageError, match=r"precision: this CPU has no bf16; take fp32"):
        choose_precision("bf16", True, CPU)


def test_a_device_has_bfloat16_where_torch_does_not_refuse_it(monkeypatch: pytest.MonkeyPatch) -> None:
    has_bfloat16.cache_clear()
    fitting = has_bfloat16(CPU)

    def refuse(self: nn.LSTM, x: torch.Tensor) -> None:
        raise RuntimeError("could not create a primitive descriptor")

    has_bfloat16.cache_clear()
    monkeypatch.setattr(nn.LSTM, "forward", refuse)
    assert not has_bfloat16(CPU)
    has_bfloat16.cache_clear()
    monkeypatch.undo()
    assert has_bfloat16(CPU) is fitting
