"""The desk: addresses and methods are the same thing, and every client hears of every change."""

from __future__ import annotations

import json
import math
import threading
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rtsep.control.desk import Desk
from rtsep.effects.parameters import EffectParameter
from rtsep.engine.board import Board
from rtsep.engine.effect_controls import EffectControls
from rtsep.spec import STEMS, UsageError


@pytest.fixture
def desk() -> Desk:
    return Desk(Board(STEMS))


def state(desk: Desk) -> bytes:
    return bytes(desk._board.words.tobytes())


def test_what_a_method_sets_an_address_shows_and_the_reverse(desk: Desk) -> None:
    desk.set_gain("vocals", -6.0)
    desk.set_pan("drums", -0.5)
    desk.set_polarity("bass")
    desk.set_send("other", -12.0)
    desk.set_master(3.0)
    desk.set_limiter(ceiling_db=-1.0)
    desk.set_dry_wet(0.3)
    desk.set_bypass()
    desk.panic()
    assert desk.toggle_mute("vocals") is True
    told = {
        "stem/vocals/gain": -6.0,
        "stem/vocals/mute": True,
        "stem/drums/pan": -0.5,
        "stem/bass/polarity": True,
        "stem/other/send": -12.0,
        "master/gain": 3.0,
        "master/limiter": True,
        "master/ceiling": -1.0,
        "master/dry_wet": 0.3,
        "master/bypass": True,
        "master/panic": True,
    }
    assert {address: desk.get(address) for address in told} == told
    other = Desk(Board(STEMS))
    for address, value in told.items():
        other.set(address, value)
        assert other.get("deck/1/" + address) == value
    words, others = desk._board.words, other._board.words
    for name in words.dtype.names:
        if name != "revision":
            assert (words[name] == others[name]).all(), name


def test_every_address_can_be_set_to_its_default_and_tells_what_it_is(desk: Desk) -> None:
    described = desk.describe()
    json.dumps(described)
    for address in desk.addresses:
        parameter = desk.parameter(address)
        assert described[address]["kind"] == parameter.kind
        if parameter.kind != "name":
            assert desk.get(address) == parameter.default, address
            desk.set(address, parameter.default)
            assert desk.get(address) == parameter.default, address
            desk.set_normalised(address, desk.get_normalised(address))
            assert desk.get(address) == pytest.approx(parameter.default), address


def test_text_is_understood(desk: Desk) -> None:
    desk.set("stem/vocals/gain", "-inf")
    desk.set("stem/vocals/mute", "on")
    desk.set("stem/drums/mute", 1.0)
    desk.set("stem/drums/mute", 0)
    assert desk.get("stem/vocals/gain") == -math.inf
    assert desk.get("stem/vocals/mute") is True
    assert desk.get("stem/drums/mute") is False


@pytest.mark.parametrize(
    ("address", "value"),
    [
        ("stem/kazoo/gain", 0.0),
        ("stem/vocals", 0.0),
        ("deck/2/stem/vocals/gain", 0.0),
        ("", 0.0),
        ("stem/vocals/gain", 12.1),
        ("stem/vocals/gain", math.nan),
        ("stem/vocals/gain", "loud"),
        ("stem/vocals/gain", True),
        ("stem/vocals/gain", None),
        ("stem/vocals/mute", "maybe"),
        ("stem/vocals/mute", math.nan),
        ("stem/vocals/pan", -1.1),
        ("master/ceiling", 0.1),
        ("master/dry_wet", 2.0),
        ("fade", -1.0),
        ("snapshot/recall", "nothing"),
        ("snapshot/recall", 1.0),
        ("snapshot/recall/nothing", True),
        ("snapshot/capture", "../up"),
        ("snapshot/capture/..", True),
    ],
)
def test_what_cannot_be_set_is_refused_in_a_line_and_changes_nothing(
    desk: Desk, address: str, value: object
) -> None:
    before, version = state(desk), desk.version
    with pytest.raises(UsageError) as refusal:
        desk.set(address, value)
    assert "\n" not in str(refusal.value)
    assert (state(desk), desk.version) == (before, version)


def test_a_fade_that_is_none_is_refused_before_anything_is_done(desk: Desk) -> None:
    desk.set_solo("vocals")
    before, version = state(desk), desk.version
    for action in (
        lambda: desk.set_gain("vocals", 0.0, fade=-1.0),
        lambda: desk.set_solo("drums", exclusive=True, fade=math.nan),
        lambda: desk.instrumental(fade=math.inf),
        lambda: desk.apply({"stem/bass/mute": True}, morph=1e9),
    ):
        with pytest.raises(UsageError, match="fade"):
            action()
    assert (state(desk), desk.version) == (before, version)


def test_solos_add_up_or_exclude(desk: Desk) -> None:
    desk.set_solo("vocals")
    desk.set_solo("drums")
    assert [desk.get(f"stem/{stem}/solo") for stem in STEMS] == [True, True, False, False]
    revision = desk._board.words["revision"]
    desk.set_solo("bass", exclusive=True)
    assert [desk.get(f"stem/{stem}/solo") for stem in STEMS] == [False, False, True, False]
    # One change for the engine, however many words.
    assert desk._board.words["revision"] == revision + 1
    assert not desk._board.words["pending"]


