"""Runs the real command line in a process of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

PROGRAM = (sys.executable, "-c", "from rtsep.cli.main import main; main()")


def environment(**extra: str) -> dict[str, str]:
    """This process's, with one thread per library and an English, colourless, wide terminal."""
    root = str(Path(__file__).parents[2])
    return os.environ | {"OMP_NUM_THREADS": "1", "COLUMNS": "120", "PYTHONPATH": root} | extra


def rtsep(*arguments: str | Path, cwd: Path | None = None, **extra: str) -> subprocess.CompletedProcess[str]:
    """Run `rtsep ARGUMENTS` to its end; `extra` are environment variables."""
    return subprocess.run(
        [*PROGRAM, *map(str, arguments)],
        cwd=cwd,
        env=environment(**extra),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def one_line(result: subprocess.CompletedProcess[str]) -> str:
    """What a failed command said, which must be one line of rtsep's and nothing else."""
    assert result.stdout == "", result.stdout
    lines = result.stderr.splitlines()
    assert len(lines) == 1 and lines[0].startswith("rtsep: "), result.stderr
    return lines[0]


def snapshot(folder: Path) -> dict[str, bytes | None]:
    """Everything in a folder, hidden files too: contents of files, None for folders."""
    return {
        str(path.relative_to(folder)): path.read_bytes() if path.is_file() else None
        for path in sorted(folder.rglob("*"))
    }
