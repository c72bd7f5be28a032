"""The documents keep their word: links lead somewhere, commands exist, snippets compile, tables are whole."""

from __future__ import annotations

import ast
import json
import re
import shlex
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer
from pydantic import BaseModel
from pydantic_core import PydanticUndefined

import rtsep
from benchmarks import readme_scores
from rtsep.cli.main import COMMANDS, build_app
from rtsep.separators.band_split import BandSplitConfig
from rtsep.separators.causal_lstm import CausalLSTMConfig
from rtsep.separators.manifest import Manifest
from rtsep.separators.mask_network import MaskConfig
from rtsep.training.config import (
    ComputeConfig,
    FineTuneConfig,
    LossConfig,
    MonitorConfig,
    OptimiserConfig,
    ReleaseConfig,
    TrainConfig,
)
from rtsep.training.data_config import AugmentConfig, DataConfig, MixConfig
from tests.models import build_tiny_model

ROOT = Path(__file__).parents[1]
DOCUMENTS = [ROOT / "README.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").glob("*.md"))]

FENCED = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
INLINE = re.compile(r"`([^`\n]+)`")
LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")

documents = pytest.mark.parametrize("document", DOCUMENTS, ids=lambda p: p.name)


def read(document: Path) -> str:
    return document.read_text(encoding="utf-8")


def blocks(document: Path, language: str) -> list[str]:
    return [text for name, text in FENCED.findall(read(document)) if name == language]


def prose(document: Path) -> str:
    return FENCED.sub("", read(document))


# -- links --------------------------------------------------------------------------------------------


