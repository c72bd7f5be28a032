"""The set-up scripts on machines that lack this or that, played by a folder of stand-in programs."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SCRIPT = ROOT / "scripts" / "system_packages.sh"
PROGRAMS = (
    "ffmpeg",
    "ffprobe",
    "g++",
    "jackd",
    "jack_lsp",
    "jack_iodelay",
    "chromium",
    "pipewire",
    "pw-jack",
)


class Machine:
    """A search path with exactly the programs it is given."""

    def __init__(self, folder: Path, without: tuple[str, ...] = (), portaudio: bool = True) -> None:
        self.bin = folder / "bin"
        self.bin.mkdir()
        self.log = folder / "log"
        self.log.touch()
        for real in ("bash", "sort", "tr", "env", "touch", "chmod"):
            found = shutil.which(real)
            assert found is not None
            (self.bin / real).symlink_to(found)
        for name in PROGRAMS:
            if name not in without:
                self.add(name)
        self.add("ldconfig", "echo 'libportaudio.so.2 (libc6,x86-64) => ...'" if portaudio else "true")
        self.add("id", "echo 1000")

    def add(self, name: str, script: str = "true") -> None:
        path = self.bin / name
        path.write_text(f"#!{self.bin}/bash\n{script}\n")
        path.chmod(0o755)

    def add_apt(self, *brings: str, packages: str = "") -> None:
        """apt-get writes down how it was called, and installing makes the named programs appear."""
        made = "\n".join(
            f'echo "#!{self.bin}/bash" > {self.bin}/{b}; chmod +x {self.bin}/{b}' for b in brings
        )
        self.add(
            "apt-get",
            f'echo "$DEBIAN_FRONTEND $*" >> {self.log}\ncase "$*" in *" install "*)\n{made}\ntrue;; esac',
        )
        self.add("apt-cache", f"echo '{packages}'")

    def run(self, goal: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [SCRIPT, goal],
            env={"PATH": str(self.bin)},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )


@pytest.mark.parametrize("goal", ["demo", "test"])
def test_nothing_to_do(tmp_path: Path, goal: str) -> None:
    result = Machine(tmp_path).run(goal)
    assert (result.returncode, result.stdout, result.stderr) == (0, "", "")


def test_the_demo_needs_no_jack(tmp_path: Path) -> None:
    assert Machine(tmp_path, without=("jackd", "jack_lsp", "jack_iodelay")).run("demo").returncode == 0


@pytest.mark.parametrize(
    ("goal", "without", "command"),
    [
        ("demo", ("ffmpeg",), "sudo apt-get install ffmpeg"),
        ("test", ("ffmpeg", "ffprobe", "jackd"), "sudo apt-get install ffmpeg jackd2"),
        ("test", ("jack_iodelay",), "sudo apt-get install jackd2"),
    ],
)
def test_who_may_not_install_is_told_the_command(
    tmp_path: Path, goal: str, without: tuple[str, ...], command: str
) -> None:
    machine = Machine(tmp_path, without)
    machine.add_apt()
    machine.add("sudo", "exit 1")
    result = machine.run(goal)
    assert result.returncode == 1
    assert result.stderr.count("\n") == 1 and result.stderr.rstrip().endswith(command)
    assert machine.log.read_text() == ""


@pytest.mark.parametrize(
    ("without", "packages"),
    [(("chromium",), "chromium"), (("pipewire", "pw-jack"), "pipewire pipewire-jack")],
)
def test_the_tests_run_without_a_browser_or_pipewire(
    tmp_path: Path, without: tuple[str, ...], packages: str
) -> None:
    result = Machine(tmp_path, without=without).run("test")
    assert result.returncode == 0
    assert f"some tests need: sudo apt-get install {packages}" in result.stderr


def test_the_demo_runs_without_portaudio(tmp_path: Path) -> None:
    result = Machine(tmp_path, portaudio=False).run("demo")
    assert result.returncode == 0
    assert "'rtsep live' needs: sudo apt-get install libportaudio2" in result.stderr


@pytest.mark.parametrize("how", ["root", "sudo"])
def test_installs_without_asking(tmp_path: Path, how: str) -> None:
    machine = Machine(tmp_path, without=("ffmpeg", "jackd"))
    machine.add_apt("ffmpeg", "jackd")
    if how == "root":
        machine.add("id", "echo 0")
    else:
        machine.add("sudo", 'shift; "$@"')
    result = machine.run("test")
    assert result.returncode == 0, result.stderr
    update, install = machine.log.read_text().splitlines()
    assert update.startswith("noninteractive ") and update.endswith(" update")
    assert install.startswith("noninteractive ") and " install -y " in install
    assert install.endswith(" ffmpeg jackd2")


def test_jacks_tools_where_they_have_a_package_of_their_own(tmp_path: Path) -> None:
    machine = Machine(tmp_path, without=("jack_lsp", "jack_iodelay"))
    machine.add_apt("jack_lsp", "jack_iodelay", packages="jack-example-tools - Examples that use JACK")
    machine.add("id", "echo 0")
    assert machine.run("test").returncode == 0
    assert machine.log.read_text().rstrip().endswith("jackd2 jack-example-tools")


def test_an_installation_that_fails_is_told(tmp_path: Path) -> None:
    machine = Machine(tmp_path, without=("ffmpeg",))
    machine.add("id", "echo 0")
    machine.add("apt-get", "exit 100")
    result = machine.run("demo")
    assert result.returncode == 1 and "ffmpeg missing" in result.stderr


def test_python_is_found_or_asked_for(tmp_path: Path) -> None:
    script = ROOT / "scripts" / "find_python.sh"
    machine = Machine(tmp_path)
    machine.add("python3", "exit 1")  # too old
    machine.add("python3.12")
    shell = shutil.which("sh")
    assert shell is not None
    command = [shell, str(script)]
    found = subprocess.run(
        command, env={"PATH": str(machine.bin)}, capture_output=True, text=True, check=True
    )
    assert found.stdout.strip() == str(machine.bin / "python3.12")
    os.unlink(machine.bin / "python3.12")
    lacking = subprocess.run(
        command, env={"PATH": str(machine.bin)}, capture_output=True, text=True, check=False
    )
    assert lacking.returncode == 1 and "Python 3.11 or later" in lacking.stderr


def test_what_is_required_is_pinned() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    pinned = dict(line.split("==") for line in lines if not line.startswith("#"))

    def normal(name: str) -> str:
        return re.sub(r"[-_.]+", "-", name).lower()

    names = {normal(name) for name in pinned}
    extras = project["optional-dependencies"]
    required = [*project["dependencies"], *(r for extra in extras if extra != "gpu" for r in extras[extra])]
    for requirement in required:
        name = normal(re.split(r"[\[<>=~!; ]", requirement)[0])
        assert name == "rtsep" or name in names, f"{requirement} is not pinned in constraints.txt"
    assert pinned["torch"] == "2.13.0"


def test_what_the_tests_install_is_not_passed_over_where_it_is_missing() -> None:
    """A package of the test extra that did not get installed must fail, not skip."""
    passed_over = {
        package
        for path in (ROOT / "tests").rglob("*.py")
        for package in re.findall(r"importorskip\(\"(\w+)\"\)", path.read_text())
    }
    # Not a package: a part of Python that Windows lacks.
    assert passed_over == {"resource"}
