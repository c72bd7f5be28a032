"""The bucket lets through what it should, however events fall."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from rtsep.page.limits import TokenBucket


@given(st.lists(st.floats(0.0, 0.5), min_size=1, max_size=60))
def test_never_more_than_rate_and_burst(gaps: list[float]) -> None:
    now = [0.0]
    bucket = TokenBucket(10.0, 5.0, lambda: now[0])
    passed = 0
    for gap in gaps:
        now[0] += gap
        passed += bucket.take()
    assert passed <= 5.0 + 10.0 * now[0] + 1e-6


def test_a_steady_stream_below_the_rate_passes_whole() -> None:
    now = [0.0]
    bucket = TokenBucket(10.0, 5.0, lambda: now[0])
    for _ in range(100):
        now[0] += 0.11
        assert bucket.take()


def test_a_burst_is_cut_off() -> None:
    bucket = TokenBucket(10.0, 5.0, lambda: 0.0)
    assert [bucket.take() for _ in range(7)] == [True] * 5 + [False] * 2
