"""Small models with random weights, on disk, for whatever needs a model to run on."""

from __future__ import annotations

import atexit
import fcntl
import functools
import hashlib
import json
import os
import shutil
import tempfile
from pathlib import Path
from typing import Any

import torch

from rtsep.separators.catalogue import build
from rtsep.separators.network import CausalNetwork
from rtsep.training.export import export

ARCHITECTURES = ("band-split", "causal-lstm", "conv-tasnet", "hs-tasnet")
"""rtsep's own, whose stems sum to the mixture."""

IMPORTED = ("cadenza-tasnet",)
"""Those of others, whose stems do not."""

STEPPED: tuple[tuple[str, str], ...] = (
    *((architecture, backend) for architecture in ARCHITECTURES for backend in ("onnx", "torch")),
    ("band-split", "fused"),
    ("conv-tasnet", "fused"),
)
"""Each architecture with each backend that has a step of it."""

_TINY: dict[str, dict[str, Any]] = {
    "band-split": {
        "analysis": 512,
        "synthesis": 256,
        "hop": 128,
        "linear_below": 3000.0,
        "wide_bands": 8,
        "group": 5,
        "features": 12,
        "memory": 10,
        "across": 6,
        "depth": 2,
        "dilation": 2,
    },
    "causal-lstm": {
        "analysis": 512,
        "synthesis": 256,
        "hop": 128,
        "linear_below": 3000.0,
        "wide_bands": 8,
        "width": 16,
        "depth": 2,
    },
    "conv-tasnet": {
        "hop": 64,
        "window": 16,
        "filters": 24,
        "bottleneck": 12,
        "hidden": 20,
        "skip": 10,
        "blocks": 3,
        "repeats": 2,
        "norm_seconds": 0.1,
    },
    "hs-tasnet": {"window": 128, "filters": 24, "width": 16},
    "cadenza-tasnet": {
        "hop": 80,
        "window": 20,
        "filters": 24,
        "bottleneck": 12,
        "hidden": 20,
        "blocks": 3,
        "repeats": 2,
    },
}

LONG_HOPS: dict[str, dict[str, Any]] = {
    "band-split": {"analysis": 4096, "synthesis": 2048, "hop": 1024},
    "causal-lstm": {"analysis": 4096, "synthesis": 2048, "hop": 1024},
    "conv-tasnet": {"hop": 1024},
    "hs-tasnet": {"window": 2048},
}
"""For tests of what is allocated: every array is larger than the small objects of a Python call."""


_MASKS = {
    "band-split": (("mask_weight",), ("mask_weight", "mask_bias")),
    "causal-lstm": (("to_masks.weight",), ("to_masks.",)),
    "hs-tasnet": (("spectrum_masks.weight", "waveform_masks.weight"), ("spectrum_masks.", "waveform_masks.")),
}
"""The weights that make masks, and those that must be zero for masks that are all alike."""


def build_tiny_network(architecture: str, *, passthrough: bool = False, **config: Any) -> CausalNetwork:
    """A small network whose stems differ from one another, the same for the same arguments.

    Args:
        architecture: one of ARCHITECTURES or IMPORTED.
        passthrough: instead, every stem is the mixture, delayed, over the number of stems; not of IMPORTED.
        config: what differs from the tiny configuration.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(7)
        network = build(architecture, _TINY[architecture] | config)
    weights, flat = _MASKS.get(architecture, (("masks.weight",), ("decoder.",)))
    with torch.no_grad():
        # Fresh weights give nearly the same stem four times: spread the masks, or flatten them.
        for weight in weights:
            network.get_parameter(weight).mul_(8.0)
        if passthrough:
            for name, parameter in network.named_parameters():
                if name.startswith(flat):
                    parameter.zero_()
    return network


def build_tiny_model(
    root: Path,
    architecture: str = "causal-lstm",
    *,
    name: str | None = None,
    passthrough: bool = False,
    **config: Any,
) -> Path:
    """Write a model folder of `build_tiny_network` into `root` and return it.

    It is called `name`, or like the architecture (and "-passthrough"). Exported once a run for the
    same arguments, copied from then on.
    """
    name = name or architecture + ("-passthrough" if passthrough else "")
    made = _exported(architecture, name, passthrough, json.dumps(config, sort_keys=True))
    return Path(shutil.copytree(made, root / name))


@functools.cache
def _exported(architecture: str, name: str, passthrough: bool, config: str) -> Path:
    key = hashlib.sha256(repr((architecture, name, passthrough, config)).encode()).hexdigest()[:16]
    place = _shop() / key
    # Whoever comes first makes it; the others of this run wait for it.
    with (_shop() / f"{key}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not place.exists():
            scratch = Path(tempfile.mkdtemp(dir=_shop()))
            export(
                build_tiny_network(architecture, passthrough=passthrough, **json.loads(config)),
                scratch,
                name,
                title=f"Tiny {architecture}",
                description="Random weights, for tests.",
                version="0",
                licence="MIT",
            )
            scratch.rename(place)
    return place / name


@functools.cache
def _shop() -> Path:
    """Where exported models lie for the rest of the run: of this process, or of all that share the tests."""
    if (shared := os.environ.get("RTSEP_TEST_MODELS")) is not None:
        return Path(shared)
    own = Path(tempfile.mkdtemp(prefix="rtsep-tiny-"))
    atexit.register(shutil.rmtree, own, ignore_errors=True)
    return own
