"""Streaming graphs as somebody else would export them, with the manifest that goes with them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from rtsep.training.export import OPSET

MANIFEST = """
name = "echo"
title = "Two stems and a memory"
licence = "CC0-1.0"
sample_rate = 44100
channels = 2
stems = ["voice", "rest"]
hop = 64
delay = 0
domain = "waveform"
"""
"""Of the graph that `write` writes."""

Change = Callable[[onnx.ModelProto], None]


def write(folder: Path, change: Change | None = None, manifest: str = MANIFEST) -> tuple[Path, Path]:
    """Write `echo.onnx` and `echo.toml` and return their paths.

    One step: the first stem is half the input plus half of the hop before, the second is what is missing.

    Args:
        change: takes the graph and breaks it.
    """
    x = helper.make_tensor_value_info("input", TensorProto.FLOAT, [1, 2, 64])
    state = helper.make_tensor_value_info("state.last", TensorProto.FLOAT, [1, 2, 64])
    output = helper.make_tensor_value_info("output", TensorProto.FLOAT, [1, 2, 2, 64])
    after = helper.make_tensor_value_info("next.last", TensorProto.FLOAT, [1, 2, 64])
    nodes = [
        helper.make_node("Add", ["input", "state.last"], ["sum"]),
        helper.make_node("Mul", ["sum", "half"], ["voice"]),
        helper.make_node("Sub", ["input", "voice"], ["rest"]),
        helper.make_node("Unsqueeze", ["voice", "axis"], ["voice1"]),
        helper.make_node("Unsqueeze", ["rest", "axis"], ["rest1"]),
        helper.make_node("Concat", ["voice1", "rest1"], ["output"], axis=1),
        helper.make_node("Identity", ["input"], ["next.last"]),
    ]
    constants = [
        numpy_helper.from_array(np.array(0.5, np.float32), "half"),
        numpy_helper.from_array(np.array([1], np.int64), "axis"),
    ]
    graph = helper.make_graph(nodes, "step", [x, state], [output, after], constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)])
    model.ir_version = 9  # what runtimes of today all read
    if change is not None:
        change(model)
    onnx.save(model, str(folder / "echo.onnx"))
    (folder / "echo.toml").write_text(manifest, encoding="utf-8")
    return folder / "echo.onnx", folder / "echo.toml"


def rename(old: str, new: str) -> Change:
    """A graph in which an input or output is called something else."""

    def change(model: onnx.ModelProto) -> None:
        for value in [*model.graph.input, *model.graph.output]:
            value.name = new if value.name == old else value.name
        for node in model.graph.node:
            for names in (node.input, node.output):
                for index, name in enumerate(names):
                    names[index] = new if name == old else name

    return change


def replace(index: int, *nodes: Any) -> Change:
    """A graph in which other nodes stand in the place of one."""

    def change(model: onnx.ModelProto) -> None:
        before = list(model.graph.node)
        del model.graph.node[:]
        model.graph.node.extend([*before[:index], *nodes, *before[index + 1 :]])

    return change