def test_gestures(desk: Desk) -> None:
    def muted() -> list[object]:
        return [desk.get(f"stem/{stem}/mute") for stem in STEMS]

    desk.set_solo("drums")
    desk.instrumental()
    assert muted() == [True, False, False, False]
    assert not any(desk.get(f"stem/{stem}/solo") for stem in STEMS)
    desk.set("gesture/acapella", 1.0)
    assert muted() == [False, True, True, True]
    desk.set("gesture/everything", 0.0)  # the pad is let go: nothing
    assert muted() == [False, True, True, True]
    desk.set_normalised("gesture/everything", 1.0)
    assert not any(muted())
    epoch = int(desk._board.words["epoch"])
    desk.set("reset", True)
    assert desk._board.words["epoch"] == epoch + 1


def test_a_model_without_vocals_has_no_gesture_for_them() -> None:
    desk = Desk(Board(("speech", "music")))
    assert "gesture/instrumental" not in desk.addresses
    with pytest.raises(UsageError, match="no stem 'vocals'"):
        desk.acapella()
    desk.everything()


def test_a_gesture_carries_its_own_fade_or_the_desks(desk: Desk) -> None:
    words = desk._board.words
    desk.set_gain("vocals", -3.0, fade=2000.0)
    desk.set_gain("drums", -3.0)
    desk.fade_ms = 500.0
    desk.set_gain("bass", -3.0)
    desk.set_master(-3.0)
    desk.set_dry_wet(0.5, fade=30.0)
    assert list(words["fade_ms"][:4]) == [2000.0, 0.0, 500.0, 0.0]
    assert words["master_fade_ms"] == 30.0
    desk.set_solo("other", fade=70.0)  # which silences the others, in the same time
    assert list(words["fade_ms"][:4]) == [70.0] * 4


def test_every_client_hears_of_every_change_once(desk: Desk) -> None:
    version, everything = desk.changes_since(-1)
    assert everything["stem/vocals/gain"] == 0.0
    assert desk.changes_since(version) == (version, {})
    desk.set_gain("vocals", -3.0)
    desk.set("stem/vocals/gain", -6.0)
    desk.set_solo("drums", exclusive=True)
    later, changed = desk.changes_since(version)
    assert changed == {"stem/vocals/gain": -6.0, "stem/drums/solo": True}
    desk.instrumental()
    assert "stem/vocals/mute" in desk.changes_since(later)[1]
    assert "stem/vocals/gain" not in desk.changes_since(later)[1]


def test_whoever_waits_is_woken(desk: Desk) -> None:
    version = desk.version
    assert desk.wait_for_change(version, 0.0) is False
    thread = threading.Timer(0.05, lambda: desk.set_mute("vocals"))
    thread.start()
    assert desk.wait_for_change(version, 60.0) is True
    thread.join()


def test_clients_on_many_threads_lose_nothing(desk: Desk) -> None:
    turns = 300

    def turn(stem: str) -> None:
        for k in range(turns):
            desk.set(f"stem/{stem}/gain", -float(k))

    threads = [threading.Thread(target=turn, args=(stem,)) for stem in STEMS]
    revision, version = int(desk._board.words["revision"]), desk.version
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert desk._board.words["revision"] == revision + turns * len(STEMS)
    assert desk.version == version + turns * len(STEMS)
    assert [desk.get(f"stem/{stem}/gain") for stem in STEMS] == [1.0 - turns] * 4


@given(st.floats(0.0, 1.0), st.floats(0.0, 1.0))
def test_a_faders_curve_rises_and_can_be_read_back(first: float, second: float) -> None:
    parameter = Desk(Board(STEMS)).parameter("stem/vocals/gain")
    low, high = sorted((first, second))
    values = [float(parameter.from_normalised(place)) for place in (low, high)]
    assert values[0] <= values[1] <= 12.0
    if values[0] != 0.0:
        # Below -700 dB or so a cube is no number any more; nobody hears that.
        assert parameter.to_normalised(values[0]) == pytest.approx(low, abs=1e-9)


def test_a_fader_of_128_steps_has_silence_unity_and_the_highest() -> None:
    parameter = Desk(Board(STEMS)).parameter("stem/vocals/gain")
    values = [parameter.from_normalised(step / 127) for step in range(128)]
    assert values[0] == -math.inf
    assert values.count(0.0) == 1
    assert values[-1] == 12.0
    assert parameter.from_normalised(7.0) == 12.0
    with pytest.raises(UsageError, match="not a number"):
        parameter.from_normalised(math.nan)


def test_telemetry_passes_through(desk: Desk) -> None:
    desk._board.words["load"] = 0.5
    desk._board.words["levels"][1] = 0.25
    assert desk.telemetry().load == 0.5
    assert desk.telemetry().stem_levels["drums"] == 0.25
    told = Board(STEMS).telemetry()
    assert Desk(Board(STEMS), lambda: told).telemetry() is told


