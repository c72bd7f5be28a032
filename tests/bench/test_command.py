"""A command that is watched: its time, its processors' and the memory of its children."""

from __future__ import annotations

import os
import sys

import pytest

from rtsep.bench.command import last_line, run
from rtsep.spec import RtsepError

CHILD = "import time; held = bytearray(80_000_000); time.sleep(0.5); sum(range(3_000_000))"
PARENT = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {CHILD!r}], check=True)"


def test_children_count() -> None:
    took = run([sys.executable, "-c", PARENT], dict(os.environ))
    assert took.peak_mb > 80.0
    assert took.seconds > 0.5 and took.cpu_seconds > 0.0


def test_a_failure_is_its_last_line() -> None:
    with pytest.raises(RtsepError, match="^no such thing$"):
        run(
            [sys.executable, "-c", "import sys; print('begun'); sys.exit('rtsep: no such thing')"],
            dict(os.environ),
        )
    with pytest.raises(RtsepError, match="nothing was said"):
        run([sys.executable, "-c", "raise SystemExit(3)"], dict(os.environ))


def test_where_an_environment_lies_is_not_kept() -> None:
    assert last_line(f"one\nImportError: {sys.prefix}/lib/x.so\n") == "ImportError: lib/x.so"