def anchors(document: Path) -> set[str]:
    """What a heading can be reached by, as GitHub makes it."""
    headings = re.findall(r"^#+ (.+)$", prose(document), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@documents
def test_links_lead_somewhere(document: Path) -> None:
    for target in LINK.findall(prose(document)):
        if re.match(r"\w+:", target):
            continue
        path, _, anchor = target.partition("#")
        file = (document.parent / path).resolve() if path else document
        assert file.exists(), f"{document.name} links to {target}"
        assert not anchor or anchor in anchors(file), f"{document.name} links to {target}: no such heading"


@documents
def test_files_that_are_named_exist(document: Path) -> None:
    for name in INLINE.findall(prose(document)):
        if re.fullmatch(r"(rtsep|tests|scripts|configs|benchmarks)/[\w./-]*", name):
            assert (ROOT / name).exists(), f"{document.name} names {name}"
        elif document.name == "architecture.md" and re.fullmatch(r"[a-z]+/[a-z_]*(\.py)?", name):
            assert (ROOT / "rtsep" / name).exists(), f"{document.name} names {name}"


# -- commands -----------------------------------------------------------------------------------------


def shell_lines(document: Path) -> Iterator[str]:
    """Every line to be typed, and what stands in line and looks like one."""
    for block in blocks(document, "sh"):
        yield from (line for line in block.splitlines() if line.strip())
    yield from (
        text for text in INLINE.findall(prose(document)) if re.search(r"(^|\s)(rtsep|make) [\w-]", text)
    )


def command_of(words: list[str]) -> Any:
    """The parser of the command that the words after `rtsep` begin with, and what is left of them."""
    parser: Any = typer.main.get_command(build_app(words[0]))
    path = ["rtsep"]
    while hasattr(parser, "commands") and words and not words[0].startswith("-"):
        assert words[0] in parser.commands, f"{' '.join(path)} has no command {words[0]!r}"
        path.append(words[0])
        parser, words = parser.commands[words[0]], words[1:]
    return parser, words


@documents
def test_commands_and_their_options_exist(document: Path) -> None:
    for line in shell_lines(document):
        words = shlex.split(line, comments=True, posix=True)
        names = [Path(word.replace("\\", "/")).name for word in words]
        if "rtsep" not in names:
            continue
        given = words[names.index("rtsep") + 1 :]
        if not given or given[0].startswith("-"):
            continue
        assert given[0] in COMMANDS, f"{document.name}: {line}"
        parser, rest = command_of(given)
        if rest and "--help" not in rest:
            try:
                parser.make_context(given[0], rest)
            except Exception as error:
                pytest.fail(f"{document.name}: {line}: {getattr(error, 'message', error)}")


def test_a_wrong_option_would_be_found() -> None:
    parser, rest = command_of(shlex.split("live --mtue vocals"))
    with pytest.raises(Exception, match="No such option"):
        parser.make_context("live", rest)
    parser, rest = command_of(shlex.split("separate a.wav -o out --format ogg"))
    with pytest.raises(Exception, match="ogg"):
        parser.make_context("separate", rest)


@documents
def test_targets_of_make_exist(document: Path) -> None:
    targets = set(re.findall(r"^([a-z-]+):", read(ROOT / "Makefile"), re.MULTILINE))
    typed = re.findall(
        r"\bmake ([a-z]+)\b", "\n".join([*INLINE.findall(prose(document)), *indented(document)])
    )
    assert set(typed) <= targets


def indented(document: Path) -> list[str]:
    return re.findall(r"^    (make .*)$", read(document), re.MULTILINE)


@documents
def test_modules_to_run_exist(document: Path) -> None:
    for module in re.findall(r"python -m ([\w.]+)", read(document)):
        if module.split(".")[0] in {"rtsep", "benchmarks", "tests"}:
            assert (ROOT / (module.replace(".", "/") + ".py")).exists(), (
                f"{document.name}: python -m {module}"
            )


# -- snippets -----------------------------------------------------------------------------------------


@documents
def test_snippets_compile_and_name_what_exists(document: Path) -> None:
    for block in blocks(document, "python"):
        tree = ast.parse(block)
        compile(tree, document.name, "exec")
        for node in ast.walk(tree):
            if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("rtsep"):
                module = __import__(node.module, fromlist=["_"])
                assert all(hasattr(module, alias.name) for alias in node.names)
            if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
                owner = {"rtsep": rtsep, "engine": rtsep.Engine, "separator": rtsep.Separator}.get(
                    node.value.id
                )
                assert owner is None or hasattr(owner, node.attr), f"{document.name}: {ast.unparse(node)}"
            if isinstance(node, ast.Call) and ast.unparse(node.func) == "rtsep.Engine":
                names = {k.arg for k in node.keywords}
                assert names <= rtsep.engine.options.EngineOptions.__dataclass_fields__.keys()


@pytest.mark.parametrize("document", ["getting-started.md", "models.md"])
def test_snippets_that_need_no_sound_card_run(
    document: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    build_tiny_model(tmp_path / "models", name="live")
    monkeypatch.setenv("RTSEP_MODELS", str(tmp_path / "models"))
    monkeypatch.chdir(tmp_path)
    runnable = [b for b in blocks(ROOT / "docs" / document, "python") if "rtsep.Engine" not in b]
    assert runnable
    for block in runnable:
        exec(compile(block, document, "exec"), {})
    capsys.readouterr()


def test_there_are_snippets_and_commands_to_check() -> None:
    assert sum(len(blocks(d, "python")) for d in DOCUMENTS) >= 3
    assert sum("rtsep" in line for d in DOCUMENTS for line in shell_lines(d)) >= 20


# -- tables -------------------------------------------------------------------------------------------


def table_under(document: str, heading: str) -> dict[str, str]:
    """First cell, without its ticks, to second cell, of the first table under a heading."""
    text = read(ROOT / "docs" / document)
    assert f"\n{heading}\n" in text
    section = re.split(r"^#", text.split(f"\n{heading}\n", 1)[1], maxsplit=1, flags=re.MULTILINE)[0]
    rows = re.findall(r"^\| `(\w+)` \| (.*?) \|", section, re.MULTILINE)
    return dict(rows)


@pytest.mark.parametrize(
    ("heading", "model"),
    [
        ("### At the top", TrainConfig),
        ("### `[network]`", CausalLSTMConfig),
        ("### `[network]` of a band-split network", BandSplitConfig),
        ("### `[data]`", DataConfig),
        ("### `[mix]`", MixConfig),
        ("### `[augment]`", AugmentConfig),
        ("### `[fine_tune]`", FineTuneConfig),
        ("### `[loss]`", LossConfig),
        ("### `[optimiser]`", OptimiserConfig),
        ("### `[compute]`", ComputeConfig),
        ("### `[monitor]`", MonitorConfig),
        ("### `[release]`", ReleaseConfig),
    ],
)
def test_every_key_of_a_training_file_is_described(heading: str, model: type[BaseModel]) -> None:
    described = table_under("training.md", heading)
    # What all masking networks share is described with the first of them.
    shared = MaskConfig.model_fields.keys() if model is BandSplitConfig else set()
    fields = {name: field for name, field in model.model_fields.items() if name not in shared}
    assert described.keys() == fields.keys()
    for name, field in fields.items():
        default = field.get_default(call_default_factory=True, validated_data={})
        told = described[name]
        if default is PydanticUndefined:
            assert told == "required", name
        elif default is None:
            assert told == "none", name
        elif isinstance(default, BaseModel):
            assert told == "`{}`" and default == type(default)(), name
        else:
            plain = str(default) if isinstance(default, Path) else default
            assert json.loads(told.strip("`")) == json.loads(json.dumps(plain)), name


def test_every_field_of_a_manifest_is_described() -> None:
    assert list(table_under("models.md", "## The manifest")) == list(Manifest.model_fields)


def test_every_error_is_described_with_its_exit_code() -> None:
    told = re.findall(
        r"^\| `(\w+Error)` \|.*\| (\d+) \|$", read(ROOT / "docs" / "getting-started.md"), re.MULTILINE
    )
    errors = {
        name: getattr(rtsep, name)
        for name in rtsep.__all__
        if name.endswith("Error") and name != "RtsepError"
    }
    assert {name: int(code) for name, code in told} == {name: e.exit_code for name, e in errors.items()}


def test_every_extra_is_described() -> None:
    extras = tomllib.loads(read(ROOT / "pyproject.toml"))["project"]["optional-dependencies"]
    assert table_under("getting-started.md", "## Install").keys() == extras.keys()


def test_the_layers_are_those_that_there_are() -> None:
    told = re.findall(r"^\| `(\w+)(?:/|\.py)` \|", read(ROOT / "docs" / "architecture.md"), re.MULTILINE)
    there = {p.name for p in (ROOT / "rtsep").iterdir() if (p / "__init__.py").exists()} | {"spec"}
    assert set(told) == there


def test_the_readme_tells_the_shipped_models_figures() -> None:
    """Run `python -m benchmarks.readme_scores` when the model has changed."""
    text = read(ROOT / "README.md")
    assert readme_scores.fill(text, readme_scores.describe(ROOT / "models")) == text
