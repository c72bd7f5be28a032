"""What runs in real time cannot get among the tests that share the machine, and all kinds are always run."""

from __future__ import annotations

import os
import pty
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from rtsep.io.null import NullDriver
from rtsep.rt.port import RealtimePort
from tests import guard
from tests.cli.command import PROGRAM
from tests.guard import NeedsMarkError, in_real_time

ROOT = Path(__file__).parents[1]


@pytest.mark.parametrize(
    "command",
    [
        ["jackd", "-n", "x"],
        ["setpriv", "--pdeathsig", "KILL", "/usr/bin/jackd", "-d", "dummy"],
        [sys.executable, "-m", "rtsep.engine.child"],
        [*PROGRAM, "live", "--null"],
        ["/usr/local/bin/rtsep", "demo"],
        [*PROGRAM, "latency", "--measure"],
        ["/usr/bin/chromium", "--headless"],
        ["/somewhere/playwright/driver/node", "cli.js"],
    ],
)
def test_what_runs_in_real_time_is_known_by_its_command(command: list[str]) -> None:
    assert in_real_time(command)
    with guard.watching(marked=False), pytest.raises(NeedsMarkError, match="realtime"):
        subprocess.Popen(command)


@pytest.mark.parametrize(
    "command",
    [
        [],
        ["ffmpeg", "-i", "live"],
        [*PROGRAM, "separate", "--model", "live"],
        [*PROGRAM, "latency"],
        [*PROGRAM, "live", "--help"],
        [sys.executable, "-c", "import rtsep.engine.child"],
    ],
)
def test_what_does_not_is_left_alone(command: list[str]) -> None:
    assert not in_real_time(command)


def test_a_driver_with_a_clock_and_a_terminal_are_known_too() -> None:
    driver = NullDriver(source=np.zeros((2, 100), np.float32))
    with guard.watching(marked=False):
        with pytest.raises(NeedsMarkError, match="pace"):
            driver.start(RealtimePort(2, 2, 1024, 0))
        with pytest.raises(NeedsMarkError, match="terminal"):
            pty.fork()
        # One without a clock is as good as any other computation.
        unpaced = NullDriver(source=np.zeros((2, 100), np.float32), realtime=False)
        unpaced.start(RealtimePort(2, 2, 1024, 0))
        unpaced.stop()
    assert not driver.active


def test_a_test_that_is_marked_may_do_it() -> None:
    with guard.watching(marked=True):
        # As far as the guard is concerned; there is no such program.
        with pytest.raises(FileNotFoundError):
            subprocess.Popen(["/nowhere/jackd"])


def test_the_mark_is_what_decides(tmp_path: Path) -> None:
    """A run of pytest with this suite's own hooks."""
    (tmp_path / "conftest.py").write_text("from tests.conftest import *\n")
    (tmp_path / "pyproject.toml").write_text("[tool.pytest.ini_options]\nmarkers = ['realtime']\n")
    start = "    import subprocess; subprocess.run(['/nowhere/jackd'])\n"
    (tmp_path / "test_it.py").write_text(
        "import pytest\n"
        "@pytest.fixture(scope='module')\n"
        f"def server():\n{start}"
        f"def test_bare():\n{start}"
        "def test_by_fixture(server): pass\n"
        f"@pytest.mark.realtime\ndef test_marked():\n{start}"
    )
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--tb=line", str(tmp_path)]
    env = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, cwd=tmp_path, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    told = [line for line in done.stdout.splitlines() if line.startswith(("FAILED", "ERROR"))]
    assert [("NeedsMarkError" in line, "FileNotFoundError" in line) for line in told] == [
        (True, False),
        (False, True),
        (True, False),
    ], done.stdout


# -- all parts are run -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("codes", "code"),
    [
        ((0, 0, 0), 0),
        ((1, 0, 0), 1),
        ((0, 1, 0), 1),
        ((0, 0, 1), 1),
        ((3, 1, 0), 3),
        ((0, 3, 1), 3),
        ((5, 0, 5), 0),
        ((0, 5, 5), 0),
        ((5, 5, 1), 1),
        ((1, 5, 5), 1),
        ((5, 5, 5), 5),
    ],
)
def test_all_parts_are_run_and_any_can_fail(tmp_path: Path, codes: tuple[int, int, int], code: int) -> None:
    crowd, pair, alone = codes
    python = tmp_path / "python"
    python.write_text(
        "#!/bin/bash\n"
        f'printf "%s|" "$@" >> {tmp_path}/log; echo >> {tmp_path}/log\n'
        f'case "$*" in *"not realtime") exit {crowd};; *"not alone") exit {pair};; *) exit {alone};; esac\n'
    )
    python.chmod(0o755)
    script = ROOT / "scripts" / "run_tests.sh"
    done = subprocess.run([script, python, "-k", "a or b", "tests/x"], check=False)
    assert done.returncode == code
    parts = (tmp_path / "log").read_text().splitlines()
    assert all("|-k|a or b|tests/x|" in part for part in parts)
    first, second, third = parts
    assert first.endswith("|-m|not realtime|") and second.endswith("|-m|realtime and not alone|")
    assert third.endswith("|-n|0|-m|realtime and alone|")


def test_who_interrupts_the_first_part_is_spared_the_others(tmp_path: Path) -> None:
    python = tmp_path / "python"
    python.write_text(f"#!/bin/bash\necho x >> {tmp_path}/log\nexit 2\n")
    python.chmod(0o755)
    assert subprocess.run([ROOT / "scripts" / "run_tests.sh", python], check=False).returncode == 2
    assert (tmp_path / "log").read_text() == "x\n"


def test_what_runs_alone_is_real_time() -> None:
    """Otherwise it would be among the crowd."""
    marked = [file for file in (ROOT / "tests").rglob("test_*.py") if "mark.alone" in file.read_text()]
    assert marked and all("mark.realtime" in file.read_text() for file in marked)
