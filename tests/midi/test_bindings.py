"""What controls do to the desk: faders, pads, programs, and gestures on the beat."""

from __future__ import annotations

import math

import pytest

from tests.midi.rigs import Rig

GAIN, MUTE = "stem/vocals/gain", "stem/vocals/mute"


def test_a_fader_goes_along_the_parameters_own_curve() -> None:
    rig = Rig(f'cc = 1\naddress = "{GAIN}"\ntakeover = "jump"')
    heard = []
    for value in (0, 40, 80, 127):
        rig.send(0xB0, 1, value)
        heard.append(rig.desk.get(GAIN))
    assert heard[0] == -math.inf and heard[2] == 0.0 and heard[3] == 12.0
    assert heard == sorted(heard)


def test_range_curve_and_fade() -> None:
    rig = Rig(
        f'cc = 1\naddress = "{GAIN}"\nrange = [0, -20]\ncurve = "s"\ntakeover = "jump"\nfade = 250',
        'cc = 2\naddress = "stem/1/pan"\nrange = [-0.5, 0.5]\ntakeover = "jump"',
    )
    for value, due in ((0, 0.0), (127, -20.0)):
        rig.send(0xB0, 1, value)
        assert rig.desk.get(GAIN) == pytest.approx(due)
    assert rig.desk._board.words["fade_ms"][0] == 250.0
    rig.send(0xB5, 2, 127)  # any channel
    assert rig.desk.get("stem/vocals/pan") == pytest.approx(0.5)


@pytest.mark.parametrize("order", ["msb-first", "lsb-first"])
def test_fourteen_bits_set_once_and_finely(order: str) -> None:
    rig = Rig(f'cc14 = 7\norder = "{order}"\naddress = "master/dry_wet"\ntakeover = "jump"')
    version = rig.desk.version
    halves = [(7, 64), (39, 1)]
    for number, value in halves if order == "msb-first" else halves[::-1]:
        rig.send(0xB0, number, value)
    assert rig.desk.version == version + 1
    assert rig.desk.get("master/dry_wet") == pytest.approx((64 * 128 + 1) / 16383, abs=1e-9)


def test_a_pitch_wheel_and_an_nrpn_are_faders_too() -> None:
    rig = Rig(
        'pitch = true\nchannel = 2\naddress = "master/dry_wet"\ntakeover = "jump"',
        'nrpn = 300\naddress = "stem/drums/pan"\ntakeover = "jump"',
    )
    rig.send(0xE1, 0, 0)
    assert rig.desk.get("master/dry_wet") == 0.0
    rig.send(0xB0, 99, 300 >> 7, 0xB0, 98, 300 & 127, 0xB0, 6, 127, 0xB0, 38, 127)
    assert rig.desk.get("stem/drums/pan") == 1.0


def test_soft_takeover_after_a_snapshot() -> None:
    rig = Rig(f'cc = 1\naddress = "{GAIN}"')
    rig.send(0xB0, 1, 20)
    assert rig.desk.get(GAIN) == 0.0  # far away: nothing
    for value in range(20, 101):
        rig.send(0xB0, 1, value)
    assert rig.desk.get(GAIN) == pytest.approx(rig.desk.parameter(GAIN).from_normalised(100 / 127))
    rig.desk.set(GAIN, -40.0)
    rig.send(0xB0, 1, 101)
    assert rig.desk.get(GAIN) == -40.0


def test_a_note_toggles_or_is_held() -> None:
    rig = Rig(
        f'note = 36\naddress = "{MUTE}"',
        'note = 37\naddress = "stem/drums/mute"\nmode = "momentary"',
        'note = 38\naddress = "stem/bass/gain"\nvalue = -6.0',
    )
    states = []
    for message in ((0x90, 36, 1), (0x80, 36, 0), (0x90, 36, 127), (0x90, 36, 0)):
        rig.send(*message)
        states.append(rig.desk.get(MUTE))
    assert states == [True, True, False, False]
    rig.send(0x90, 37, 3)
    assert rig.desk.get("stem/drums/mute") is True
    rig.send(0x80, 37, 3)
    assert rig.desk.get("stem/drums/mute") is False
    rig.desk.set("stem/bass/gain", 2.0)
    for due in (-6.0, 2.0):
        rig.send(0x90, 38, 3, 0x80, 38, 0)
        assert rig.desk.get("stem/bass/gain") == due


def test_a_pad_that_sends_no_release_toggles_all_the_same() -> None:
    rig = Rig(f'note = 36\naddress = "{MUTE}"')
    for due in (True, False, True):
        rig.send(0x90, 36, 100)
        assert rig.desk.get(MUTE) is due


def test_a_controller_on_a_switch_follows_it_or_toggles() -> None:
    rig = Rig(f'cc = 1\naddress = "{MUTE}"', 'cc = 2\naddress = "stem/drums/mute"\nmode = "toggle"')
    for value, due in ((127, True), (0, False), (64, True), (63, False)):
        rig.send(0xB0, 1, value)
        assert rig.desk.get(MUTE) is due
    for value, due in ((127, True), (0, True), (127, False), (100, False), (0, False)):
        rig.send(0xB0, 2, value)
        assert rig.desk.get("stem/drums/mute") is due


