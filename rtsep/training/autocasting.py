"""In which precision a run's matrix products are computed."""

from __future__ import annotations

from functools import cache

import torch
from torch import nn

from rtsep.spec import UsageError

TYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


def choose_precision(wanted: str, masks: bool, device: torch.device) -> str:
    """The key of `TYPES` that a file's `precision` means.

    Args:
        wanted: as in the file.
        masks: whether the run learns masks, which bfloat16 is enough for.
        device: what computes.

    Raises:
        UsageError: when the device cannot compute so.
    """
    if wanted == "auto":
        return "bf16" if masks and has_bfloat16(device) else "fp32"
    if wanted == "fp16" and device.type != "cuda":
        raise UsageError("[compute] precision: fp16 is for GPUs; on a CPU take bf16 or fp32")
    if wanted == "bf16" and not has_bfloat16(device):
        what = "GPU" if device.type == "cuda" else "CPU"
        raise UsageError(f"[compute] precision: this {what} has no bf16; take fp32")
    return wanted


@cache
def has_bfloat16(device: torch.device) -> bool:
    """Whether recurrent layers run in bfloat16 there: on a CPU that takes AVX-512 or its like.

    torch has no public word for it but its refusal. Other layers would run on any CPU, by a detour that is
    slower than float32.
    """
    layer = nn.LSTM(8, 8).to(device)
    try:
        with torch.autocast(device.type, torch.bfloat16):
            out, _ = layer(torch.zeros(2, 1, 8, device=device))
        out.sum().backward()
    except RuntimeError:
        return False
    return True
