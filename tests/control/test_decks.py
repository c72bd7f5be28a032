"""The desk with two decks: every stem of either, the crossfader between them, and swapping across it."""

from __future__ import annotations

from pathlib import Path

import pytest

from rtsep.control.desk import Desk
from rtsep.engine.board import Board
from rtsep.mixer.decks import DeckSection
from rtsep.mixer.strip import ChannelStrip
from rtsep.spec import STEMS, UsageError


@pytest.fixture
def desk() -> Desk:
    return Desk(Board(STEMS, decks=2))


def test_addresses_without_a_deck_are_the_first_deck_s(desk: Desk) -> None:
    desk.set("stem/vocals/gain", -6.0)
    desk.set("deck/2/stem/vocals/gain", -12.0)
    assert desk.get("deck/1/stem/vocals/gain") == desk.get("stem/vocals/gain") == -6.0
    assert desk.get("deck/2/stem/vocals/gain") == -12.0
    assert desk.parameter("stem/drums/mute").address == "deck/1/stem/drums/mute"
    assert "stem/vocals/gain" not in desk.addresses and "deck/1/stem/vocals/gain" in desk.addresses
    with pytest.raises(UsageError, match="deck/3"):
        desk.set("deck/3/stem/vocals/gain", 0.0)


def test_every_address_sets_and_shows(desk: Desk) -> None:
    told = {
        "deck/2/stem/vocals/mute": True,
        "deck/2/stem/drums/solo": True,
        "deck/1/stem/bass/pan": 0.5,
        "deck/2/stem/other/polarity": True,
        "deck/2/stem/other/send": -12.0,
        "deck/1/gain": 3.0,
        "deck/2/gain": -4.5,
        "crossfader": 0.25,
        "crossfader/cut": True,
        "swap/drums": True,
    }
    for address, value in told.items():
        version = desk.version
        desk.set(address, value)
        assert desk.changes_since(version)[1] == {address: value}
    assert {address: desk.get(address) for address in told} == told
    assert desk.get("crossfader") == 0.25 and Desk(Board(STEMS, decks=2)).get("crossfader") == 0.5


def test_methods_name_a_stem_of_a_deck(desk: Desk) -> None:
    desk.set_gain("2/drums", -3.0)
    desk.set_mute("drums")
    assert desk.toggle_mute("2/drums") is True
    assert desk.get("deck/2/stem/drums/gain") == -3.0 and desk.get("deck/1/stem/drums/gain") == 0.0
    assert desk.get("deck/1/stem/drums/mute") is desk.get("deck/2/stem/drums/mute") is True
    for wrong in ("3/drums", "0/drums", "2/piano", "2/"):
        with pytest.raises(UsageError, match=r"no stem .*2/vocals"):
            desk.set_gain(wrong, 0.0)


def test_an_exclusive_solo_is_so_on_its_own_deck(desk: Desk) -> None:
    for stem in ("vocals", "2/vocals", "2/bass"):
        desk.set_solo(stem)
    desk.set_solo("2/drums", exclusive=True)
    soloed = [a for a in desk.addresses if a.endswith("/solo") and desk.get(a)]
    assert soloed == ["deck/1/stem/vocals/solo", "deck/2/stem/drums/solo"]


def test_gestures_and_resets_are_a_deck_s(desk: Desk) -> None:
    desk.set("deck/2/gesture/instrumental", True)
    assert [desk.get(f"deck/{deck}/stem/vocals/mute") for deck in (1, 2)] == [False, True]
    desk.set("gesture/acapella", True)
    muted = [desk.get(f"deck/1/stem/{stem}/mute") for stem in STEMS]
    assert muted == [stem != "vocals" for stem in STEMS]
    assert desk.get("deck/2/stem/drums/mute") is False
    words = desk._board.words
    desk.set("deck/2/reset", True)
    assert list(words["deck_epochs"][:2]) == [0, 1] and words["epoch"] == 0
    desk.set("reset", True)
    assert list(words["deck_epochs"][:2]) == [0, 1] and words["epoch"] == 1
    with pytest.raises(UsageError, match="no deck 3"):
        desk.reset(3)


