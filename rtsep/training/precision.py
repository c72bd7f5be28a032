"""Smaller graphs: a model's large matrices in half precision or in eight bits, and what that costs.

Only the weights of layers change. Features, gates, norms, masks and the state stay in float32: a log of
1e-8 has no half-precision equal, and a state that is rounded every hop drifts. So every variant takes the
place of the original without the engine noticing, and costs what the comparison says.
"""

from __future__ import annotations

import logging
import shutil
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from onnxruntime.quantization import QuantType, quantize_dynamic

from rtsep.backends.onnx import OnnxBackend
from rtsep.separators.manifest import MANIFEST_NAME
from rtsep.separators.registry import ModelPackage, describe_file
from rtsep.spec import ModelError, UsageError
from rtsep.training.placing import check_place, placed

Precision = Literal["float32", "float16", "int8"]
PRECISIONS: tuple[Precision, ...] = ("float32", "float16", "int8")
WORDS = {"float32": "single precision", "float16": "half precision", "int8": "eight bits"}

LAYERS = ("MatMul", "Gemm", "Conv")
"""Operators whose weights make a model large."""

SMALLEST = 1024
"""Weights below which an operator is left alone: it would save nothing."""


@dataclass(frozen=True)
class Comparison:
    """A variant against the graph that it was made from, hop by hop over the same input.

    Attributes:
        difference_db: energy of the output's difference against the output's own, dB.
        hop_ms, original_hop_ms: median time of a step on one CPU thread, measured in turns in one run.
        bytes, original_bytes: of the graph's file.
    """

    difference_db: float
    hop_ms: float
    original_hop_ms: float
    bytes: int
    original_bytes: int


def convert(
    package: ModelPackage, root: Path, name: str, precision: Precision, *, overwrite: bool = False
) -> ModelPackage:
    """Write the model `root/name`: `package` with its layers' weights in another precision.

    The folder appears whole or not at all. Its safetensors stay in float32, which is what torch runs.

    Args:
        package: the model, whose graph is in float32; it is verified first.
        root: the folder of models; made when missing.
        name: what users will type.
        precision: one of PRECISIONS; "float32" copies.
        overwrite: replace a model that is there already.

    Raises:
        ModelError: when there is such a model already, or something that is no model, the original is
            damaged, or the graph holds no layer that this could make smaller.
        UsageError: for an unknown precision, a name that no model can have, or when the original would be
            replaced by its variant.
    """
    if precision not in PRECISIONS:
        raise UsageError(f"unknown precision '{precision}'; there are: {', '.join(PRECISIONS)}")
    target = root / name
    if target.resolve() == package.root:
        raise UsageError(f"{target} is the model itself; give the variant another name")
    check_place(root, name, overwrite)
    files = package.files
    package.verify()
    with placed(target, overwrite) as folder:
        for entry in (files.weights, files.onnx):
            if entry is not None:
                (folder / entry.path).parent.mkdir(parents=True, exist_ok=True)
        if files.weights is not None:
            shutil.copyfile(package.weights, folder / files.weights.path)
        _WRITERS[precision](package.onnx, folder / files.onnx.path)
        manifest = package.manifest
        described = manifest.model_copy(
            update={
                "name": name,
                "description": f"{manifest.description} Layers in {WORDS[precision]}.",
                "files": files.model_copy(update={"onnx": describe_file(folder, files.onnx.path)}),
                # Scores are of the original: a variant has none until it is scored itself.
                "scores": manifest.scores if precision == "float32" else {},
                "training": manifest.training | {"converted_from": package.name, "precision": precision},
            }
        )
        described.write(folder / MANIFEST_NAME)
        # Opening it checks the graph against the manifest; a variant that cannot run is not kept.
        OnnxBackend(ModelPackage.read(folder)).close()
    return ModelPackage.read(target)


