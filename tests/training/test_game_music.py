"""The script that gathers music from game packages, on packages that are made here."""

from __future__ import annotations

import importlib.util
import shutil
import subprocess
import zipfile
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import soundfile

from rtsep.training.corpus import load_corpus

SCRIPT = Path(__file__).parents[2] / "scripts" / "game_music.py"

pytestmark = pytest.mark.skipif(shutil.which("dpkg-deb") is None, reason="takes Debian's dpkg-deb")


@pytest.fixture(scope="module")
def script() -> ModuleType:
    spec = importlib.util.spec_from_file_location("game_music", SCRIPT)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def tone(file: Path, seconds: float, hertz: float, rate: int = 8000) -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    time = np.arange(round(seconds * rate)) / rate
    form = {"format": "OGG", "subtype": "OPUS"} if file.suffix == ".opus" else {}
    soundfile.write(file, 0.3 * np.sin(2.0 * np.pi * hertz * time), rate, **form)
    return file


def package(folder: Path, name: str, files: Path) -> None:
    """A package of the tree `files`."""
    control = files / "DEBIAN" / "control"
    control.parent.mkdir(parents=True)
    control.write_text(
        f"Package: {name}\nVersion: 1.0\nArchitecture: all\nMaintainer: nobody <nobody@example.org>\n"
        "Description: a game's music\n"
    )
    folder.mkdir(exist_ok=True)
    built = ["dpkg-deb", "--root-owner-group", "-b", str(files), str(folder / f"{name}_1.0_all.deb")]
    subprocess.run(built, check=True, capture_output=True)


def test_music_is_gathered_and_read_as_accompaniments(tmp_path: Path, script: ModuleType) -> None:
    tree = tmp_path / "tree"
    game = tree / "usr" / "share" / "games" / "hop"
    tone(game / "sound" / "music" / "theme.ogg", 41.0, 220.0)
    shutil.copyfile(game / "sound" / "music" / "theme.ogg", game / "sound" / "music" / "theme_again.ogg")
    tone(game / "music" / "battle.opus", 42.0, 330.0)
    tone(game / "music" / "jingle.ogg", 5.0, 440.0)
    tone(game / "music" / "nolok_speech.ogg", 41.0, 550.0)
    tone(game / "sounds" / "engine.ogg", 41.0, 660.0)
    (game / "music" / "broken.ogg").write_bytes(b"no sound")
    packed = tone(tmp_path / "packed.ogg", 43.0, 770.0)
    with zipfile.ZipFile(game / "data.pk3", "w") as archive:
        archive.write(packed, "music/packed.ogg")
    text = tree / "usr" / "share" / "doc" / "hop-data" / "copyright"
    text.parent.mkdir(parents=True)
    text.write_text("License: CC0\n")
    package(tmp_path / "debs", "hop-data", tree)

    out = tmp_path / "games"
    assert script.main([str(out), "--debs", str(tmp_path / "debs")]) == 0

    tracks = {track.name: track for track in load_corpus([out], tmp_path / "cache", 8000)}
    assert sorted(name.split("-", 2)[-1] for name in tracks) == ["battle", "packed", "theme"]
    assert all(set(track.stems) == {"accompaniment"} for track in tracks.values())
    assert sorted(round(track.samples / 8000) for track in tracks.values()) == [41, 42, 43]
    assert (out / "hop-data" / "copyright").read_text() == "License: CC0\n"


def test_what_is_measured_on_is_not_trained_on(script: ModuleType) -> None:
    assert not set(script.PACKAGES) & set(script.HELD_OUT)


def test_packages_are_downloaded_by_name_and_not_kept(
    tmp_path: Path, script: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A stand-in for apt-get, which lays down a package by each name it is given."""
    programs = tmp_path / "bin"
    programs.mkdir()
    (programs / "apt-get").write_text('#!/bin/sh\necho "$3" > "$3_1.0_all.deb"\n')
    (programs / "apt-get").chmod(0o755)
    monkeypatch.setenv("PATH", str(programs), prepend=":")
    seen = [(deb.name, deb.read_text()) for deb in script.packages(("one", "two"), None, tmp_path)]
    assert seen == [("one_1.0_all.deb", "one\n"), ("two_1.0_all.deb", "two\n")]
    assert not list(tmp_path.glob("*.deb"))

    (programs / "apt-get").write_text("#!/bin/sh\necho 'E: no such package' >&2\nexit 100\n")
    with pytest.raises(script.GatheringError, match="cannot download one: E: no such package"):
        next(script.packages(("one",), None, tmp_path))


def test_what_is_wrong_is_one_line(
    tmp_path: Path, script: ModuleType, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert script.main([str(tmp_path / "out"), "--debs", str(tmp_path)]) == 1
    (tmp_path / "bad_1.deb").write_bytes(b"no package")
    assert script.main([str(tmp_path / "out"), "--debs", str(tmp_path)]) == 1
    monkeypatch.setenv("PATH", str(tmp_path))
    assert script.main([str(tmp_path / "out")]) == 1
    said = capsys.readouterr().err.splitlines()
    assert len(said) == 3
    assert "no package" in said[0] and "cannot unpack" in said[1] and "no apt-get" in said[2]
