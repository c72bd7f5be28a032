"""Learning: which control was moved, and a file that keeps everything else as it was."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rtsep.midi.decode import Decoder, Order, encode
from rtsep.midi.learn import SETTLE_SECONDS, Learned, Learner, save
from rtsep.midi.mapping import read_mapping
from rtsep.spec import UsageError

FEW = settings(max_examples=30, deadline=None)


def learn(messages: list[list[int]]) -> Learned | None:
    learner, decoder = Learner(), Decoder()
    for message in messages:
        for event in decoder.feed(message):
            learner.feed(event, 5.0)
    return learner.result(5.0 + SETTLE_SECONDS)


@FEW
@given(st.integers(0, 127), st.integers(1, 16), st.integers(0, 120), st.integers(2, 7))
def test_a_fader_is_learned_though_another_trembles(
    number: int, channel: int, begin: int, length: int
) -> None:
    other = (number + 40) % 128
    moves = [
        message
        for value in range(begin, begin + length)
        for message in ([0xB0 | channel - 1, number, value], [0xBF, other, 64])
    ]
    assert learn(moves) == Learned("cc", number, channel)


@FEW
@given(st.integers(0, 31), st.lists(st.integers(0, 16383), min_size=2, unique=True))
@pytest.mark.parametrize("order", ["msb-first", "lsb-first"])
def test_a_pair_of_fourteen_bits_is_learned_with_its_order(
    order: Order, number: int, values: list[int]
) -> None:
    moves = [message for value in values for message in encode("cc14", 3, number, value, order)]
    assert learn(moves) == Learned("cc14", number, 3, order)


def test_what_else_there_is() -> None:
    assert learn([[0x99, 36, 5]]) == Learned("note", 36, 10, pressed=True)
    assert learn([[0xC0, 7]]) == Learned("program", 7, 1, pressed=True)
    assert learn([[0xE2, 0, 5], [0xE2, 0, 9]]) == Learned("pitch", 0, 3)
    assert learn([[0xB0, 48, 127], [0xB0, 48, 0]]) == Learned("cc", 48, 1, pressed=True)
    assert learn([m for v in (5, 900) for m in encode("nrpn", 2, 300, v)]) == Learned("nrpn", 300, 2)
    assert learn([[0xF8], [0x80, 36, 0], [0xD0, 5]]) is None


def test_it_waits_until_the_hand_is_still() -> None:
    learner = Learner()
    for event in Decoder().feed([0xB0, 7, 1, 7, 2]):
        learner.feed(event, 5.0)
    assert learner.result(5.0 + SETTLE_SECONDS / 2) is None
    assert learner.result(5.0 + SETTLE_SECONDS) == Learned("cc", 7, 1)


def test_a_file_is_made_and_then_mended_with_all_else_kept(tmp_path: Path) -> None:
    file = tmp_path / "mine.toml"
    save(file, Learned("cc", 7, 1).entry("stem/vocals/gain"))
    assert [e.address for e in read_mapping(str(file)).mapping.map] == ["stem/vocals/gain"]
    file.write_text(
        "# my set\n" + file.read_text() + '\n[[map]]\nnote = 1 # the red one\naddress = "reset"\n'
    )
    save(file, {**Learned("cc", 7, 1).entry("stem/drums/gain"), "takeover": "scale"})
    save(file, Learned("cc14", 3, 1, "lsb-first").entry("stem/bass/gain"))
    text = file.read_text()
    assert text.startswith("# my set\n") and "# the red one" in text
    entries = read_mapping(str(file)).mapping.map
    assert [(e.kind, e.number, e.address) for e in entries] == [
        ("note", 1, "reset"),
        ("cc", 7, "stem/drums/gain"),
        ("cc14", 3, "stem/bass/gain"),
    ]
    assert (entries[1].takeover, entries[2].order) == ("scale", "lsb-first")


def test_what_cannot_be_written_is_refused_and_nothing_is_changed(tmp_path: Path) -> None:
    file = tmp_path / "mine.toml"
    for before in ("so it goes", "format = 1\nmap = []\n", 'format = 1\n[[map]]\ncc14 = 1\naddress = "x"\n'):
        file.write_text(before)
        with pytest.raises(UsageError) as refusal:
            save(file, Learned("cc", 33, 1).entry("stem/vocals/gain"))
        assert str(file) in str(refusal.value) and file.read_text() == before
    with pytest.raises(UsageError, match="cannot be written"):
        save(tmp_path / "no folder" / "mine.toml", Learned("cc", 1, 1).entry("reset"))
    assert [path.name for path in tmp_path.iterdir()] == ["mine.toml"]