def test_programs_recall_snapshots_and_triggers_act_when_pressed() -> None:
    rig = Rig(
        'program = 4\naddress = "snapshot/recall/verse"',
        'note = 1\naddress = "gesture/instrumental"',
        'note = 2\naddress = "snapshot/recall"\nvalue = "verse"',
    )
    rig.desk.set_gain("drums", -9.0)
    rig.desk.capture("verse")
    rig.desk.set_gain("drums", 0.0)
    rig.send(0xC0, 3)
    assert rig.desk.get("stem/drums/gain") == 0.0
    rig.send(0xC0, 4)
    assert rig.desk.get("stem/drums/gain") == -9.0
    rig.desk.set_gain("drums", 0.0)
    rig.send(0x90, 2, 9)
    assert rig.desk.get("stem/drums/gain") == -9.0
    rig.send(0x90, 1, 100)
    assert rig.desk.get(MUTE) is True
    rig.desk.everything()
    rig.send(0x80, 1, 0)
    assert rig.desk.get(MUTE) is False


def test_one_control_may_move_several_things() -> None:
    rig = Rig(*(f'note = 9\naddress = "stem/{n}/mute"' for n in (1, 2, 9)))
    rig.send(0x90, 9, 1)
    assert rig.desk.get("stem/vocals/mute") is True and rig.desk.get("stem/drums/mute") is True


EIGHT = f'note = 36\naddress = "{MUTE}"\nquantise = "bar"\nfor = "8 beats"'


def test_mute_the_vocals_for_eight_beats_from_the_next_bar() -> None:
    rig = Rig(EIGHT)
    rig.tick(30)
    rig.send(0x90, 36, 100, 0x80, 36, 0)
    muted = []
    for _ in range(96 * 4):
        rig.tick()
        if rig.desk.get(MUTE):
            muted.append(rig.clock.tick)
    assert muted == list(range(96, 96 + 8 * 24))


def test_a_second_press_drops_what_waits_and_ends_what_runs_at_the_next_bar() -> None:
    rig = Rig(EIGHT)
    rig.tick(30)
    rig.send(0x90, 36, 100)
    rig.send(0x90, 36, 100)
    rig.tick(96)
    assert rig.desk.get(MUTE) is False
    rig.send(0x90, 36, 100)
    rig.tick(96)
    assert rig.desk.get(MUTE) is True
    rig.send(0x90, 36, 100)  # bar 2 is on, and ends with it
    rig.send(0x90, 36, 100)  # nothing more
    rig.tick(192 + 96 - 1 - rig.clock.tick)
    assert rig.desk.get(MUTE) is True
    rig.tick()
    assert rig.desk.get(MUTE) is False
    rig.tick(500)
    assert rig.desk.get(MUTE) is False


def test_what_was_set_before_is_what_comes_back() -> None:
    rig = Rig('note = 1\naddress = "stem/drums/gain"\nvalue = -20.0\nfor = "1 beat"\nquantise = "beat"')
    rig.desk.set("stem/drums/gain", 3.0)
    rig.tick(5)
    rig.send(0x90, 1, 1)
    rig.tick(24)
    assert rig.desk.get("stem/drums/gain") == -20.0
    rig.tick(24)
    assert rig.desk.get("stem/drums/gain") == 3.0


def test_a_held_pad_on_the_beat_ends_on_the_beat_even_if_the_clock_is_lost() -> None:
    rig = Rig(f'note = 36\naddress = "{MUTE}"\nmode = "momentary"\nquantise = "beat"')
    rig.tick(5)
    rig.send(0x90, 36, 1)
    rig.tick(24)
    assert rig.desk.get(MUTE) is True
    rig.send(0x80, 36, 0)
    assert rig.desk.get(MUTE) is True
    rig.scheduler.poll(rig.now + 1.0)  # no ticks any more
    assert rig.desk.get(MUTE) is False


def test_a_held_pad_is_let_go_when_its_controller_goes() -> None:
    rig = Rig(f'note = 36\naddress = "{MUTE}"\nmode = "momentary"')
    rig.send(0x90, 36, 1)
    assert rig.desk.get(MUTE) is True
    for (binding,) in rig.table.values():
        binding.let_go(rig.now)
    assert rig.desk.get(MUTE) is False


def test_controls_of_two_decks() -> None:
    """A stem by its number on either deck, the crossfader, a pad that swaps, and one made for one deck."""
    rig = Rig(
        'cc = 1\naddress = "deck/2/stem/2/gain"\ntakeover = "jump"',
        'cc = 2\naddress = "crossfader"\ntakeover = "jump"',
        'note = 36\naddress = "gesture/swap/1"',
        'note = 37\naddress = "stem/drums/mute"\nmode = "toggle"',
        decks=2,
    )
    rig.send(0xB0, 1, 127)
    rig.send(0xB0, 2, 127)
    rig.send(0x90, 36, 100)
    rig.send(0x90, 37, 100)
    assert rig.desk.get("deck/2/stem/drums/gain") == 12.0 and rig.desk.get("deck/1/stem/drums/gain") == 0.0
    assert rig.desk.get("crossfader") == 1.0
    assert rig.desk.get("swap/vocals") is True
    assert rig.desk.get("deck/1/stem/drums/mute") is True and rig.desk.get("deck/2/stem/drums/mute") is False