def test_snapshots_go_to_a_file_and_come_back(tmp_path: Path) -> None:
    file = tmp_path / "set.toml"
    desk = Desk(Board(STEMS), snapshots=file)
    assert desk.snapshots == ()
    desk.set_gain("vocals", -math.inf)
    desk.set_pan("drums", 0.25)
    desk.set_limiter(ceiling_db=-0.5)
    desk.set_bypass()
    desk.capture("verse")
    desk.set_gain("vocals", 0.0)
    desk.set("snapshot/capture/last chorus", True)
    assert [f.name for f in tmp_path.iterdir()] == ["set.toml"]

    again = Desk(Board(STEMS), snapshots=file)
    assert again.snapshots == ("verse", "last chorus")
    version, revision = again.version, again._board.words["revision"]
    again.recall("verse", morph=3000.0)
    assert again._board.words["revision"] == revision + 1
    assert list(again._board.words["fade_ms"][:4]) == [3000.0] * 4
    assert again._board.words["master_fade_ms"] == 3000.0
    assert again.get("stem/vocals/gain") == -math.inf
    assert again.get("stem/drums/pan") == 0.25
    assert again.get("master/ceiling") == -0.5
    assert again.get("master/bypass") is False  # a bypass is no part of a song
    assert again.changes_since(version)[1]["snapshot/recall"] == "verse"
    again.set("snapshot/morph", 100.0)
    again.set("snapshot/recall", "last chorus")
    assert again.get("stem/vocals/gain") == 0.0
    assert again._board.words["fade_ms"][0] == 100.0
    again.forget("verse")
    assert Desk(Board(STEMS), snapshots=file).snapshots == ("last chorus",)


def test_a_snapshot_that_does_not_fit_changes_nothing(desk: Desk) -> None:
    before = state(desk)
    for wrong in (
        {"stem/vocals/mute": True, "stem/kazoo/mute": True},
        {"stem/vocals/mute": True, "stem/drums/gain": 40.0},
        {"stem/vocals/mute": True, "master/bypass": True},
        {"stem/vocals/mute": True, "reset": True},
    ):
        with pytest.raises(UsageError, match="snapshot 'given'"):
            desk.apply(wrong)
    assert state(desk) == before


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("nonsense", "no TOML"),
        ("format = 2", "format 1"),
        ('format = 1\nsnapshots = "x"', "format 1"),
        ('format = 1\n[snapshots."a/b"]', "a/b"),
        ('format = 1\n[snapshots.a]\nx = "loud"', "addresses with numbers"),
        ("format = 1\n[snapshots]\na = 3", "addresses with numbers"),
    ],
)
def test_a_file_that_is_none_is_refused_in_a_line(tmp_path: Path, text: str, words: str) -> None:
    file = tmp_path / "set.toml"
    file.write_text(text)
    with pytest.raises(UsageError, match=words) as refusal:
        Desk(Board(STEMS), snapshots=file)
    assert str(file) in str(refusal.value) and "\n" not in str(refusal.value)


def test_a_file_that_cannot_be_written_leaves_everything_as_it_was(tmp_path: Path) -> None:
    desk = Desk(Board(STEMS), snapshots=tmp_path / "absent" / "set.toml")
    with pytest.raises(UsageError, match="cannot be written"):
        desk.capture("verse")
    assert desk.snapshots == ()


def test_effects_have_addresses_and_are_in_snapshots(tmp_path: Path) -> None:
    board = Board(STEMS)
    desk = Desk(board)
    loaded = (
        EffectParameter("fx/vocals/bypass", 0.0, 1.0, 0.0, "", (), True),
        EffectParameter("fx/vocals/0/wet_level", 0.0, 1.0, 0.33, ""),
    )
    effects = EffectControls(board, loaded)
    desk.add_effects(effects)
    before = desk.changes_since(-1)[0]
    desk.set("fx/vocals/0/wet_level", 0.8)
    desk.set_normalised("fx/vocals/bypass", 1.0)
    assert effects.value("fx/vocals/0/wet_level") == 0.8 and desk.get("fx/vocals/bypass") is True
    assert {"fx/vocals/0/wet_level", "fx/vocals/bypass"} <= set(desk.changes_since(before)[1])
    with pytest.raises(UsageError, match="fx/vocals/0/wet_level"):
        desk.set("fx/vocals/0/wet_level", 2.0)
    desk.capture("wet")
    desk.set("fx/vocals/0/wet_level", 0.1)
    desk.recall("wet")
    assert desk.get("fx/vocals/0/wet_level") == 0.8
    # Another show, without the chain: the rest of the scene is still good, and the chain finds it later.
    other_board = Board(STEMS)
    other = Desk(other_board)
    other.apply(desk.snapshot())
    with pytest.raises(UsageError, match="nothing has the address"):
        other.get("fx/vocals/bypass")