def compare(variant: ModelPackage, original: ModelPackage, hops: int = 400) -> Comparison:
    """Run both over bursts of noise of all levels, each with its own state, in turns.

    Raises:
        ModelError: when the variant's output is not finite.
    """
    backends = (OnnxBackend(variant), OnnxBackend(original))
    rng = np.random.default_rng(0)
    times = np.zeros((2, hops))
    signal = error = 0.0
    for hop in range(hops):
        level = (1.0, 0.01, 0.1, 0.0)[hop // 16 % 4]
        x = (level * rng.standard_normal(original.manifest.input_shape)).astype(np.float32)
        outputs: list[NDArray[np.float32]] = []
        for k, backend in enumerate(backends):
            backend.inputs[...] = x
            began = time.perf_counter()
            backend.run()
            times[k, hop] = time.perf_counter() - began
            outputs.append(backend.outputs.copy())
        signal += float(np.sum(np.square(outputs[1], dtype=np.float64)))
        error += float(np.sum(np.square((outputs[0] - outputs[1]).astype(np.float64))))
    for backend in backends:
        backend.close()
    if not np.isfinite(error):
        raise ModelError(f"{variant.name}: gives samples that are not finite")
    ratio = max(error, 1e-15 * signal) / max(signal, 1e-30)
    median = 1000.0 * np.median(times, axis=1)
    return Comparison(
        10.0 * float(np.log10(max(ratio, 1e-15))),
        float(median[0]),
        float(median[1]),
        variant.files.onnx.bytes,
        original.files.onnx.bytes,
    )


# -- writers -------------------------------------------------------------------------------------------


def _write_int8(source: Path, target: Path) -> None:
    """Weights in eight bits, one scale a column; activations are quantised as they come.

    This is ONNX Runtime's dynamic quantisation. Convolutions stay as they are: its eight-bit ones are
    slower than its own in float32. So do stacks of matrices, one a group of bands, which it cannot quantise.
    """
    model = onnx.load(str(source))
    nodes = [node.name for node in _layers(model, source, ("MatMul", "Gemm"), matrices=True)]
    # It recommends a simplification that the session does in any case, by way of the root logger.
    logging.disable(logging.WARNING)
    try:
        quantize_dynamic(
            model,
            str(target),
            op_types_to_quantize=["MatMul"],
            per_channel=True,
            weight_type=QuantType.QInt8,
            # A Gemm is taken apart first; its product is called after it.
            nodes_to_quantize=[*nodes, *(f"{name}_MatMul" for name in nodes)],
        )
    finally:
        logging.disable(logging.NOTSET)


def _write_float16(source: Path, target: Path) -> None:
    """Weights, and the products with them, in half precision; casts go before and after."""
    model = onnx.load(str(source))
    halved = {node.output[0] for node in _layers(model, source, LAYERS)}
    weights = {tensor.name: tensor for tensor in model.graph.initializer}
    # Gemm and Conv may add a bias; it has to be of the same type.
    nodes: list[Any] = []
    made: dict[str, str] = {}
    for node in model.graph.node:
        if node.output[0] not in halved:
            nodes.append(node)
            continue
        inputs = []
        for name in node.input:
            if name in weights:
                if name not in made:
                    made[name] = f"{name}.half"
                    half = numpy_helper.to_array(weights[name]).astype(np.float16)
                    model.graph.initializer.append(numpy_helper.from_array(half, made[name]))
                inputs.append(made[name])
            elif name:
                cast = f"{node.output[0]}.{len(inputs)}.half"
                nodes.append(helper.make_node("Cast", [name], [cast], to=TensorProto.FLOAT16))
                inputs.append(cast)
            else:
                inputs.append(name)
        result = node.output[0]
        changed = onnx.NodeProto()
        changed.CopyFrom(node)
        del changed.input[:]
        changed.input.extend(inputs)
        changed.output[0] = f"{result}.half"
        nodes.append(changed)
        nodes.append(helper.make_node("Cast", [changed.output[0]], [result], to=TensorProto.FLOAT))
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    used = {name for node in model.graph.node for name in node.input}
    kept = [tensor for tensor in model.graph.initializer if tensor.name in used]
    del model.graph.initializer[:]
    model.graph.initializer.extend(kept)
    # What the exporter noted on the types in between is no longer so.
    del model.graph.value_info[:]
    onnx.checker.check_model(model)
    onnx.save(model, str(target))


def _copy(source: Path, target: Path) -> None:
    shutil.copyfile(source, target)


_WRITERS = {"float32": _copy, "float16": _write_float16, "int8": _write_int8}


def _layers(model: Any, source: Path, operators: tuple[str, ...], matrices: bool = False) -> list[Any]:
    """Nodes of these operators whose second input is a large float32 weight (a matrix) of the model's own.

    Filterbanks are constants of the graph, no initializers, and are left out by that.
    """
    large = {
        tensor.name
        for tensor in model.graph.initializer
        if tensor.data_type == TensorProto.FLOAT
        and np.prod(tensor.dims) >= SMALLEST
        and (not matrices or len(tensor.dims) == 2)
    }
    found = [node for node in model.graph.node if node.op_type in operators and node.input[1] in large]
    if not found:
        raise ModelError(f"{source}: holds no {' or '.join(operators)} that this could make smaller")
    return found
