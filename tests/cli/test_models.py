"""`rtsep models`: what there is, and whether it is whole."""

from __future__ import annotations

from pathlib import Path

from rtsep.spec import ModelError
from tests.cli.command import one_line, rtsep_here
from tests.models import build_tiny_model


def test_lists_what_can_be_named(tmp_path: Path) -> None:
    build_tiny_model(tmp_path, "causal-lstm")
    build_tiny_model(tmp_path, "conv-tasnet")
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "manifest.json").write_text("{")
    for arguments in (["models"], ["models", "list"]):
        result = rtsep_here(*arguments, RTSEP_MODELS=str(tmp_path))
        assert result.returncode == 0, result.stderr
        rows = {line.split()[0]: line for line in result.stdout.splitlines()}
        # A synthesis window of 256 at 44.1 kHz.
        assert "5.8 ms" in rows["causal-lstm"] and "Tiny causal-lstm" in rows["causal-lstm"]
        assert "vocals, drums, bass, other" in rows["conv-tasnet"] and "MIT" in rows["conv-tasnet"]
        assert "broken" not in rows


def test_tells_all_about_one(tmp_path: Path) -> None:
    root = build_tiny_model(tmp_path, "causal-lstm")
    for name in ("causal-lstm", str(root)):
        result = rtsep_here("models", "info", name, RTSEP_MODELS=str(tmp_path))
        assert result.returncode == 0, result.stderr
        for part in ("128 samples, 2.9 ms", "256 samples, 5.8 ms", "MIT", "44100 Hz", "files are intact"):
            assert part in result.stdout


def test_says_when_a_file_is_damaged(tmp_path: Path) -> None:
    root = build_tiny_model(tmp_path)
    weights = next(root.glob("*.safetensors"))
    data = bytearray(weights.read_bytes())
    data[-1] ^= 1
    weights.write_bytes(data)
    result = rtsep_here("models", "info", root)
    assert result.returncode == ModelError.exit_code
    assert "causal-lstm" in result.stdout and "intact" not in result.stdout
    assert "SHA-256" in result.stderr and result.stderr.count("\n") == 1


def test_an_unknown_model_is_one_line(tmp_path: Path) -> None:
    build_tiny_model(tmp_path)
    result = rtsep_here("models", "info", "kazoo", RTSEP_MODELS=str(tmp_path))
    line = one_line(result)
    assert "no model is called 'kazoo'" in line and "causal-lstm" in line
    assert result.returncode == ModelError.exit_code
