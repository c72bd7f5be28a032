"""Runs the real command line, in a process of its own or, which is a second faster, in this one."""

from __future__ import annotations

import contextlib
import io
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO

import pytest

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


def rtsep_here(
    *arguments: str | Path, cwd: Path | None = None, **extra: str
) -> subprocess.CompletedProcess[str]:
    """Like `rtsep`, but in this process, which has the libraries already.

    What is said is taken from the file descriptors, so that what libraries and child processes say by
    themselves counts as well. Signal handlers, environment and folder are as before afterwards.
    """
    from rtsep.cli import main

    words = [str(word) for word in arguments]
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        with pytest.MonkeyPatch.context() as patch, _caught(1) as out, _caught(2) as err:
            for name, value in environment(**extra).items():
                patch.setenv(name, value)
            if cwd is not None:
                patch.chdir(cwd)
            patch.setattr(sys, "stdin", io.StringIO())
            with pytest.raises(SystemExit) as left:
                main.main(words)
            said = [_text(out, sys.stdout), _text(err, sys.stderr)]
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
    code = left.value.code
    assert code is None or isinstance(code, int)
    return subprocess.CompletedProcess(words, code or 0, *said)


@contextlib.contextmanager
def _caught(descriptor: int) -> Iterator[IO[bytes]]:
    """Have all that is written to standard output (1) or error (2) go to a file while the block lasts."""
    name = {1: "stdout", 2: "stderr"}[descriptor]
    before, kept = getattr(sys, name), os.dup(descriptor)
    with tempfile.TemporaryFile() as file:
        os.dup2(file.fileno(), descriptor)
        setattr(sys, name, os.fdopen(os.dup(descriptor), "w", encoding="utf-8"))
        try:
            yield file
        finally:
            getattr(sys, name).close()
            setattr(sys, name, before)
            os.dup2(kept, descriptor)
            os.close(kept)


def _text(file: IO[bytes], written: IO[str]) -> str:
    written.flush()
    file.seek(0)
    return file.read().decode("utf-8")


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
