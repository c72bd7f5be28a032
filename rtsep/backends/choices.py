"""Which backends and devices may be asked for, by name: known before anything that computes is loaded."""

from __future__ import annotations

BACKENDS: tuple[str, ...] = ("auto", "fused", "onnx", "torch")
DEFAULT_BACKEND = "auto"
DEVICES: tuple[str, ...] = ("cpu", "cuda")
