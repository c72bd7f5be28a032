"""`rtsep export`: a variant, its cost in figures, and one line for every mistake."""

from __future__ import annotations

from pathlib import Path

import pytest

from rtsep.separators.registry import ModelPackage
from tests.cli.command import one_line, rtsep, rtsep_here, snapshot
from tests.models import build_tiny_model
from tests.training.corpora import write_track


def test_a_variant_and_what_it_costs(tmp_path: Path) -> None:
    model = build_tiny_model(tmp_path)
    write_track(tmp_path / "songs" / "song", ("vocals", "drums"))
    result = rtsep(
        "export", model, "--precision", "float16", "-o", tmp_path / "models", "--score", tmp_path / "songs"
    )
    assert result.returncode == 0, result.stderr
    for words in ("causal-lstm-float16", "difference of their outputs", "a hop, median", "vocals sdr gain"):
        assert words in result.stdout
    assert ModelPackage.read(tmp_path / "models" / "causal-lstm-float16").manifest.files.onnx.bytes > 0


def test_variants_go_to_the_users_own_models(tmp_path: Path) -> None:
    model = build_tiny_model(tmp_path)
    home = {"XDG_DATA_HOME": str(tmp_path / "data")}
    result = rtsep_here("export", model, **home)
    assert result.returncode == 0, result.stderr
    assert (tmp_path / "data" / "rtsep" / "models" / "causal-lstm-int8" / "model.onnx").is_file()
    assert "causal-lstm-int8" in rtsep_here("models", **home).stdout


@pytest.mark.parametrize(
    ("arguments", "words", "code"),
    [
        (["{model}", "--precision", "int4"], "unknown precision 'int4'", 2),
        (["{model}", "--score", "nowhere"], "no such folder of tracks: nowhere", 2),
        (["no-such-model"], "no model is called 'no-such-model'", 4),
        (["{model}", "-o", "{root}", "--name", "causal-lstm"], "is the model itself", 2),
        (["{model}", "-o", "{root}", "--name", "../evil"], "'../evil' cannot be a model's name", 2),
        (["{model}", "-o", "{model}/manifest.json"], "a file, where a folder is to be", 4),
        (["{model}", "-o", "{model}/manifest.json/models"], "a file, where a folder is to be", 4),
        (["{model}", "-o", "{root}", "--name", "songs"], "holds something else than a model", 4),
        (["{model}", "-o", "{root}", "--name", "songs", "--overwrite"], "something else than a model", 4),
    ],
)
def test_mistakes_cost_one_line_and_leave_nothing(
    tmp_path: Path, arguments: list[str], words: str, code: int
) -> None:
    model = build_tiny_model(tmp_path)
    write_track(tmp_path / "songs" / "song", ("vocals",))
    before = snapshot(tmp_path)
    given = [argument.format(model=model, root=tmp_path) for argument in arguments]
    result = rtsep_here("export", *given, cwd=tmp_path, XDG_DATA_HOME=str(tmp_path / "data"))
    assert words in one_line(result)
    assert result.returncode == code
    assert snapshot(tmp_path) == before
