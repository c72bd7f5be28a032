"""What a machine says of itself: how busy others keep it, and a name that gives nothing away."""

from __future__ import annotations

from pathlib import Path

import pytest

from rtsep.bench import machine

STAT = "cpu  {} 0 0 {} 0 0 0 0 0 0\ncpu0 0 0 0 0 0 0 0 0 0 0\n"


def test_a_machine_is_described() -> None:
    told = machine.describe()
    known = ("processor", "cores", "physical_cores", "system", "python", "date", "version")
    assert all(told[key] for key in known)
    assert {"host", "load_average", "busy_share", "busy", "commit"} <= told.keys()
    assert told["busy_share"] is None or 0.0 <= told["busy_share"] <= 1.0
    assert told["processor"] in machine.in_words(told)


@pytest.mark.parametrize(("used", "share", "busy"), [(10, 0.1, False), (50, 0.5, True)])
def test_busy_is_what_others_take_of_the_processors(
    used: int, share: float, busy: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stat = tmp_path / "stat"
    stat.write_text(STAT.format(1000, 1000))

    def later(seconds: float) -> None:
        assert seconds == machine.LOOK_SECONDS
        stat.write_text(STAT.format(1000 + used, 1100 - used))

    monkeypatch.setattr(machine, "_PROC_STAT", stat)
    monkeypatch.setattr(machine.time, "sleep", later)
    # What ran until just now is in the load average, and no reason to be called busy.
    monkeypatch.setattr(machine.os, "getloadavg", lambda: (99.0, 0.0, 0.0), raising=False)
    told = machine.describe()
    assert (told["busy_share"], told["busy"]) == (share, busy)
    assert (f"{100 * share:.0f} % in use before" in machine.in_words(told)) and (
        machine.in_words(told).endswith("(busy)") is busy
    )


def test_without_processor_times_the_load_average_tells(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(machine, "_PROC_STAT", tmp_path / "absent")
    monkeypatch.setattr(machine.os, "getloadavg", lambda: (99.0, 0.0, 0.0), raising=False)
    monkeypatch.setattr(machine.os, "cpu_count", lambda: 2)
    told = machine.describe()
    assert told["busy_share"] is None and told["busy"] is True
    assert "load average 99" in machine.in_words(told)


def test_a_host_has_a_name_that_is_not_its_id(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file, names = tmp_path / "machine-id", set()
    monkeypatch.setattr(machine, "_MACHINE_ID", file)
    monkeypatch.setattr(machine, "LOOK_SECONDS", 0.0)
    assert machine.describe()["host"] is None
    for own in ("0123456789abcdef", "fedcba9876543210"):
        file.write_text(f"{own}\n")
        told = machine.describe()
        assert own not in str(told) and len(told["host"]) == 12
        assert told["host"] == machine.describe()["host"] == machine.identity(told)[-1]
        names.add(told["host"])
    assert len(names) == 2
