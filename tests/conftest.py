"""Which tests run beside others and which alone, and what keeps them apart.

`make test` runs the suite in three parts: first what only computes, on all processors at once; then, two at a
time, what is marked `realtime`: whatever plays at a sound card's pace or waits for other programs (JACK,
MIDI, a browser, a running `rtsep live`), and would fail or mislead beside tests that take all there is;
last, one after the other, what is marked `alone` as well: what looks at hops that were late or lost, or
measures a delay. A test that starts what runs in real time without the mark fails: see `tests/guard.py`.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from xdist.remote import Producer
from xdist.scheduler import LoadFileScheduling, Scheduling

_ROOT = Path(__file__).parents[1]

# Before numba is loaded. Two processes that compile the same function at once may spoil each other's index
# of a cache, so each of those that share the tests has a cache of its own. The parts that come later find
# there what the first workers have compiled.
_CACHES = _ROOT / ".pytest_cache" / "numba"
os.environ["NUMBA_CACHE_DIR"] = str(_CACHES / os.environ.get("PYTEST_XDIST_WORKER", "gw0"))

from tests import guard  # noqa: E402

_WANTED = {
    "realtime": "mark.realtime",
    "realtime and not alone": "mark.realtime",
    "realtime and alone": "mark.alone",
}
"""What a file must hold to have tests of a part."""
_SERVERS = ("JackServer", "PipeWireServer")
_LONGEST = ("tests/test_static.py",)
"""Begun first, so that no processor has to wait for the other at the end."""


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    # A file without the mark need not be imported where only marked tests are wanted.
    wanted = _WANTED.get(config.option.markexpr)
    if wanted is not None and collection_path.suffix == ".py":
        return wanted not in collection_path.read_text(encoding="utf-8") or None
    return None


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    items.sort(key=lambda item: not item.nodeid.startswith(_LONGEST))


class _Companies(LoadFileScheduling):
    """Of the tests that run two at a time, those of a file stay on one process, which shares its fixtures.

    So do all that need an audio server: there is one at a time (`tests/audio_server.py`), and who waits for
    it keeps a process from other work.
    """

    def _split_scope(self, nodeid: str) -> str:
        file = super()._split_scope(nodeid)
        return "audio servers" if _with_a_server(file) else file


@functools.cache
def _with_a_server(file: str) -> bool:
    text = (_ROOT / file).read_text(encoding="utf-8")
    return any(name in text for name in _SERVERS)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> Scheduling | None:
    """`--dist loadfile`; xdist's marks for groups do nothing with pytest 9.2."""
    return _Companies(config, log) if config.getvalue("dist") == "loadfile" else None


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_protocol(item: pytest.Item) -> Iterator[None]:
    with guard.watching(marked=item.get_closest_marker("realtime") is not None):
        return (yield)
