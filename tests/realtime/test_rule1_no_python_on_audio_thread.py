"""No Python on the audio thread: what holds the interpreter up does not hold the audio up.

What is asserted, and why it can be asserted on a machine that is shared and has no real-time scheduling:

- The count is of periods that the JACK server ran and the callback did not, taken from the server's own
  counter and the callback's by a second process. No time is measured; a server that is late itself
  counts for nothing.
- The operating system may still take the processor from the audio thread for longer than a period (2.9 ms),
  whatever the program is written in. So a control runs beside it: the same callback in another process, the
  interpreter of which is idle. What the control misses, the machine has taken. On a machine that is let
  alone both miss nothing; on a crowded one each misses now more, now less, and one of a few tries finds
  the loaded process's callback no worse off. A callback that needs the GIL is worse off by hundreds of
  periods in every try, which is shown too, with the same load, the same server and the same count.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.jack_server import JackServer
from tests.realtime.loads import LOADS
from tests.realtime.trial import run

pytestmark = [pytest.mark.realtime, pytest.mark.alone]

_SECONDS = 3.0
_TRIES = 6


@pytest.fixture(scope="module")
def server() -> Iterator[JackServer]:
    with JackServer("rule1", rate=44100, period=128) as running:
        yield running


@pytest.mark.parametrize("load", list(LOADS))
def test_the_native_callback_misses_nothing(server: JackServer, load: str) -> None:
    outcomes = []
    # Most of three seconds' periods must have been run, if need be in several tries: a crowded machine takes
    # the server's time as well, and an empty count says nothing.
    enough = _SECONDS * server.rate / server.period / 2
    for _ in range(_TRIES):
        outcomes.append(run(server, "native", load, _SECONDS))
        if sum(o.periods for o in outcomes if o.missed <= o.missed_by_control) >= enough:
            return
    # Six times worse off by chance, on a crowded machine: then by a few periods at most.
    assert sum(o.periods for o in outcomes) >= enough
    assert min(o.missed - o.missed_by_control for o in outcomes) <= outcomes[0].periods / 100, outcomes


@pytest.mark.parametrize("load", ["GIL held 25 ms at a time", "gc.collect loop"])
def test_the_same_load_stops_a_python_callback(server: JackServer, load: str) -> None:
    outcome = run(server, "python", load, _SECONDS)
    # Nine of ten periods begin while the GIL is held; a quarter is far from any luck.
    assert outcome.missed > outcome.missed_by_control + outcome.periods / 4, outcome
