"""From a trained network to a model folder: weights, streaming graph and manifest, checked against it."""

from __future__ import annotations

import copy
import math
import shutil
import warnings
from pathlib import Path
from typing import Any, cast

import torch
from pydantic import BaseModel
from safetensors.torch import save
from torch import Tensor, nn

from rtsep.backends.onnx import BATCH, OnnxBackend
from rtsep.separators.catalogue import load_weights
from rtsep.separators.manifest import MANIFEST_NAME, Files, Manifest, StateEntry, Window
from rtsep.separators.network import CausalNetwork, State, batch_axes
from rtsep.separators.offline_folder import write_offline
from rtsep.separators.offline_network import OfflineNetwork
from rtsep.separators.registry import ModelPackage, OfflinePackage, describe_file, read_package
from rtsep.spec import ModelError
from rtsep.training.placing import check_place, placed

OPSET = 20
"""ONNX operator set of exported graphs: old enough for every runtime that rtsep supports."""

TOLERANCE = 1e-4
"""Largest difference allowed between the graph and the network, at a signal level around one."""

CHECKED_STEPS = 64

_WEIGHTS = "weights.safetensors"
_GRAPH = "model.onnx"


def export(
    network: CausalNetwork,
    root: Path,
    name: str,
    *,
    title: str,
    description: str,
    version: str,
    licence: str,
    scores: dict[str, float] | None = None,
    training: dict[str, Any] | None = None,
    overwrite: bool = False,
) -> ModelPackage:
    """Write the model folder `root/name` and return it.

    The folder appears whole or not at all: it is written beside its place, the graph is run against the
    network step by step, and only then it is moved there.

    Args:
        network: trained; neither its device nor its mode matter, and it is left as it was.
        root: the folder of models; made when missing.
        name: what users will type.
        title, description, version, licence, scores, training: for the manifest.
        overwrite: replace a model that is there already.

    Raises:
        UsageError: when no model can be called so.
        ModelError: when there is such a model already, or something that is no model, when the network's
            state cannot be streamed, or when the graph's output differs from the network's by more than
            `TOLERANCE`.
    """
    target = root / name
    check_place(root, name, overwrite)
    network = copy.deepcopy(network).cpu().eval().requires_grad_(False)
    with placed(target, overwrite) as folder:
        weights = {key: tensor.contiguous().clone() for key, tensor in network.state_dict().items()}
        (folder / _WEIGHTS).write_bytes(save(weights))
        manifest = _describe(
            network,
            folder,
            name=name,
            title=title,
            description=description,
            version=version,
            licence=licence,
            scores=scores or {},
            training=training or {},
        )
        manifest.write(folder / MANIFEST_NAME)
        _require_equal(network, ModelPackage.read(folder))
    return ModelPackage.read(target)


def renew(package: ModelPackage) -> ModelPackage:
    """Write a model's graph anew from its weights, in place: as this version of rtsep exports it.

    Weights, scores and the card stay what they were; the manifest gets the new graph's hash.

    Raises:
        ModelError: when the model has no weights or is damaged, or when the new graph's output differs from
            the network's by more than `TOLERANCE`; the model is then what it was.
    """
    package.verify()
    network = load_weights(package).cpu().eval().requires_grad_(False)
    with placed(package.root, overwrite=True) as folder:
        shutil.copytree(package.root, folder, dirs_exist_ok=True)
        files = package.files
        export_graph(network, folder / files.onnx.path)
        files = files.model_copy(update={"onnx": describe_file(folder, files.onnx.path)})
        package.manifest.model_copy(update={"files": files}).write(folder / MANIFEST_NAME)
        _require_equal(network, ModelPackage.read(folder))
    return ModelPackage.read(package.root)


def _require_equal(network: CausalNetwork, package: ModelPackage) -> None:
    difference = max(largest_difference(network, package, batch=batch) for batch in (1, 2))
    if not difference <= TOLERANCE:  # NaN fails too
        raise ModelError(
            f"{package.name}: the graph differs from the network by {difference:.2g}; not exported"
        )


def export_offline(
    network: OfflineNetwork, root: Path, name: str, *, overwrite: bool = False, **about: Any
) -> OfflinePackage:
    """Write the folder of an offline model, `root/name`, whole or not at all, and return it.

    Args:
        network: trained; it is left as it was.
        root: the folder of models; made when missing.
        name: what users will type.
        overwrite: replace a model that is there already.
        about: title, description, version, licence, scores and training, for the manifest.

    Raises:
        UsageError: when no model can be called so.
        ModelError: when there is such a model already, or something that is no model.
    """
    target = root / name
    check_place(root, name, overwrite)
    with placed(target, overwrite) as folder:
        weights = {key: value.cpu().contiguous().clone() for key, value in network.state_dict().items()}
        write_offline(folder, type(network), network.config, weights, **about)
    package = read_package(target)
    assert isinstance(package, OfflinePackage)
    return package


