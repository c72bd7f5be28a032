"""Lamps and motor faders show what is set, whoever has set it."""

from __future__ import annotations

from rtsep.midi.feedback import TOUCHED_SECONDS
from tests.midi.rigs import Rig


def test_a_lamp_shows_what_others_have_set() -> None:
    rig = Rig('note = 36\nchannel = 9\naddress = "stem/vocals/mute"\nlamp = { on = 15, off = 12 }')
    assert rig.shown() == [[0x98, 36, 12]]
    assert rig.shown() == []
    rig.desk.instrumental()
    assert rig.shown() == [[0x98, 36, 15]]
    rig.feedback.forget()  # plugged in again
    assert rig.shown() == [[0x98, 36, 15]]


def test_a_lamp_may_be_elsewhere_and_shows_what_waits() -> None:
    rig = Rig(
        'note = 36\naddress = "stem/vocals/mute"\nquantise = "bar"\n'
        "lamp = { on = 3, off = 1, waiting = 2, cc = 90, channel = 5 }"
    )
    rig.tick(5)
    assert rig.shown() == [[0xB4, 90, 1]]
    rig.send(0x90, 36, 1)
    assert rig.shown() == [[0xB4, 90, 2]]
    rig.tick(96)
    assert rig.shown() == [[0xB4, 90, 3]]


def test_a_motor_fader_goes_where_the_parameter_is_through_curve_and_range() -> None:
    rig = Rig(
        'pitch = true\nchannel = 1\naddress = "stem/vocals/gain"\ntakeover = "jump"\nfeedback = true',
        'cc = 7\nchannel = 2\naddress = "stem/drums/gain"\nrange = [-20, 0]\ncurve = "s"\nfeedback = true',
        'cc14 = 1\nchannel = 3\naddress = "master/dry_wet"\nfeedback = true',
    )
    assert rig.shown() == [[0xE0, 97, 80], [0xB1, 7, 127], [0xB2, 1, 127], [0xB2, 33, 127]]
    for step in range(128):
        rig.send(0xB1, 7, step)
    before = rig.desk.get("stem/drums/gain")
    rig.desk.set("stem/drums/gain", -20.0)
    rig.now += 1.0
    assert [0xB1, 7, 0] in rig.shown()
    rig.desk.set("stem/drums/gain", before)
    assert rig.shown() == [[0xB1, 7, 127]]


def test_a_motor_does_not_fight_the_hand_and_sets_right_when_it_is_gone() -> None:
    rig = Rig('cc = 7\nchannel = 1\naddress = "master/dry_wet"\ntakeover = "jump"\nfeedback = true')
    assert rig.shown() == [[0xB0, 7, 127]]
    rig.send(0xB0, 7, 60)
    assert rig.shown() == []
    rig.desk.set("master/dry_wet", 0.0)
    rig.now += TOUCHED_SECONDS + 0.01
    assert rig.shown() == [[0xB0, 7, 0]]