def test_a_swap_is_a_switch_and_a_gesture(desk: Desk) -> None:
    assert desk.swap("vocals") is True and desk.get("swap/vocals") is True
    desk.set("gesture/swap/vocals", True)
    assert desk.get("swap/vocals") is False
    revision = int(desk._board.words["revision"])
    desk.set("gesture/swap/vocals", 1.0, 250.0)
    assert desk._board.words["revision"] == revision + 1, "it is one change"
    assert desk._board.words["crossfader_fade_ms"] == 250.0
    for wrong in ("piano", "2/vocals"):
        with pytest.raises(UsageError, match="to swap"):
            desk.swap(wrong)


def test_snapshots_hold_both_decks_and_those_of_one_deck_can_be_recalled(tmp_path: Path) -> None:
    one = Desk(Board(STEMS), snapshots=tmp_path / "set.toml")
    one.set_gain("vocals", -6.0)
    one.capture("one deck")
    two = Desk(Board(STEMS, decks=2), snapshots=tmp_path / "set.toml")
    two.set_gain("2/vocals", -9.0)
    two.recall("one deck")
    assert two.get("deck/1/stem/vocals/gain") == -6.0 and two.get("deck/2/stem/vocals/gain") == -9.0
    two.set_crossfader(0.8)
    two.swap("bass")
    two.capture("two decks")
    two.apply(two.defaults())
    assert two.get("crossfader") == 0.5 and two.get("swap/bass") is False
    two.recall("two decks")
    assert two.get("crossfader") == 0.8 and two.get("swap/bass") is True
    assert two.get("deck/2/stem/vocals/gain") == -9.0


def test_another_engine_is_given_all_of_it(desk: Desk) -> None:
    desk.set_crossfader(1.0)
    desk.set_deck_gain(2, -3.0)
    desk.swap("drums")
    desk.set_mute("2/bass")
    board = Board(STEMS, decks=2)
    desk.rebind(board)
    assert board.crossfader == 1.0 and board.words["deck_db"][1] == -3.0
    assert board.words["swapped"][1] == 1 and board.words["mute"][6] == 1


@pytest.mark.parametrize(
    ("address", "value"), [("crossfader", 1.1), ("crossfader", float("nan")), ("deck/2/gain", 13.0)]
)
def test_what_is_out_of_range_is_refused(desk: Desk, address: str, value: float) -> None:
    before = desk._board.words.tobytes()
    with pytest.raises(UsageError, match=address):
        desk.set(address, value)
    assert desk._board.words.tobytes() == before


def test_one_deck_has_no_crossfader() -> None:
    desk = Desk(Board(STEMS))
    for address in ("crossfader", "swap/vocals", "deck/1/gain"):
        with pytest.raises(UsageError, match="nothing has the address"):
            desk.get(address)
    with pytest.raises(UsageError, match="takes two decks"):
        desk.set_crossfader(0.0)
    with pytest.raises(UsageError, match="takes two decks"):
        desk.swap("vocals")


def test_garbage_in_shared_memory_moves_nothing() -> None:
    board = Board(STEMS, decks=2)
    board.set_crossfader(0.25)
    board.set_deck_gain(2, -6.0)
    section = DeckSection([0.0, 0.0], [False] * 4)
    board.read_crossfader(section)
    board.words["crossfader"] = float("nan")
    board.words["deck_db"][1] = float("inf")
    board.words["crossfader_fade_ms"] = -1.0
    assert board.read_crossfader(section) == 0.0
    assert section.position == 0.25 and section.gains_db == [0.0, -6.0]
    board.read_strips([ChannelStrip() for _ in board.strips], board.words["levels"][:8].copy())


@pytest.mark.parametrize("decks", [0, 5])
def test_impossible_decks_are_refused(decks: int) -> None:
    with pytest.raises(UsageError, match="decks are not possible"):
        Board(STEMS, decks=decks)
