"""The compiled clock is the system's monotonic one; a sleep never ends early."""

from __future__ import annotations

import sys
import time

import pytest

from rtsep.rt.clock import now_ns, sleep_until


@pytest.mark.skipif(sys.platform != "linux", reason="only there both are CLOCK_MONOTONIC")
def test_it_is_pythons_monotonic_clock() -> None:
    before = time.monotonic_ns()
    now = now_ns()
    after = time.monotonic_ns()
    assert before <= now <= after


def test_it_never_goes_back() -> None:
    readings = [now_ns() for _ in range(1000)]
    assert readings == sorted(readings)
    assert readings[-1] > readings[0]


def test_a_sleep_lasts_to_its_deadline() -> None:
    for duration in (0, 100_000, 3_000_000):
        deadline = now_ns() + duration
        sleep_until(deadline)
        assert now_ns() >= deadline


def test_a_deadline_in_the_past_returns() -> None:
    sleep_until(now_ns() - 1_000_000_000)
    sleep_until(0)
