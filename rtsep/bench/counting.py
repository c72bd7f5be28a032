"""What a model is, counted: parameters, bytes of weights, multiplications a step."""

from __future__ import annotations

import math
import tempfile
from pathlib import Path
from typing import Any

from rtsep.separators.registry import AnyPackage, ModelPackage, OfflinePackage
from rtsep.spec import UsageError

PARTS_OF_LSTM = 4
PARTS_OF_GRU = 3


def parameters(package: AnyPackage) -> int | None:
    """Numbers in the weights' file; None for a model that is only a graph, or a method without weights."""
    from safetensors import safe_open

    if package.built_in or (isinstance(package, ModelPackage) and package.files.weights is None):
        return None
    with safe_open(package.weights, framework="numpy") as weights:
        return sum(math.prod(weights.get_slice(key).get_shape()) for key in weights.keys())  # noqa: SIM118


def graph(package: ModelPackage) -> dict[str, int]:
    """Of a streaming graph: "macs" (multiply-accumulates a step) and "weight_bytes" (its constants).

    Products, convolutions and recurrent layers are counted; what works on each number alone is not.

    Raises:
        UsageError: when onnx is missing.
    """
    try:
        import onnx
    except ModuleNotFoundError:
        raise UsageError("counting a graph's products needs onnx: pip install 'rtsep[bench]'") from None
    model = onnx.shape_inference.infer_shapes(_folded(package))
    shapes: dict[str, tuple[int, ...]] = {}
    for value in [*model.graph.value_info, *model.graph.input, *model.graph.output]:
        shapes[value.name] = tuple(d.dim_value for d in value.type.tensor_type.shape.dim)
    for tensor in model.graph.initializer:
        shapes[tensor.name] = tuple(tensor.dims)
    held = sum(len(tensor.SerializeToString()) for tensor in model.graph.initializer)
    for node in model.graph.node:
        if node.op_type == "Constant":
            held += node.ByteSize()
    return {"macs": sum(_macs(node, shapes) for node in model.graph.node), "weight_bytes": held}


def _folded(package: ModelPackage) -> Any:
    """The graph with what is constant in it computed, as far as shapes depend on it."""
    import onnx
    import onnxruntime as ort

    from rtsep.backends.onnx import session_options

    # The batch of one stream: an open axis would hide the sizes.
    options = session_options()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_BASIC
    with tempfile.TemporaryDirectory(prefix="rtsep-count-") as scratch:
        options.optimized_model_filepath = str(Path(scratch) / "folded.onnx")
        ort.InferenceSession(str(package.onnx), options, providers=["CPUExecutionProvider"])
        return onnx.load(options.optimized_model_filepath)


def _macs(node: Any, shapes: dict[str, tuple[int, ...]]) -> int:
    sizes = [shapes.get(name, ()) for name in node.input]
    out = shapes.get(node.output[0], ())
    if node.op_type in {"MatMul", "MatMulInteger"}:
        return math.prod(out) * sizes[0][-1] if sizes[0] else 0
    if node.op_type == "Gemm":
        turned = any(a.name == "transA" and a.i for a in node.attribute)
        return math.prod(out) * sizes[0][0 if turned else 1]
    if node.op_type == "Conv":
        return math.prod(out) * math.prod(sizes[1][1:])
    if node.op_type == "ConvTranspose":
        return math.prod(sizes[0]) * math.prod(sizes[1][1:])
    if node.op_type in {"LSTM", "GRU"}:
        # Weights (directions, gates * hidden, input); recurrence (directions, gates * hidden, hidden).
        steps, batch = sizes[0][:2]
        return steps * batch * (math.prod(sizes[1]) + math.prod(sizes[2]))
    return 0


def offline_macs(package: OfflinePackage, seconds: float = 1.0) -> int:
    """Multiply-accumulates for a second of sound, as torch counts them; LSTMs by their own arithmetic.

    Raises:
        BackendError: when torch is missing.
    """
    from rtsep.bench.flops import count

    return count(package, seconds)
