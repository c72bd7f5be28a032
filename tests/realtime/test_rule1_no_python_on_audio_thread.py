"""No Python on the audio thread: what holds the interpreter up does not hold the audio up.

What is asserted, and why it can be asserted on a machine that is shared and has no real-time scheduling:

- The count is of periods that the JACK server ran and the callback did not, taken from the server's own
  counter and the callback's by a second process. No time is measured; a server that is late itself
  counts for nothing.
- The operating system may still take the processor from the audio thread for longer than a period (2.9 ms),
  whatever the program is written in. Those losses are rare and come by chance; losses to the GIL come with
  every turn of the load, some forty times a second. So the native callback has five tries to get through one
  trial without a single loss, which a callback that needs the GIL cannot do in any number of tries: that
  is shown too, with the same load, the same server and the same count.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.jack_server import JackServer
from tests.realtime.loads import LOADS
from tests.realtime.trial import run

_SECONDS = 3.0
_TRIES = 5


@pytest.fixture(scope="module")
def server() -> Iterator[JackServer]:
    with JackServer("rule1", rate=44100, period=128) as running:
        yield running


@pytest.mark.parametrize("load", list(LOADS))
def test_the_native_callback_misses_nothing(server: JackServer, load: str) -> None:
    outcomes = []
    for _ in range(_TRIES):
        outcome = run(server, "native", load, _SECONDS)
        # Every period of the three seconds has been looked at: the count is not empty.
        assert outcome.periods >= int(_SECONDS * server.rate / server.period * 0.9)
        outcomes.append(outcome)
        if outcome.missed == 0:
            break
    assert outcomes[-1].missed == 0, outcomes


@pytest.mark.parametrize("load", ["GIL held 25 ms at a time", "gc.collect loop"])
def test_the_load_stops_a_python_callback(server: JackServer, load: str) -> None:
    outcome = run(server, "python", load, _SECONDS)
    # Nine of ten periods begin while the GIL is held; a quarter is far from any luck.
    assert outcome.missed > outcome.periods / 4, outcome


def test_the_count_sees_callbacks_that_are_not_made(server: JackServer) -> None:
    """The same witness, on a Python callback without any load: it is the load that the others see."""
    outcomes = []
    for _ in range(_TRIES):
        outcomes.append(run(server, "python", None, _SECONDS))
        if outcomes[-1].missed <= outcomes[-1].periods / 20:
            break
    assert outcomes[-1].missed <= outcomes[-1].periods / 20, outcomes
