"""What is shown while it runs says what the telemetry says."""

from __future__ import annotations

import io
import math
from dataclasses import replace

import pytest
from rich.console import Console

from rtsep.cli import meters
from rtsep.engine.telemetry import Telemetry

FINE = Telemetry(
    state="running",
    error="",
    seconds=83.4,
    deadline=0.0116,
    hops=7000,
    hop_p50=0.0021,
    hop_p99=0.0034,
    hop_p999=0.0049,
    hop_max=0.0058,
    first_hops_max=0.02,
    load=0.18,
    underruns=0,
    late_hops=0,
    bad_hops=0,
    jumps=0,
    resets=0,
    xruns=0,
    peaks=(0.5, 0.25),
    stem_levels={"vocals": 0.0, "drums": 0.1},
)
BUSY = replace(FINE, cpu_load=1.25, gpu_load=0.4)
GROWN = replace(FINE, block=512, planned_block=128)
TROUBLED = replace(FINE, underruns=3, late_hops=2, xruns=4, bad_hops=1, jumps=5, record_lost=77)


def screen() -> Console:
    return Console(file=io.StringIO(), force_terminal=True, width=90, color_system="truecolor")


def drawn(telemetry: Telemetry, highest: float = 0.5) -> str:
    console = Console(file=io.StringIO(), width=90)
    console.print(meters.meters(telemetry, {"vocals": "muted"}, "live", highest))
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


@pytest.mark.parametrize(
    ("db", "cells"), [(0.0, 20.0), (6.0, 20.0), (-30.0, 10.0), (-60.0, 0.0), (-math.inf, 0.0), (-58.5, 0.5)]
)
def test_a_bar_is_as_long_as_its_level(db: float, cells: float) -> None:
    text = meters.bar(db, 20)
    assert len(text.plain) == 20
    filled = sum((" ▏▎▍▌▋▊▉█".index(cell)) / 8 for cell in text.plain)
    assert filled == pytest.approx(cells, abs=1 / 16)


def test_a_bar_is_red_only_at_the_top() -> None:
    def colours(db: float) -> set[str]:
        text = meters.bar(db, 36)
        return {str(span.style) for span in text.spans if text.plain[span.start : span.end].strip()}

    assert colours(-20.0) == {"green"}
    assert colours(-6.0) == {"green", "yellow"}
    assert colours(0.0) == {"green", "yellow", "red"}


def test_levels_and_times_are_drawn() -> None:
    rows = drawn(FINE).splitlines()
    assert "live" in rows[0] and "1:23" in rows[0]
    assert rows[1].startswith("vocals") and "-inf dB" in rows[1] and "muted" in rows[1]
    assert rows[2].startswith("drums") and "-20.0 dB" in rows[2]
    assert rows[3].startswith("out 1") and "-6.0 dB" in rows[3]
    assert "hop p50 2.1  p99 3.4  max 5.8 of 11.6 ms  load 18 %" in rows[5]
    assert rows[6].rstrip() == "underruns 0  late hops 0  device xruns 0"
    assert "full scale" not in drawn(FINE)
    assert "over full scale by 6.0 dB" in drawn(FINE, 2.0)


def test_before_the_first_hops_nothing_is_claimed() -> None:
    silent = replace(FINE, hop_p50=math.nan, hop_p99=math.nan, hop_p999=math.nan, hops=0)
    assert "waiting for audio" in drawn(silent)
    assert not any("hop times" in line for line in meters.summary(silent))


def test_a_line_says_all_that_went_wrong() -> None:
    line = meters.status_line(TROUBLED)
    for count in ("underruns 3", "late hops 2", "device xruns 4", "bad hops 1", "jumps 5", "not recorded 77"):
        assert count in line
    assert "\n" not in line


def test_the_summary_explains_what_was_amiss_and_nothing_else() -> None:
    assert meters.summary(FINE) == [
        "played 1:23, 7000 hops",
        "hop times  p50 2.1  p99 3.4  p99.9 4.9  max 5.8 of 11.6 ms",
        "underruns 0  late hops 0  device xruns 0",
    ]
    explained = meters.summary(replace(TROUBLED, realtime=True))[3:]
    assert [line.split()[0] for line in explained] == ["3", "1", "5", "4"]
    (advice,) = meters.summary(TROUBLED)[7:]
    assert "no real-time priority" in advice


def test_a_terminal_gets_meters_and_is_left_clean() -> None:
    console = screen()
    display = meters.open_display(console, {}, "live")
    assert isinstance(display, meters.MeterDisplay)
    with display:
        display.show(replace(FINE, peaks=(1.5, 0.1)))
        display.show(FINE)
        display._live.refresh()
    assert isinstance(console.file, io.StringIO)
    text = console.file.getvalue()
    assert "drums" in text
    # A peak that has passed is not forgotten.
    assert "over full scale by 3.5 dB" in text
    # The cursor is back where the meters began, and shown.
    assert text.rstrip().endswith("\x1b[2K") and "\x1b[?25h" in text


def test_elsewhere_there_is_a_line_now_and_then(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    monkeypatch.setattr(meters.time, "monotonic", lambda: now[0])
    console = Console(file=io.StringIO(), width=20)
    with meters.open_display(console, {}, "live") as display:
        assert isinstance(display, meters.LineDisplay)
        for _ in range(100):
            now[0] += 0.1001
            display.show(FINE)
    assert isinstance(console.file, io.StringIO)
    # Not broken at the width of a terminal that is not there.
    assert console.file.getvalue().splitlines() == [meters.status_line(FINE)] * 2


def test_blocks_longer_than_planned_are_told_and_shorter_ones_are_fine() -> None:
    assert "blocks of 512, not 128  underruns 0" in drawn(GROWN)
    assert meters.summary(GROWN)[-1].startswith("the audio server hands over 512 frames at once, not the 128")
    for shorter in (128, 64):
        calm = replace(GROWN, block=shorter)
        assert "blocks" not in drawn(calm) and meters.summary(calm) == meters.summary(FINE)


def test_loads_of_the_machine_stand_beside_the_share_of_the_hop() -> None:
    assert "load 18 %  CPU 125 %  GPU 40 %" in drawn(BUSY)
    assert "CPU" not in drawn(FINE) and "GPU" not in drawn(replace(BUSY, gpu_load=math.nan))
