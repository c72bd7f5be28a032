"""What is in memory is locked there, as the system itself says, or the caller is told that it is not."""

from __future__ import annotations

import subprocess
import sys

import pytest

from rtsep.rt import residence

LOCKED = """
import re
from rtsep.rt.residence import lock_memory
held = bytearray(b"x") * 50_000_000
done = lock_memory()
status = open("/proc/self/status").read()
sizes = (re.search(name + r":\\s+(\\d+) kB", status).group(1) for name in ("VmLck", "VmRSS"))
print(int(done), *sizes)
"""


def run(program: str) -> tuple[bool, int, int]:
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    done, locked, resident = map(int, result.stdout.split())
    return bool(done), locked, resident


@pytest.mark.skipif(sys.platform != "linux", reason="only there it can be asked")
def test_what_is_there_is_locked() -> None:
    done, locked, resident = run(LOCKED)
    if done:
        assert locked >= 0.9 * resident > 45_000
    else:
        assert locked == 0


@pytest.mark.parametrize("platform", ["darwin", "win32"])
def test_elsewhere_it_is_not(platform: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(residence.sys, "platform", platform)
    assert residence.lock_memory() is False
