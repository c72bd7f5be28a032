"""A manifest is read whole or refused in one line that names file and field."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from rtsep.separators.manifest import Manifest
from rtsep.spec import ModelError, StreamSpec


def waveform() -> dict[str, Any]:
    entry = {"path": "a", "sha256": "0" * 64, "bytes": 1}
    return {
        "name": "one",
        "title": "One",
        "description": "",
        "architecture": "conv-tasnet",
        "version": "1",
        "licence": "MIT",
        "sample_rate": 44100,
        "channels": 2,
        "stems": ["vocals", "rest"],
        "hop": 64,
        "delay": 8,
        "domain": "waveform",
        "state": [{"name": "h", "shape": [1, 3]}, {"name": "c", "shape": [1, 2, 2]}],
        "config": {"x": 1},
        "files": {"weights": entry, "onnx": entry},
    }


def spectrum() -> dict[str, Any]:
    return waveform() | {"domain": "spectrum", "delay": 192, "window": {"analysis": 512, "synthesis": 256}}


def read(content: dict[str, Any], folder: Path) -> Manifest:
    path = folder / "manifest.json"
    path.write_text(json.dumps(content))
    return Manifest.read(path)


def test_what_is_written_is_read(tmp_path: Path) -> None:
    manifest = read(spectrum() | {"scores": {"vocals_sdr_db": 6.5}, "training": {"hours": 2}}, tmp_path)
    manifest.write(tmp_path / "again.json")
    assert Manifest.read(tmp_path / "again.json") == manifest


def test_shapes_follow_the_domain(tmp_path: Path) -> None:
    wave, spectral = read(waveform(), tmp_path), read(spectrum(), tmp_path)
    assert wave.spec == StreamSpec(44100, 2, ("vocals", "rest"), 64, 8)
    assert (wave.input_shape, wave.output_shape) == ((1, 2, 64), (1, 2, 2, 64))
    assert (spectral.input_shape, spectral.output_shape) == ((1, 2, 257, 2), (1, 2, 2, 257, 2))
    assert wave.state_bytes == 4 * (3 + 4)


@pytest.mark.parametrize("field", sorted(set(waveform()) - {"window"}))
def test_a_missing_field_is_named(field: str, tmp_path: Path) -> None:
    content = waveform()
    del content[field]
    with pytest.raises(ModelError, match=rf"manifest\.json: field '{field}'") as caught:
        read(content, tmp_path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "change,complaint",
    [
        ({"hop": 0}, "field 'hop'"),
        ({"hop": "many"}, "field 'hop'"),
        ({"delay": -1}, "field 'delay'"),
        ({"format": 2}, "field 'format'"),
        ({"surprise": 1}, "field 'surprise'"),
        ({"name": "../up"}, "field 'name'"),
        ({"stems": []}, "field 'stems'"),
        ({"stems": ["a", "a"]}, "stems must be distinct"),
        (
            {"state": [{"name": "h", "shape": [1]}, {"name": "h", "shape": [1]}]},
            "state names must be distinct",
        ),
        ({"state": [{"name": "h", "shape": [1, 0]}]}, "field 'state.0.shape.1'"),
        ({"window": {"analysis": 512, "synthesis": 256}}, "a waveform model has no window"),
        ({"domain": "spectrum"}, "a spectrum model needs its window"),
        ({"domain": "spectrum", "window": {"analysis": 64, "synthesis": 128}}, "must not be longer"),
        ({"domain": "spectrum", "window": {"analysis": 512, "synthesis": 256}}, "delay must be"),
        ({"files": {"weights": {"path": "a", "sha256": "0" * 64, "bytes": 1}}}, "field 'files.onnx'"),
    ],
)
def test_a_wrong_field_is_named(change: dict[str, Any], complaint: str, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=complaint) as caught:
        read(waveform() | change, tmp_path)
    assert str(tmp_path / "manifest.json") in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("path", ["/etc/passwd", "../weights", "a/../../b", "", "C:\\weights", "..\\up"])
def test_files_outside_the_folder_are_refused(path: str, tmp_path: Path) -> None:
    content = waveform()
    content["files"] = {
        "weights": {"path": path, "sha256": "0" * 64, "bytes": 1},
        "onnx": {"path": "a", "sha256": "0" * 64, "bytes": 1},
    }
    with pytest.raises(ModelError, match="field 'files.weights.path': must be a relative path"):
        read(content, tmp_path)


def test_several_mistakes_are_counted(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"\(and 1 more\)"):
        read(waveform() | {"hop": 0, "channels": 0}, tmp_path)


@pytest.mark.parametrize("content", [b"{", b"", b"\xff\xfe", b"[]", b"null"])
def test_what_is_no_manifest_is_refused(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "manifest.json"
    path.write_bytes(content)
    with pytest.raises(ModelError, match=r"manifest\.json: ") as caught:
        Manifest.read(path)
    assert "\n" not in str(caught.value)


def test_a_missing_manifest_is_said(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="there is no such manifest"):
        Manifest.read(tmp_path / "manifest.json")
