"""What a page may say: the good is understood, everything else is one line and changes nothing."""

from __future__ import annotations

import contextlib
import json
import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rtsep.control.desk import Desk
from rtsep.engine.board import Board
from rtsep.page import protocol
from rtsep.page.limits import SETS_PER_MESSAGE
from rtsep.spec import UsageError

STEMS = ("vocals", "drums", "bass", "other")


@pytest.mark.parametrize(
    ("text", "request_"),
    [
        ('{"do":"set","n":7,"to":[["a",0.5],["b",1]]}', protocol.Set(7, (("a", 0.5), ("b", 1.0)))),
        ('{"do":"set","to":[["a",1e999]]}', protocol.Set(0, (("a", 1.0),))),
        ('{"do":"set","to":[["a",-3]]}', protocol.Set(0, (("a", 0.0),))),
        (
            '{"do":"name","at":"snapshot/recall","name":"verse"}',
            protocol.Name("snapshot/recall", "verse"),
        ),
        (
            '{"do":"engine","model":"studio","input":3,"output":null,"block":256}',
            protocol.NewEngine({"model": "studio", "input": 3, "output": None, "block": 256}),
        ),
        ('{"do":"learn","at":""}', protocol.Learn("")),
        ('{"do":"devices"}', protocol.AskDevices()),
        ('{"do":"ping","n":3}', protocol.Ping(3)),
    ],
)
def test_what_is_understood(text: str, request_: protocol.Request) -> None:
    assert protocol.parse(text) == request_


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "3",
        "{",
        '{"do":"quit"}',
        '{"do":["set"]}',
        '{"do":"set"}',
        '{"do":"set","to":[]}',
        '{"do":"set","to":[["a",NaN]]}',
        '{"do":"set","to":[["a","1"]]}',
        '{"do":"set","to":[["a"]]}',
        '{"do":"set","to":[[1,1]]}',
        '{"do":"set","n":-1,"to":[["a",1]]}',
        '{"do":"set","n":true,"to":[["a",1]]}',
        json.dumps({"do": "set", "to": [["a", 0.1]] * (SETS_PER_MESSAGE + 1)}),
        json.dumps({"do": "set", "to": [["a" * 200, 0.1]]}),
        '{"do":"name","at":"stem/vocals/gain","name":"x"}',
        '{"do":"name","at":"snapshot/recall","name":3}',
        '{"do":"engine"}',
        '{"do":"engine","input":"hw:0; rm"}',
        '{"do":"engine","input":true}',
        '{"do":"engine","block":1}',
        "[" * 3000,
    ],
)
def test_what_is_not(text: str) -> None:
    with pytest.raises(UsageError) as refused:
        protocol.parse(text)
    assert "\n" not in str(refused.value) and len(str(refused.value)) < 200


@settings(max_examples=60)
@given(st.text(max_size=40) | st.lists(st.floats() | st.text(max_size=5), max_size=5).map(json.dumps))
def test_nothing_but_a_refusal_comes_of_anything_else(text: str) -> None:
    with pytest.raises(UsageError):
        protocol.parse(text)


_VERBS = st.sampled_from(["set", "name", "engine", "learn", "ping", "devices"])
_THINGS = st.one_of(
    st.integers(),
    st.floats(),
    st.none(),
    st.text(max_size=5),
    st.lists(st.lists(st.text(max_size=3) | st.integers() | st.floats(), max_size=3), max_size=3),
)
_KEYS = st.sampled_from(["n", "to", "at", "name", "model", "input", "block"])


@settings(max_examples=60)
@given(_VERBS, st.dictionaries(_KEYS, _THINGS, max_size=4))
def test_nor_of_what_looks_like_a_message(verb: str, rest: dict[str, object]) -> None:
    with contextlib.suppress(UsageError):
        assert isinstance(protocol.parse(json.dumps({"do": verb, **rest})), protocol.Request)


def test_infinities_become_null() -> None:
    text = protocol.dump({"a": -math.inf, "b": [math.nan, 1.5], "c": {"d": (2, math.inf)}})
    assert json.loads(text) == {"a": None, "b": [None, 1.5], "c": {"d": [2, None]}}


def test_values_come_with_their_places() -> None:
    desk = Desk(Board(STEMS))
    desk.set_gain("vocals", -math.inf)
    desk.set_mute("drums")
    _, values = desk.changes_since(-1)
    told = protocol.values_of(desk, values)
    assert told["stem/vocals/gain"] == [-math.inf, 0.0]
    assert told["stem/drums/mute"] == [True, 1.0]
    assert told["snapshot/recall"] == ["", None]
    assert told["stem/bass/gain"][1] == pytest.approx(0.630957, abs=1e-6)
