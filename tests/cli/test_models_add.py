"""`rtsep models add` and `remove`: from a source to stems on disk; and refusals that leave nothing behind."""

from __future__ import annotations

import dataclasses
import hashlib
import io
import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import soundfile
from safetensors.torch import save_file

import rtsep as package
from rtsep.cli.main import main
from rtsep.importing import add as adding
from rtsep.importing.published import PUBLISHED, Remote
from rtsep.separators.registry import OfflinePackage, find, find_any
from rtsep.spec import ModelError, UsageError
from tests.cli.command import one_line, rtsep, snapshot
from tests.file_server import FileServer, serve
from tests.graphs import write
from tests.importing.test_cadenza import CONFIG, random_state
from tests.models import build_tiny_model
from tests.open_unmix import RATE, peer_separator, save_models

TARGETS = ("vocals", "drums", "bass", "other")


@pytest.fixture
def shelf(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where models are added."""
    folder = tmp_path / "shelf"
    monkeypatch.setenv("RTSEP_MODELS", str(folder))
    return folder


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FileServer]:
    """Plays the publisher of "umxhq": small networks under the names and with the hashes of their files."""
    folder = save_models(tmp_path / "served", TARGETS)
    with serve(folder) as files:
        remotes = {}
        for target in TARGETS:
            digest = hashlib.sha256((folder / f"{target}.pth").read_bytes()).hexdigest()
            name = f"{target}-{digest[:8]}.pth"
            (folder / f"{target}.pth").rename(folder / name)
            remotes[target] = Remote(f"{files.url}/{name}", digest[:8])
        for name in ("umxhq", "umxl"):
            monkeypatch.setitem(PUBLISHED, name, dataclasses.replace(PUBLISHED[name], files=remotes))
        yield files


def run(*arguments: str) -> int:
    """The command line in this process, which knows the server."""
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    return int(ended.value.code or 0)


def refused(capsys: pytest.CaptureFixture[str], code: int, *arguments: str | Path) -> str:
    """What a command says that fails with this exit code: one line."""
    capsys.readouterr()
    assert run(*map(str, arguments)) == code
    told = capsys.readouterr()
    assert told.err.startswith("rtsep: ") and told.err.count("\n") == 1
    return told.err


def test_a_published_model_is_downloaded_shown_and_runs(
    server: FileServer, shelf: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("models", "add", "umxhq", "--accept-licence") == 0
    told = capsys.readouterr().out
    assert "MIT" in told and "https://zenodo.org/records/3370489" in told and str(shelf / "umxhq") in told
    assert len(server.asked) == 4
    assert sorted(snapshot(shelf)) == ["umxhq", "umxhq/manifest.json", "umxhq/weights.safetensors"]
    assert isinstance(find_any("umxhq"), OfflinePackage)

    assert run("models", "list") == 0
    row = next(line for line in capsys.readouterr().out.splitlines() if line.startswith("umxhq"))
    assert "offline" in row and "vocals, drums, bass, other" in row
    assert run("models", "info", "umxhq") == 0
    told = capsys.readouterr().out
    for part in ("cannot run live", "30 s at once, 3 s cross-faded", "umx-reference", "files are intact"):
        assert part in told

    audio = 0.1 * np.random.default_rng(0).standard_normal((9000, 2))
    soundfile.write(tmp_path / "song.wav", audio, 44100, "FLOAT")
    song, out = str(tmp_path / "song.wav"), str(tmp_path / "out")
    assert run("separate", song, "-o", out, "-m", "umxhq", "--mute", "vocals") == 0
    results = {file.stem: soundfile.read(file)[0] for file in (tmp_path / "out" / "song").iterdir()}
    assert results.keys() == {*TARGETS, "mix-without-vocals"}
    assert all(result.shape == audio.shape for result in results.values())
    with package.load("umxhq") as separator:
        stems = separator.separate(audio.T.astype(np.float32), 44100)
    for name, stem in stems.items():
        np.testing.assert_allclose(results[name], stem.T, atol=1e-6)


def test_stems_are_those_of_the_package(
    shelf: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Through the whole way: a folder that the openunmix package wrote, `rtsep models add`, `rtsep.load`."""
    import torch

    folder = save_models(tmp_path / "mine", ("vocals", "drums"))
    assert run("models", "add", str(folder), "--licence", "CC0-1.0") == 0
    assert "mine: Open-Unmix, drums and vocals; licence: CC0-1.0" in capsys.readouterr().out
    mix = 0.2 * np.random.default_rng(1).standard_normal((2, RATE)).astype(np.float32)
    with package.load("mine") as separator:
        assert separator.spec.stems == ("vocals", "drums")
        stems = separator.separate(mix, RATE)
        with pytest.raises(ModelError, match="no stream"):
            _ = separator.stream
    peer = peer_separator(folder, ("vocals", "drums"), iterations=1, residual=False)
    peer.wiener_win_len = 300
    with torch.no_grad():
        wanted = peer.double()(torch.from_numpy(mix).double().unsqueeze(0))[0].numpy()
    assert np.abs(wanted).max() > 0.05
    for name, stem in zip(("vocals", "drums"), wanted, strict=True):
        np.testing.assert_allclose(stems[name], stem, atol=1e-4)


@pytest.mark.parametrize(
    "command", [["live", "--null", "--seconds", "1"], ["latency"]], ids=["live", "latency"]
)
def test_it_cannot_run_live(
    command: list[str], shelf: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("models", "add", str(save_models(tmp_path / "mine", ("vocals",)))) == 0
    capsys.readouterr()
    assert run(*command, "--model", "mine") == ModelError.exit_code
    told = capsys.readouterr()
    assert told.out == "" and told.err.count("\n") == 1
    assert told.err.startswith("rtsep: mine is an offline model") and "rtsep separate" in told.err
    with pytest.raises(ModelError, match="offline model"):
        package.Engine("mine")


def test_help_names_all_that_can_be_added(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("models", "add", "--help") == 0
    told = capsys.readouterr().out
    for source in (*PUBLISHED, ".onnx", ".pth", ".th ", "Cadenza", "demucs"):
        assert source in told, source


def test_the_licence_has_to_be_accepted(
    server: FileServer, shelf: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("models", "add", "umxl") == UsageError.exit_code
    told = capsys.readouterr()
    assert "CC-BY-NC-SA-4.0" in told.out and "Not for commercial use" in told.out
    assert "--accept-licence" in told.err
    assert not server.asked and not list(shelf.glob("*"))
    with pytest.raises(UsageError, match="was not accepted"):
        adding.add(adding.Request("umxl"), lambda terms: False, lambda name: lambda done, total: None)
    assert not server.asked and not list(shelf.glob("*"))


class Terminal(io.StringIO):
    """Somebody who types."""

    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize("answer,installed", [("y", True), ("n", False)])
def test_who_sits_at_a_terminal_is_asked(
    answer: str, installed: bool, server: FileServer, shelf: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stdin", Terminal(f"{answer}\n"))
    assert run("models", "add", "umxl") == (0 if installed else UsageError.exit_code)
    assert bool(server.asked) == installed == (shelf / "umxl").is_dir()


@pytest.mark.parametrize("fault", ["wrong", "cut", "missing"])
def test_a_download_that_fails_leaves_nothing(
    fault: str, server: FileServer, shelf: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The last of four files: the three before it came."""
    file = next(server.folder.glob("other-*.pth"))
    if fault == "wrong":
        file.write_bytes(file.read_bytes() + b"more")
    elif fault == "cut":
        server.cut.add(file.name)
    else:
        file.unlink()
    assert run("models", "add", "umxhq", "--accept-licence") == ModelError.exit_code
    complaint = {"wrong": "its SHA-256 is", "cut": "connection ended", "missing": "404"}[fault]
    error = capsys.readouterr().err
    assert complaint in error and error.count("\n") == 1
    assert len(server.asked) == 4
    assert not list(shelf.glob("*"))


def test_where_no_hash_is_published_the_user_gives_it(
    server: FileServer, shelf: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    save_file(random_state(CONFIG), server.folder / "model.safetensors")
    digest = hashlib.sha256((server.folder / "model.safetensors").read_bytes()).hexdigest()
    files = {"": Remote(f"{server.url}/model.safetensors", "")}
    known = PUBLISHED["cadenza-convtasnet"]
    small = dataclasses.replace(known, files=files, config=CONFIG)
    monkeypatch.setitem(PUBLISHED, "cadenza-convtasnet", small)
    common = ("models", "add", "cadenza-convtasnet", "--accept-licence")
    assert run(*common) == UsageError.exit_code
    assert "--sha256, as https://huggingface.co" in capsys.readouterr().err and not server.asked
    assert run(*common, "--sha256", "0" * 64) == ModelError.exit_code
    assert not list(shelf.glob("*"))
    assert run(*common, "--sha256", digest) == 0
    package = find("cadenza-convtasnet")
    package.verify()
    assert package.manifest.licence == "Apache-2.0"
    assert package.spec.algorithmic_latency == 330
    assert sorted(path.name for path in shelf.iterdir()) == ["cadenza-convtasnet"]


def test_a_folder_from_the_cadenza_project_streams(shelf: Path, tmp_path: Path) -> None:
    folder = tmp_path / "theirs"
    folder.mkdir()
    save_file(random_state(CONFIG), folder / "model.safetensors")
    (folder / "config.json").write_text(json.dumps(CONFIG))
    assert run("models", "add", str(folder), "--licence", "Apache-2.0", "--name", "tasnet") == 0
    assert find("tasnet").spec.stems == ("vocals", "accompaniment")


def test_an_address_needs_a_hash_and_gets_a_model(
    server: FileServer, shelf: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    graph, described = write(tmp_path)
    (server.folder / "echo.onnx").write_bytes(graph.read_bytes())
    digest = hashlib.sha256(graph.read_bytes()).hexdigest()
    url = f"{server.url}/echo.onnx"
    common = ("models", "add", url, "--manifest", str(described), "--accept-licence")
    assert "needs --sha256" in refused(capsys, UsageError.exit_code, *common)
    assert not server.asked
    assert f"is {digest}" in refused(capsys, ModelError.exit_code, *common, "--sha256", "0" * 64)
    assert not list(shelf.glob("*"))
    assert run(*common, "--sha256", digest, "--name", "mine") == 0
    assert "CC0-1.0" in capsys.readouterr().out
    assert find("mine").manifest.training["source"] == url


@pytest.mark.realtime
def test_a_graph_of_ones_own_streams(shelf: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    graph, described = write(tmp_path)
    assert run("models", "add", str(graph), "--manifest", str(described)) == 0
    assert run("models", "info", "echo") == 0
    assert "64 samples, 1.5 ms" in capsys.readouterr().out
    assert run("live", "--null", "--seconds", "0.3", "--model", "echo", "--mute", "voice") == 0


def test_a_folder_of_rtseps_own_is_copied(
    shelf: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = build_tiny_model(tmp_path / "elsewhere")
    assert run("models", "add", str(root), "--name", "copy") == 0
    find("copy").verify()
    assert find("copy").manifest.name == "copy"
    weights = next(root.glob("*.safetensors"))
    weights.write_bytes(weights.read_bytes()[:-1])
    told = refused(capsys, ModelError.exit_code, "models", "add", root, "--name", "damaged")
    assert "bytes long" in told
    assert [path.name for path in shelf.iterdir()] == ["copy"]


def test_what_contradicts_itself_is_one_line(shelf: Path, tmp_path: Path) -> None:
    graph, described = write(tmp_path)
    (tmp_path / "notes.txt").touch()
    for arguments, complaint, error in [
        (["kazoo"], "umx, umxhq, umxl", ModelError),
        ([graph], "an ONNX file needs --manifest", UsageError),
        ([tmp_path / "notes.txt"], "can be added", UsageError),
        ([graph, "--manifest", described, "--name", "../up"], "cannot be a model's name", UsageError),
        ([graph, "--manifest", described, "--sha256", "0" * 64], "nothing was installed", ModelError),
        ([graph, "--manifest", described, "--sha256", "x"], "is no SHA-256", UsageError),
        ([graph, "--manifest", described, "--licence", "MIT"], "is a field of its manifest", UsageError),
        ([tmp_path, "--sha256", "0" * 64], "go with a file", UsageError),
        (["umxhq", "--licence", "MIT"], "is a published model", UsageError),
        (["umxhq", "--sha256", "0" * 64], "its hashes are known", UsageError),
        ([graph, "--manifest", described, "--name", "live"], "is called 'live' already", ModelError),
    ]:
        with pytest.raises(error, match=complaint):
            options = dict(zip(map(str, arguments[1::2]), map(str, arguments[2::2]), strict=True))
            request = adding.Request(
                str(arguments[0]),
                options.get("--name"),
                options.get("--sha256"),
                Path(options["--manifest"]) if "--manifest" in options else None,
                options.get("--licence"),
            )
            adding.add(request, lambda terms: True, lambda name: lambda done, total: None)
        assert not list(shelf.glob("*"))
    result = rtsep("models", "add", "kazoo")
    assert result.returncode == ModelError.exit_code and "no such file or folder" in one_line(result)


def test_remove_takes_ones_own_only(shelf: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    graph, described = write(tmp_path)
    add = ("models", "add", str(graph), "--manifest", str(described))
    assert run(*add) == 0
    assert "is called 'echo' already" in refused(capsys, ModelError.exit_code, *add)
    assert run("models", "remove", "echo") == 0
    assert not list(shelf.glob("*"))
    for name, complaint in (("echo", "no model is called 'echo'"), ("live", "is part of rtsep")):
        assert complaint in refused(capsys, ModelError.exit_code, "models", "remove", name)
    assert find("live").root.is_dir()
