"""From a backend's name to a backend."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rtsep.backends.base import Backend, OfflineModel
from rtsep.backends.choices import BACKENDS, DEFAULT_BACKEND, DEVICES
from rtsep.backends.threads import useful
from rtsep.separators.registry import ModelPackage, OfflinePackage
from rtsep.spec import BackendError

if TYPE_CHECKING:
    from rtsep.backends.batched import Precision
    from rtsep.backends.blocks import BlockRunner, BlockStream


FUSED: tuple[str, ...] = ("band-split", "conv-tasnet")
"""Architectures that have a fused step."""


def fused_serves(package: ModelPackage) -> bool:
    """Whether a model has a fused step: its architecture has one, and its weights are there.

    A variant in another precision is its graph: its weights are still those of the model it was made from.
    """
    manifest = package.manifest
    weights = manifest.files is not None and manifest.files.weights is not None
    whole = manifest.training.get("precision", "float32") == "float32"
    return manifest.architecture in FUSED and weights and whole


def stepping(package: ModelPackage, device: str = "cpu", precision: str = "fp32") -> str:
    """What "auto" stands for, hop by hop: the fused step on the CPU where a model has one, else onnx."""
    return "fused" if device == "cpu" and precision == "fp32" and fused_serves(package) else "onnx"


def open_backend(
    package: ModelPackage,
    backend: str = DEFAULT_BACKEND,
    device: str = "cpu",
    threads: int = 1,
    batch: int = 1,
    precision: str = "fp32",
) -> Backend:
    """Load a model into a backend, state at zero.

    Args:
        package: the model; its files are taken as they are, see `ModelPackage.verify`.
        backend: "fused", "onnx" or "torch"; "auto" is what `stepping` says. torch is imported only when it is
            asked for. Built-in methods have code of their own, whatever this says.
        device: "cpu" or "cuda". What is asked for is what runs, or an error.
        threads: CPU threads of one step; more than there are cores are as many as there are cores. A fused
            step has one.
        batch: streams that one step serves, each with a state of its own.
        precision: "fp32", or "fp16" for the torch backend, which has it where the network holds it; the
            backend's `precision` then says which it is.

    Raises:
        BackendError: when the backend is unknown or not installed, the device is not there, or the backend
            has no such precision.
        ModelError: when the model's files do not fit its manifest.
    """
    if device not in DEVICES:
        raise BackendError(f"unknown device '{device}'; there are: {', '.join(DEVICES)}")
    if threads < 1:
        raise BackendError(f"a backend needs at least one thread, not {threads}")
    if batch < 1:
        raise BackendError(f"a backend serves at least one stream, not {batch}")
    threads = useful(threads)
    if precision not in ("fp32", "fp16"):
        raise BackendError(f"unknown precision '{precision}'; there are: fp32, fp16")
    if backend not in BACKENDS:
        raise BackendError(f"unknown backend '{backend}'; there are: {', '.join(BACKENDS)}")
    if package.built_in:
        from rtsep.backends.builtin import CompiledBackend

        return CompiledBackend(package, device, batch)
    if backend == "auto":
        backend = stepping(package, device, precision)
    if backend == "fused":
        if precision != "fp32":
            raise BackendError("the fused backend computes in fp32")
        from rtsep.backends.fused import FusedBackend

        return FusedBackend(package, device, batch)
    if backend == "onnx":
        if precision != "fp32":
            raise BackendError(
                "the onnx backend runs a graph as it is: 'rtsep export' makes one in half precision"
            )
        from rtsep.backends.onnx import OnnxBackend

        return OnnxBackend(package, device, threads, batch)
    try:
        from rtsep.backends.torch import TorchBackend
    except ModuleNotFoundError as error:
        raise BackendError(f"the torch backend needs {error.name}, which is not installed") from None
    held: Precision = "fp16" if precision == "fp16" else "fp32"
    return TorchBackend(package, device, threads, batch, held)


def open_blocks(package: ModelPackage, device: str = "cpu", threads: int = 1) -> BlockStream:
    """Load a causal model to run over blocks of hops of one song; as `open_lanes` with one lane."""
    runner = open_lanes(package, device, threads, lanes=1)
    from rtsep.backends.blocks import BlockStream

    return BlockStream(runner)


def open_lanes(package: ModelPackage, device: str = "cpu", threads: int = 1, *, lanes: int) -> BlockRunner:
    """Load a causal model, its files checked, to run over blocks of hops. It imports torch.

    Args:
        package: the model.
        device: "cpu" or "cuda". What is asked for is what runs, or an error.
        threads: CPU threads; torch keeps this number for the whole process.
        lanes: songs side by side.

    Raises:
        BackendError: when torch is not installed, or the device is unknown or not there.
        ModelError: when the model's files are damaged or do not fit its manifest.
    """
    if device not in DEVICES:
        raise BackendError(f"unknown device '{device}'; there are: {', '.join(DEVICES)}")
    try:
        from rtsep.backends.blocks import BlockRunner
    except ModuleNotFoundError as error:
        raise BackendError(f"the torch backend needs {error.name}, which is not installed") from None
    package.verify()
    return BlockRunner(package, device, threads, lanes=lanes)


def open_offline(package: OfflinePackage, device: str = "cpu", threads: int = 1) -> OfflineModel:
    """Load an offline model, its file checked. torch runs it, and is imported here, unless it is built in.

    Args:
        package: the model.
        device: "cpu" or "cuda". What is asked for is what runs, or an error.
        threads: CPU threads; torch keeps this number for the whole process.

    Raises:
        BackendError: when torch, or what a built-in method takes, is not installed, or the device is unknown
            or not there.
        ModelError: when the weights are damaged or do not fit the manifest.
    """
    if device not in DEVICES:
        raise BackendError(f"unknown device '{device}'; there are: {', '.join(DEVICES)}")
    if threads < 1:
        raise BackendError(f"a backend needs at least one thread, not {threads}")
    if package.built_in:
        from rtsep.backends.builtin import PieceModel

        return PieceModel(package, device)
    try:
        from rtsep.backends.whole import TorchOfflineModel
    except ModuleNotFoundError as error:
        raise BackendError(
            f"{package.name} is an offline model and needs {error.name}, which is not installed"
        ) from None
    package.verify()
    return TorchOfflineModel(package, device, threads)
