"""From a backend's name to a backend."""

from __future__ import annotations

from rtsep.backends.base import Backend, OfflineModel
from rtsep.separators.registry import ModelPackage, OfflinePackage
from rtsep.spec import BackendError

BACKENDS: tuple[str, ...] = ("onnx", "torch")
DEVICES: tuple[str, ...] = ("cpu", "cuda")


def open_backend(
    package: ModelPackage, backend: str = "onnx", device: str = "cpu", threads: int = 1
) -> Backend:
    """Load a model into a backend, state at zero.

    Args:
        package: the model; its files are taken as they are, see `ModelPackage.verify`.
        backend: "onnx" or "torch". torch is imported only when it is asked for. Built-in methods have code
            of their own, whatever this says.
        device: "cpu" or "cuda". What is asked for is what runs, or an error.
        threads: CPU threads of one step.

    Raises:
        BackendError: when the backend is unknown or not installed, or the device is not there.
        ModelError: when the model's files do not fit its manifest.
    """
    if device not in DEVICES:
        raise BackendError(f"unknown device '{device}'; there are: {', '.join(DEVICES)}")
    if threads < 1:
        raise BackendError(f"a backend needs at least one thread, not {threads}")
    if backend not in BACKENDS:
        raise BackendError(f"unknown backend '{backend}'; there are: {', '.join(BACKENDS)}")
    if package.built_in:
        from rtsep.backends.builtin import CompiledBackend

        return CompiledBackend(package, device)
    if backend == "onnx":
        from rtsep.backends.onnx import OnnxBackend

        return OnnxBackend(package, device, threads)
    try:
        from rtsep.backends.torch import TorchBackend
    except ModuleNotFoundError as error:
        raise BackendError(f"the torch backend needs {error.name}, which is not installed") from None
    return TorchBackend(package, device, threads)


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
