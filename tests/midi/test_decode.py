"""Bytes to events: whatever comes, and halves in either order."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rtsep.midi.decode import HIGHEST, Decoder, Event, Order, encode

FEW = settings(max_examples=30, deadline=None)
ORDERS = st.sampled_from(["msb-first", "lsb-first"])
PAIRS: dict[tuple[int, int], Order] = {(1, 7): "msb-first", (1, 8): "lsb-first", (2, 0): "msb-first"}


@FEW
@given(st.lists(st.binary(max_size=12), max_size=30))
def test_no_bytes_raise_and_every_event_is_in_range(messages: list[bytes]) -> None:
    decoder = Decoder(PAIRS, {1, 3})
    for message in messages:
        for event in decoder.feed(message):
            if event.kind in HIGHEST:
                assert 1 <= event.channel <= 16
                assert 0 <= event.value <= HIGHEST[event.kind]
                assert 0 <= event.number <= (16383 if event.kind == "nrpn" else 127)


@FEW
@given(st.lists(st.binary(max_size=12), max_size=20))
def test_how_the_bytes_are_cut_up_does_not_matter(messages: list[bytes]) -> None:
    whole, single = Decoder(PAIRS, {3}), Decoder(PAIRS, {3})
    every = b"".join(messages)
    assert whole.feed(every) == [event for byte in every for event in single.feed([byte])]


@pytest.mark.parametrize(
    ("message", "event"),
    [
        ([0xB0, 7, 100], Event("cc", 1, 7, 100)),
        ([0xBF, 7, 100], Event("cc", 16, 7, 100)),
        ([0x99, 36, 1], Event("note", 10, 36, 1)),
        ([0x99, 36, 0], Event("note", 10, 36, 0)),
        ([0x89, 36, 127], Event("note", 10, 36, 0)),
        ([0xC4, 3], Event("program", 5, 3, 1)),
        ([0xE0, 1, 64], Event("pitch", 1, 0, 64 * 128 + 1)),
        ([0xF2, 4, 1], Event("position", 0, 0, 132)),
        ([0xF8], Event("tick", 0, 0, 0)),
        ([0xFA], Event("start", 0, 0, 0)),
        ([0xFB], Event("continue", 0, 0, 0)),
        ([0xFC], Event("stop", 0, 0, 0)),
    ],
)
def test_messages(message: list[int], event: Event) -> None:
    assert Decoder().feed(message) == [event]


def test_running_status_goes_on_through_a_tick_and_ends_with_sysex() -> None:
    decoder = Decoder()
    assert decoder.feed([0xB0, 1, 10, 2, 0xF8, 20]) == [
        Event("cc", 1, 1, 10),
        Event("tick", 0, 0, 0),
        Event("cc", 1, 2, 20),
    ]
    assert decoder.feed([0xF0, 1, 2, 3, 0xF7, 4, 5]) == []
    assert decoder.feed([0x90, 60]) == [] and decoder.feed([0xB0, 5, 6]) == [Event("cc", 1, 5, 6)]


@FEW
@given(ORDERS, st.lists(st.integers(0, 16383), min_size=1), st.integers(1, 16), st.integers(0, 31))
def test_fourteen_bits_come_back_in_either_order_one_event_a_value(
    order: Order, values: list[int], channel: int, number: int
) -> None:
    decoder = Decoder({(channel, number): order})
    for value in values:
        messages = encode("cc14", channel, number, value, order)
        first = decoder.feed(messages[0])
        assert first == []
        assert decoder.feed(messages[1]) == [Event("cc14", channel, number, value)]


def test_a_fine_move_that_sends_the_lower_half_alone_is_heard() -> None:
    decoder = Decoder({(1, 7): "msb-first"})
    assert decoder.feed([0xB0, 39, 5]) == []  # Nobody knows yet where it stands.
    assert decoder.feed([0xB0, 7, 64, 0xB0, 39, 5]) == [Event("cc14", 1, 7, 64 * 128 + 5)]
    assert decoder.feed([0xB0, 39, 6]) == [Event("cc14", 1, 7, 64 * 128 + 6)]


def test_the_other_channels_of_a_pair_stay_single() -> None:
    decoder = Decoder({(1, 7): "msb-first"})
    assert decoder.feed([0xB1, 7, 1, 0xB1, 39, 2]) == [Event("cc", 2, 7, 1), Event("cc", 2, 39, 2)]


@FEW
@given(st.integers(0, 16383), st.integers(0, 16383))
def test_an_nrpn_comes_coarse_and_then_fine(number: int, value: int) -> None:
    decoder = Decoder(nrpn={4})
    events = [event for message in encode("nrpn", 4, number, value) for event in decoder.feed(message)]
    assert events == [Event("nrpn", 4, number, value & ~0x7F), Event("nrpn", 4, number, value)]
    # Once an RPN is selected, data entry is its business.
    assert decoder.feed([0xB3, 101, 0, 100, 0, 6, 1]) == []


@pytest.mark.parametrize("kind", ["cc", "note", "pitch", "program"])
@FEW
@given(st.data())
def test_what_is_sent_is_what_would_be_heard(kind: str, data: st.DataObject) -> None:
    value = data.draw(st.integers(1, HIGHEST[kind]))
    number = 0 if kind == "pitch" else data.draw(st.integers(0, 127))
    (message,) = encode(kind, 3, number, value)  # type: ignore[arg-type]
    assert Decoder().feed(message) == [Event(kind, 3, number, value)]  # type: ignore[arg-type]


def test_a_tick_is_not_sent() -> None:
    with pytest.raises(ValueError, match="tick"):
        encode("tick", 0, 0, 0)
