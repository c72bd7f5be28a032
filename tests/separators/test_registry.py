"""Models are found by name or folder, and their files are what the manifest says."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from rtsep.separators import registry
from rtsep.separators.registry import ModelPackage, available, find
from rtsep.spec import ModelError
from tests.models import build_tiny_model


@pytest.fixture
def shelf(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The only folder on the search path, with the models "one" and "two"."""
    build_tiny_model(tmp_path, name="one")
    build_tiny_model(tmp_path, "conv-tasnet", name="two")
    monkeypatch.setattr(registry, "search_path", lambda: [tmp_path])
    return tmp_path


def names() -> list[str]:
    """Of the models in folders: what is built in is there in any case, behind them."""
    found = [package.name for package in available()]
    own = [package.name for package in available() if not package.built_in]
    assert found[: len(own)] == own and {"hpss", "centre", "adress", "repet"} <= set(found[len(own) :])
    return own


def test_models_are_listed_and_found_by_name(shelf: Path) -> None:
    assert names() == ["one", "two"]
    package = find("two")
    assert package.root == shelf.resolve() / "two"
    assert package.spec.hop == 64
    package.verify()


def test_models_are_found_by_folder_and_manifest(shelf: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert find(shelf / "one").name == "one"
    assert find(str(shelf / "one")).name == "one"
    assert find(shelf / "one" / "manifest.json").name == "one"
    monkeypatch.setattr(registry, "search_path", list)
    monkeypatch.chdir(shelf)
    assert find("one").root == shelf.resolve() / "one"


def test_a_name_goes_before_a_folder(
    shelf: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    build_tiny_model(elsewhere, "conv-tasnet", name="one")
    monkeypatch.chdir(elsewhere)
    assert find("one").root == shelf.resolve() / "one"
    assert find("./one").root == find(Path("one")).root == elsewhere.resolve() / "one"


def test_the_first_folder_on_the_path_wins(
    shelf: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = tmp_path_factory.mktemp("first")
    build_tiny_model(first, "conv-tasnet", name="one")
    monkeypatch.setattr(registry, "search_path", lambda: [first, shelf])
    assert find("one").root == first.resolve() / "one"
    assert [package.root.parent for package in available() if not package.built_in] == [
        first.resolve(),
        shelf.resolve(),
    ]


def test_an_unknown_name_lists_what_there_is(shelf: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ModelError, match="no model is called 'three'; there are: one, two"):
        find("three")
    monkeypatch.setattr(registry, "search_path", list)
    with pytest.raises(ModelError, match="no model is called 'three'; there are: adress, centre, hpss"):
        find("three")


def test_a_folder_that_is_none_is_said(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="there is no such model folder"):
        find(tmp_path / "nothing")
    (tmp_path / "empty").mkdir()
    with pytest.raises(ModelError, match="there is no such manifest"):
        find(tmp_path / "empty")


def test_a_broken_model_hides_no_other_but_is_explained(shelf: Path) -> None:
    (shelf / "one" / "manifest.json").write_text("{}")
    assert names() == ["two"]
    with pytest.raises(ModelError, match="field 'name'"):
        find("one")


def test_folders_come_from_the_environment_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = tmp_path / "a", tmp_path / "b"
    monkeypatch.setenv("RTSEP_MODELS", f"{first}{registry.os.pathsep}{second}")
    path = registry.search_path()
    assert path[:2] == [first, second]
    package = Path(registry.__file__).parents[1]
    assert path[-2:] == [package.parent / "models", package / "shipped_models"]


def test_the_users_folder_follows_the_platform(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry.sys, "platform", "linux")
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    assert registry.user_models() == tmp_path / "rtsep" / "models"
    monkeypatch.delenv("XDG_DATA_HOME")
    assert registry.user_models() == Path.home() / ".local" / "share" / "rtsep" / "models"
    monkeypatch.setattr(registry.sys, "platform", "darwin")
    assert registry.user_models() == Path.home() / "Library" / "Application Support" / "rtsep" / "models"
    monkeypatch.setattr(registry.sys, "platform", "win32")
    monkeypatch.setenv("LOCALAPPDATA", str(tmp_path))
    assert registry.user_models() == tmp_path / "rtsep" / "models"


@pytest.mark.parametrize("which", ["weights", "onnx"])
def test_damaged_files_are_refused(which: str, tmp_path: Path) -> None:
    package = ModelPackage.read(build_tiny_model(tmp_path))
    file: Path = getattr(package, which)
    content = file.read_bytes()

    file.write_bytes(content[:-100])
    with pytest.raises(ModelError, match=f"{file.name}: is {len(content) - 100} bytes long"):
        package.verify()
    file.write_bytes(content[:-100] + bytes([content[-100] ^ 1]) + content[-99:])
    with pytest.raises(ModelError, match=f"{file.name}: its SHA-256 is not the manifest's"):
        package.verify()
    file.unlink()
    with pytest.raises(ModelError, match=f"{file.name}: missing"):
        package.verify()
    file.write_bytes(content)
    package.verify()


def test_listing_models_loads_nothing_heavy() -> None:
    code = (
        "import sys; from rtsep.separators.registry import available; available();"
        "print(*{'torch', 'numba', 'onnxruntime', 'numpy'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""