def export_graph(network: CausalNetwork, path: Path) -> None:
    """Write one streaming step as an ONNX graph with the weights inside.

    Inputs `input` and `state.<name>`, outputs `output` and `next.<name>`, all float32. Their batch axis is
    called `BATCH`, so that one graph serves one stream or several.
    """
    # Traced with a batch of two: an exporter takes a size of one for a thing that stays.
    state = network.init_state(2)
    example = torch.zeros((2, *_input_shape(network)[1:]))
    axes = {"input": {0: BATCH}, "output": {0: BATCH}}
    for key, axis in batch_axes(network).items():
        axes |= {f"state.{key}": {axis: BATCH}, f"next.{key}": {axis: BATCH}}
    with warnings.catch_warnings():
        # Of its own deprecation, and of loops that it unrolls: as they should be, shapes are fixed.
        warnings.simplefilter("ignore")
        torch.onnx.export(
            _FlatStep(network, tuple(state)),
            (example, *state.values()),
            str(path),
            input_names=["input", *(f"state.{key}" for key in state)],
            output_names=["output", *(f"next.{key}" for key in state)],
            dynamic_axes=axes,
            opset_version=OPSET,
            # The newer, "dynamo" exporter takes constants up to 1e-8 for zero and drops their additions,
            # and with them the floors under logarithms and square roots: silence then gives NaN.
            dynamo=False,
        )


@torch.no_grad()
def largest_difference(
    network: CausalNetwork, package: ModelPackage, steps: int = CHECKED_STEPS, batch: int = 1
) -> float:
    """Largest difference between graph and network over `steps` steps of noise, each with its own state.

    Silence comes first, as on stage, then noise in bursts of all levels: floors, norms and gates all act.
    The streams of a batch are given noise of their own.
    """
    backend = OnnxBackend(package, batch=batch)
    state = network.init_state(batch)
    generator = torch.Generator().manual_seed(0)
    largest = 0.0
    for step in range(steps):
        level = (0.0, 1.0, 0.001, 0.1)[step // 8 % 4]
        x = level * torch.randn(backend.inputs.shape, generator=generator)
        backend.inputs[...] = x.numpy()
        backend.run()
        expected, state = network.step(x, state)
        difference = float((torch.from_numpy(backend.outputs) - expected).abs().max())
        largest = difference if math.isnan(difference) else max(largest, difference)
        if math.isnan(largest):
            break
    backend.close()
    return largest


class _FlatStep(nn.Module):
    """A step over positional tensors, as graphs have them."""

    def __init__(self, network: CausalNetwork, names: tuple[str, ...]) -> None:
        super().__init__()
        self.network = network
        self.names = names

    def forward(self, x: Tensor, *state: Tensor) -> tuple[Tensor, ...]:
        stems, after = self.network.step(x, dict(zip(self.names, state, strict=True)))
        return stems, *(after[name] for name in self.names)


def _describe(network: CausalNetwork, folder: Path, **about: Any) -> Manifest:
    """Write the graph, and the manifest of everything in `folder`."""
    spec, window, state = network.spec, _window(network), network.init_state(1)
    _check_state(network, state)
    export_graph(network, folder / _GRAPH)
    files = Files(weights=describe_file(folder, _WEIGHTS), onnx=describe_file(folder, _GRAPH))
    return Manifest(
        **about,
        architecture=network.architecture,
        sample_rate=spec.sample_rate,
        channels=spec.channels,
        stems=spec.stems,
        hop=spec.hop,
        delay=spec.delay,
        domain=network.domain,
        window=window,
        state=tuple(StateEntry(name=key, shape=tuple(value.shape)) for key, value in state.items()),
        config=_config(network),
        files=files,
    )


def _check_state(network: CausalNetwork, state: State) -> None:
    for name, tensor in state.items():
        if tensor.dtype != torch.float32 or tensor.any():
            raise ModelError(f"{network.architecture}: state '{name}' must be float32 and start at zero")


def _config(network: CausalNetwork) -> dict[str, Any]:
    return cast(BaseModel, network.config).model_dump(mode="json")


def _window(network: CausalNetwork) -> Window | None:
    if network.domain == "waveform":
        return None
    config = _config(network)
    return Window(analysis=config["analysis"], synthesis=config["synthesis"])


def _input_shape(network: CausalNetwork) -> tuple[int, ...]:
    spec, window = network.spec, _window(network)
    if window is None:
        return (1, spec.channels, spec.hop)
    return (1, spec.channels, window.analysis // 2 + 1, 2)
