"""Progress is for people at a terminal; results are for whoever asked for them."""

from __future__ import annotations

import os
import pty
import subprocess
import sys
from pathlib import Path

import pytest

from rtsep.cli.progress import clock, speed
from tests.cli.command import environment

PROGRAM = """
import sys, typer
from rtsep.cli.progress import AudioProgress
with AudioProgress(quiet="quiet" in sys.argv) as progress:
    progress.begin("[red] song")
    for second in range(3):
        progress.update(second, 3.0)
    typer.echo("done")
"""


def on_terminal(tmp_path: Path, *arguments: str) -> tuple[str, str]:
    """What a terminal on stderr shows, and what a file on stdout receives."""
    ours, theirs = pty.openpty()
    with (tmp_path / "out").open("w") as stdout:
        subprocess.run(
            [sys.executable, "-c", PROGRAM, *arguments],
            env=environment(TERM="xterm"),
            stdin=subprocess.DEVNULL,
            stdout=stdout,
            stderr=theirs,
            check=True,
        )
    os.write(theirs, b"END")
    os.close(theirs)
    shown = b""
    while not shown.endswith(b"END"):
        shown += os.read(ours, 65536)
    os.close(ours)
    return shown.removesuffix(b"END").decode(), (tmp_path / "out").read_text()


def test_the_bar_is_on_the_terminal_and_results_in_the_file(tmp_path: Path) -> None:
    shown, received = on_terminal(tmp_path)
    assert "[red] song" in shown and "done" not in shown
    assert received == "done\n"


def test_quiet_shows_no_bar(tmp_path: Path) -> None:
    shown, received = on_terminal(tmp_path, "quiet")
    assert (shown, received) == ("", "done\n")


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0:00"), (0.6, "0:01"), (59.4, "0:59"), (59.6, "1:00"), (185, "3:05"), (3600, "1:00:00")],
)
def test_clock(seconds: float, text: str) -> None:
    assert clock(seconds) == text


def test_speed() -> None:
    assert speed(60.0, 4.0) == "15.0x"
    assert speed(60.0, 0.0) == ""
