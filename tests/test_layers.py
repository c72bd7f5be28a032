"""Imports point down, heavy libraries stay where they belong, and `import rtsep` costs next to nothing."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.models import build_tiny_model

PACKAGE = Path(__file__).parents[1] / "rtsep"

LAYERS = (
    "spec",
    "rt",
    "dsp",
    "separators",
    "backends",
    "io",
    "mixer",
    "effects",
    "engine",
    "control",
    "page",
    "osc",
    "midi",
    "rig",
    "evaluation",
    "training",
    "importing",
    "bench",
    "cli",
)
"""From the bottom to the top; see docs/architecture.md."""

FACE = {"__init__", "__main__"}
"""The package's own face and its `python -m` entry: above all layers."""

# Offline networks run on torch only, and published weights come as torch saves them.
TORCH_MODULES = {
    "backends.batched",
    "backends.blocks",
    "backends.recorders",
    "backends.torch",
    "backends.whole",
    "training",
    "importing.cadenza",
    "importing.demucs",
    "importing.open_unmix",
    "importing.state_dicts",
    "cli.train",
    "bench.flops",
    "bench.peer_tasks",
}
NETWORKS = "separators"
TORCH_FREE = {
    "separators.__init__",
    "separators.builtin",
    "separators.factorisation",
    "separators.hpss",
    "separators.kernel_additive",
    "separators.manifest",
    "separators.panning",
    "separators.registry",
    "separators.repet",
}

MODULES = {
    ".".join(path.relative_to(PACKAGE).with_suffix("").parts): path for path in sorted(PACKAGE.rglob("*.py"))
}


def imports(path: Path, module: str) -> Iterator[tuple[int, str]]:
    """Line and absolute name of everything that a file imports, wherever in it: functions count too."""
    package = ["rtsep", *module.split(".")[:-1]]
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            stem = ".".join([*base, *([node.module] if node.module else [])])
            # `from rtsep import dsp` imports rtsep.dsp.
            yield from ((node.lineno, f"{stem}.{alias.name}") for alias in node.names)


def layer_of(module: str) -> str:
    return module.split(".")[0]


def within(module: str, places: set[str]) -> bool:
    return any(module == place or module.startswith(place + ".") for place in places)


@pytest.mark.parametrize("module", MODULES)
def test_imports_point_down(module: str) -> None:
    layer = layer_of(module)
    if layer in FACE:
        return
    assert layer in LAYERS, f"{module} lies in no layer"
    for line, name in imports(MODULES[module], module):
        parts = name.split(".")
        if parts[0] != "rtsep" or len(parts) < 2:
            continue
        target = parts[1]
        assert target in LAYERS, f"{module}:{line} imports {name}: a layer must not use the package's face"
        assert LAYERS.index(target) <= LAYERS.index(layer), f"{module}:{line} imports {name}: that is upwards"


@pytest.mark.parametrize("module", MODULES)
def test_torch_stays_in_its_rooms(module: str) -> None:
    may = within(module, TORCH_MODULES) or (layer_of(module) == NETWORKS and module not in TORCH_FREE)
    found = [line for line, name in imports(MODULES[module], module) if name.split(".")[0] == "torch"]
    assert may or not found, f"{module}:{found} imports torch"


def test_the_finder_of_imports_finds_them(tmp_path: Path) -> None:
    """The tests above can fail: every way to import is seen."""
    file = tmp_path / "x.py"
    file.write_text(
        "import rtsep.a\nfrom rtsep import b\nfrom rtsep.c import d\nfrom . import e\nfrom ..f import g\n"
        "def h():\n    from ... import i\n    import torch.nn as nn\n"
    )
    assert [name for _, name in imports(file, "one.two.x")] == [
        "rtsep.a",
        "rtsep.b",
        "rtsep.c.d",
        "rtsep.one.two.e",
        "rtsep.one.f.g",
        "rtsep.i",
        "torch.nn",
    ]


@pytest.mark.parametrize("module", MODULES)
def test_every_module_says_what_it_is_for(module: str) -> None:
    path = MODULES[module]
    assert ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))), f"{module} has no docstring"
    assert path.stem not in {"utils", "util", "helpers", "misc", "common"}, (
        f"{module}: a name that says nothing"
    )
    assert (path.parent / "__init__.py").exists(), f"{path.parent} is no package"


HEAVY = {
    "torch",
    "numba",
    "llvmlite",
    "onnxruntime",
    "scipy",
    "soundfile",
    "sounddevice",
    "matplotlib",
    "rich",
}


def loaded_after(statements: str, *arguments: str) -> set[str]:
    """Top-level names of all modules in a fresh interpreter that has run `statements`."""
    program = f"{statements}\nimport sys, json\nprint(json.dumps([m.split('.')[0] for m in sys.modules]))"
    command = [sys.executable, "-c", program, *arguments]
    result = subprocess.run(command, cwd=PACKAGE.parent, capture_output=True, text=True, check=True)
    return set(json.loads(result.stdout.splitlines()[-1]))


def test_importing_rtsep_is_light(capsys: pytest.CaptureFixture[str]) -> None:
    assert not loaded_after("import rtsep") & HEAVY
    timing = "import time; t = time.perf_counter(); import rtsep; print(time.perf_counter() - t)"
    result = subprocess.run(
        [sys.executable, "-c", timing], cwd=PACKAGE.parent, capture_output=True, text=True, check=True
    )
    with capsys.disabled():
        print(f" [import rtsep: {1000 * float(result.stdout):.0f} ms] ", end="")


def test_evaluation_loads_what_it_may_not_need_only_when_it_does() -> None:
    loaded = loaded_after("import rtsep.evaluation.report, rtsep.evaluation.systems, rtsep.cli.eval")
    assert not loaded & {"torch", "matplotlib", "museval", "stempeg"}


def test_processes_load_torch_and_ray_only_when_told() -> None:
    loaded = loaded_after("import rtsep.cli.separate, rtsep.engine.workers, rtsep.engine.lanes")
    assert not loaded & {"torch", "ray"}
    found = {
        module
        for module, path in MODULES.items()
        for _, name in imports(path, module)
        if name.split(".")[0] == "ray"
    }
    assert found == {"engine.cluster"}


def test_pedalboard_is_loaded_only_for_a_chain() -> None:
    program = "import rtsep.cli.live, rtsep.engine.child, rtsep.engine.process, rtsep.effects.chainfile"
    assert "pedalboard" not in loaded_after(program)
    found = {
        module
        for module, path in MODULES.items()
        for _, name in imports(path, module)
        if name.split(".")[0] == "pedalboard"
    }
    assert found == {"effects.plugins", "training.effects"}


def test_separating_with_onnx_never_loads_torch(tmp_path: Path) -> None:
    program = (
        "import sys, numpy as np\n"
        "from rtsep.backends.stream import open_stream\n"
        "from rtsep.engine.offline import separate_array\n"
        "with open_stream(sys.argv[1]) as stream:\n"
        "    separate_array(stream, np.zeros((2, 5000), np.float32))\n"
    )
    loaded = loaded_after(program, str(build_tiny_model(tmp_path)))
    assert "onnxruntime" in loaded
    assert "torch" not in loaded
