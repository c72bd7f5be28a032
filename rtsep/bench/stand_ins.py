"""Peers without the compiled libraries that they load and do not need here.

Each wheel of torchaudio and torchcodec fits one build of torch: beside another, to import them fails. What
the peers take from them to separate is Python alone (a spectrogram of torchaudio's is `torch.stft`); what
is compiled reads, writes and aligns files.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable
from types import ModuleType
from typing import Any


def load_torchaudio() -> None:
    """Import torchaudio; where its library does not fit this torch, without it.

    Raises:
        ImportError: when torchaudio is not there, or its Python needs the library after all.
    """
    if _loads("torchaudio"):
        return
    _forget("torchaudio")
    sys.modules["torchaudio._extension"] = _module(
        "torchaudio._extension",
        _IS_TORCHAUDIO_EXT_AVAILABLE=False,
        _IS_ALIGN_AVAILABLE=False,
        _check_cuda_version=lambda: None,
        fail_if_no_align=_as_it_is,
    )
    importlib.import_module("torchaudio")


def load_torchcodec() -> None:
    """Import torchcodec; where it does not load, a module whose encoder cannot be called stands for it."""
    if _loads("torchcodec.encoders"):
        return
    _forget("torchcodec")
    encoders = _module("torchcodec.encoders", AudioEncoder=None)
    sys.modules["torchcodec.encoders"] = encoders
    sys.modules["torchcodec"] = _module("torchcodec", encoders=encoders)


def _loads(name: str) -> bool:
    try:
        importlib.import_module(name)
    except (ImportError, OSError, RuntimeError):
        return False
    return True


def _forget(package: str) -> None:
    """What an import that failed has left."""
    for name in [name for name in sys.modules if name.partition(".")[0] == package]:
        del sys.modules[name]


def _module(name: str, **contents: Any) -> ModuleType:
    module = ModuleType(name)
    vars(module).update(contents)
    return module


def _as_it_is(function: Callable[..., Any]) -> Callable[..., Any]:
    return function
