"""A recording stays in time, whatever it lacks."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from rtsep.engine.tape import Tape
from rtsep.rt.ring import RingBuffer

HOP = 16


def hop(number: int) -> tuple[np.ndarray, np.ndarray]:
    """Two stems and a mix that say which hop they are of, and which frame of it."""
    frames = number * HOP + np.arange(1, HOP + 1, dtype=np.float32)
    stems = np.stack([np.stack([frames, -frames]), np.stack([frames + 0.25, -frames - 0.25])])
    return stems.astype(np.float32), np.stack([frames + 0.5, -frames - 0.5]).astype(np.float32)


def fetch(ring: RingBuffer) -> np.ndarray:
    taped = np.empty((ring.read_available, 6), np.float32)
    ring.pop(taped)
    return taped


def test_a_hop_lies_as_the_recorder_reads_it() -> None:
    ring = RingBuffer(6, 1024)
    tape = Tape(ring, 2, 2, HOP)
    stems, mix = hop(0)
    tape.record(stems, mix)
    np.testing.assert_array_equal(fetch(ring).T, np.concatenate([stems[0], stems[1], mix]))


@settings(max_examples=60, deadline=None)
@given(st.lists(st.sampled_from(["hop", "hop", "hop", "fetch", "jump"]), max_size=60))
def test_what_follows_a_loss_is_in_time(events: list[str]) -> None:
    ring = RingBuffer(6, 64)
    tape = Tape(ring, 2, 2, HOP)
    taped: list[np.ndarray] = []
    number = 0
    for event in events:
        if event == "hop":
            tape.record(*hop(number))
            number += 1
        elif event == "jump":
            number += 3
            tape.skip_to(number * HOP)
        else:
            taped.append(fetch(ring))
    for _ in range(40):
        taped.append(fetch(ring))
        tape.skip_to(0)
    heard = np.concatenate(taped)
    assert len(heard) == tape.end == number * HOP
    sounding = np.flatnonzero(heard[:, 0])
    np.testing.assert_array_equal(heard[sounding, 0], sounding + 1.0)
    assert tape.lost <= np.count_nonzero(heard[:, 0] == 0.0)
