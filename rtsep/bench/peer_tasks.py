"""What `rtsep.bench.peers` runs of others, each in a process of its own. Needs torch."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
import torch

from rtsep.bench.memory import peak_megabytes
from rtsep.bench.stand_ins import load_torchaudio, load_torchcodec
from rtsep.bench.timing import cost, pin, repeat, summary
from rtsep.separators.catalogue import build
from rtsep.spec import BackendError

RATE = 44100
DEMUCS_SECONDS = 7.8
"""The pieces in which HTDemucs was trained, and takes a song."""
STEMS = ("drums", "bass", "other", "vocals")


def _prepare() -> None:
    pin()
    torch.set_num_threads(1)
    torch.manual_seed(0)


@torch.inference_mode()
def _stream(config: dict[str, Any], hops: int) -> dict[str, Any]:
    """HS-TasNet's streaming step, eagerly on torch."""
    _prepare()
    network = build("hs-tasnet", config).eval()
    spec = network.spec
    hop = 0.1 * torch.randn(1, spec.channels, spec.hop)
    state = network.init_state(1)

    def step() -> None:
        nonlocal state
        _, state = network.step(hop, state)

    taken = repeat(step, hops, warm_up=5)
    each = 1e3 * spec.hop_seconds
    late = 1e3 * spec.algorithmic_latency / spec.sample_rate
    figures = {**summary(taken), **cost(taken, each), "hop_ms": each, "latency_ms": late}
    return {**figures, "peak_mb": peak_megabytes()}


def hs_tasnet_small(hops: int, seconds: float) -> dict[str, Any]:
    """Our own implementation, the small variant: one LSTM of 500 units in a branch."""
    return _stream({}, hops)


def hs_tasnet_full(hops: int, seconds: float) -> dict[str, Any]:
    """Our own implementation, the full variant."""
    return _stream({"depth": 2, "merge": "concatenate"}, hops)


@torch.inference_mode()
def hs_tasnet_pypi(hops: int, seconds: float) -> dict[str, Any]:
    """P. Wang's implementation: its own streaming step over its own hop."""
    _prepare()
    load_torchaudio()
    load_torchcodec()
    peer = importlib.import_module("hs_tasnet")
    network = peer.HSTasNet(small=True).eval()
    hop = int(network.overlap_len)
    step = network.init_stateful_transform_fn(return_reduced_sources=[0], auto_convert_to_stereo=True)
    audio = (0.1 * np.random.default_rng(0).standard_normal((2, hop))).astype(np.float32)
    taken = repeat(lambda: step(audio), hops, warm_up=5)
    each = 1e3 * hop / RATE
    figures = {**summary(taken), **cost(taken, each), "hop_ms": each, "latency_ms": 2.0 * each}
    return {**figures, "peak_mb": peak_megabytes()}


def openunmix(hops: int, seconds: float) -> dict[str, Any]:
    """The openunmix package, on a piece."""
    return _whole(_openunmix(), seconds)


def demucs(hops: int, seconds: float) -> dict[str, Any]:
    """The demucs package, on a piece."""
    return _whole(_htdemucs(seconds), seconds)


def _openunmix() -> Any:
    """Four networks of umxhq's sizes, and one Wiener iteration."""
    load_torchaudio()
    model = importlib.import_module("openunmix.model")
    networks = {
        stem: model.OpenUnmix(nb_bins=2049, nb_channels=2, hidden_size=512, max_bin=1487) for stem in STEMS
    }
    separator = model.Separator(networks, niter=1, residual=False, sample_rate=RATE, n_fft=4096, n_hop=1024)
    return separator.eval()


def _htdemucs(seconds: float) -> Any:
    """HTDemucs of its published sizes, for pieces of so many seconds."""
    load_torchaudio()
    model = importlib.import_module("demucs.htdemucs")
    return model.HTDemucs(sources=list(STEMS), samplerate=RATE, segment=seconds).eval()


@torch.inference_mode()
def _whole(network: Callable[[torch.Tensor], Any], seconds: float) -> dict[str, Any]:
    """A model that takes a piece of a song at once."""
    _prepare()
    audio = 0.1 * torch.randn(1, 2, round(seconds * RATE))
    taken = repeat(lambda: network(audio), 3, warm_up=1)
    return {**cost(taken, 1e3 * seconds), "latency_ms": None, "peak_mb": peak_megabytes()}


TASKS: dict[str, Callable[[int, float], dict[str, Any]]] = {
    "hs_tasnet_small": hs_tasnet_small,
    "hs_tasnet_full": hs_tasnet_full,
    "hs_tasnet_pypi": hs_tasnet_pypi,
    "openunmix": openunmix,
    "demucs": demucs,
}


def openunmix_songs(seconds: float) -> Callable[[torch.Tensor], torch.Tensor]:
    """The openunmix package takes songs whole, however long they are."""
    return _openunmix()  # type: ignore[no-any-return]


def demucs_songs(seconds: float) -> Callable[[torch.Tensor], torch.Tensor]:
    """The demucs package takes songs once, in pieces that overlap by a quarter; short ones in one piece."""
    network = _htdemucs(min(seconds, DEMUCS_SECONDS))
    apply = importlib.import_module("demucs.apply").apply_model
    return lambda song: apply(network, song, shifts=0, split=True, overlap=0.25)  # type: ignore[no-any-return]


FILE_TASKS: dict[str, Callable[[float], Callable[[torch.Tensor], torch.Tensor]]] = {
    "openunmix": openunmix_songs,
    "demucs": demucs_songs,
}
"""For songs of so many seconds: what makes (1, stems, channels, frames) of (1, channels, frames)."""


@torch.inference_mode()
def separate_folder(task: str, songs: str, output: str, threads: int) -> None:
    """Every song of a folder, from file to files."""
    torch.set_num_threads(threads)
    torch.manual_seed(0)
    files = sorted(Path(songs).iterdir())
    network = FILE_TASKS[task](max(soundfile.info(file).duration for file in files))
    for file in files:
        sound, rate = soundfile.read(file, dtype="float32", always_2d=True)
        stems = network(torch.from_numpy(sound.T.copy())[None])[0]
        folder = Path(output) / file.stem
        folder.mkdir(parents=True)
        for name, stem in zip(STEMS, stems, strict=True):
            soundfile.write(folder / f"{name}.wav", stem.numpy().T, rate, "FLOAT")


def run(task: str, hops: int, seconds: float) -> dict[str, Any]:
    """Run one of them.

    Raises:
        BackendError: whatever the peer does not like.
    """
    try:
        return TASKS[task](hops, seconds)
    except Exception as error:  # not our code: any failure of it is a line, not a traceback
        raise BackendError(f"{type(error).__name__}: {error}") from None


def run_files(task: str, songs: str, output: str, threads: int) -> dict[str, Any]:
    """Run one of them on files.

    Raises:
        BackendError: as `run`.
    """
    try:
        separate_folder(task, songs, output, threads)
    except Exception as error:  # as above
        raise BackendError(f"{type(error).__name__}: {error}") from None
    return {}
