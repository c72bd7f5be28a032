"""`rtsep train` as it is typed: mistakes in one line, and a small run."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.cli.command import one_line, rtsep, rtsep_here
from tests.training.corpora import NETWORK, write_corpus


def write_config(folder: Path, steps: int = 2, root: str = "songs") -> Path:
    network = "\n".join(f"{key} = {json.dumps(value)}" for key, value in NETWORK.items())
    path = folder / "run.toml"
    path.write_text(
        f'name = "tiny"\noutput = "out"\n[network]\n{network}\n'
        f'[data]\nroots = ["{root}"]\ncache = "cache"\nworkers = 0\n'
        f'[monitor]\ntensorboard = "off"\n'
        f"[optimiser]\nsteps = {steps}\nbatch = 1\nseconds = 0.5\n"
    )
    return path


def test_a_run_from_beginning_to_end(tmp_path: Path) -> None:
    write_corpus(tmp_path)
    write_config(tmp_path)
    result = rtsep("train", "run.toml", cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    assert "2 tracks" in result.stdout
    assert (tmp_path / "out" / "tiny" / "checkpoint.pt").exists()
    again = rtsep("train", "run.toml", cwd=tmp_path)
    assert again.returncode == 0 and "resumed at step 2" in again.stdout


@pytest.mark.parametrize(
    ("argument", "complaint"),
    [("missing.toml", "no such training file: missing.toml"), ("typo.toml", "optimiser.stpes")],
)
def test_mistakes_in_the_file(tmp_path: Path, argument: str, complaint: str) -> None:
    text = write_config(tmp_path).read_text()
    (tmp_path / "typo.toml").write_text(text + "stpes = 4\n")
    result = rtsep_here("train", argument, cwd=tmp_path)
    assert result.returncode == 2
    assert complaint in one_line(result)
    assert not (tmp_path / "out").exists()


def test_a_corpus_that_is_not_there(tmp_path: Path) -> None:
    write_config(tmp_path)
    result = rtsep_here("train", "run.toml", cwd=tmp_path)
    assert result.returncode == 2
    assert "no such training folder: songs" in result.stderr.splitlines()[-1]
    assert "Traceback" not in result.stderr
