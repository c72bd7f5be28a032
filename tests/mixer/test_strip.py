"""What gain, mute and solo amount to."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rtsep.mixer.strip import ChannelStrip, balance, channel_gains, effective_gains
from rtsep.spec import UsageError

strips_strategy = st.lists(
    st.builds(ChannelStrip, gain_db=st.floats(-90, 12), mute=st.booleans(), solo=st.booleans()),
    min_size=1,
    max_size=6,
)


@given(strips_strategy)
def test_truth_table(strips: list[ChannelStrip]) -> None:
    gains = effective_gains(strips)
    soloing = [k for k, strip in enumerate(strips) if strip.solo]
    for k, strip in enumerate(strips):
        heard = k in soloing if soloing else True
        if strip.mute or not heard:
            assert gains[k] == 0.0
        else:
            assert gains[k] == pytest.approx(10 ** (strip.gain_db / 20), rel=1e-12)


def test_untouched_strips_are_exactly_one() -> None:
    assert (effective_gains([ChannelStrip()] * 4) == 1.0).all()


def test_solos_add_and_mute_is_stronger() -> None:
    strips = [
        ChannelStrip(solo=True),
        ChannelStrip(solo=True, mute=True),
        ChannelStrip(),
        ChannelStrip(solo=True),
    ]
    assert list(effective_gains(strips)) == [1.0, 0.0, 0.0, 1.0]


def test_minus_infinity_is_silence() -> None:
    assert effective_gains([ChannelStrip(gain_db=-math.inf)])[0] == 0.0


@pytest.mark.parametrize("level", [math.nan, math.inf])
def test_impossible_levels_are_refused_even_when_muted(level: float) -> None:
    with pytest.raises(UsageError, match="not a level"):
        effective_gains([ChannelStrip(gain_db=level, mute=True)])


@given(st.floats(-1.0, 1.0))
def test_pan_keeps_the_power_of_what_both_channels_share(pan: float) -> None:
    left, right = balance(pan)
    assert left**2 + right**2 == pytest.approx(2.0)
    assert balance(-pan) == pytest.approx((right, left))
    assert (right - left) * pan >= -1e-15


def test_pan_is_exact_in_the_middle_and_at_the_ends() -> None:
    assert balance(0.0) == balance(-0.0) == (1.0, 1.0)
    assert balance(-1.0) == (pytest.approx(math.sqrt(2.0)), 0.0)
    assert balance(1.0) == (0.0, pytest.approx(math.sqrt(2.0)))


def test_pan_moves_two_channels_and_leaves_a_mono_stem_alone() -> None:
    strips = [ChannelStrip(gain_db=-6.0, pan=1.0), ChannelStrip(inverted=True)]
    level = 10 ** (-6 / 20)
    assert channel_gains(strips, 1).tolist() == [[pytest.approx(level)], [-1.0]]
    stereo = channel_gains(strips, 2)
    assert stereo[0].tolist() == [0.0, pytest.approx(level * math.sqrt(2.0))]
    assert stereo[1].tolist() == [-1.0, -1.0]


def test_polarity_turns_over_what_is_heard_and_nothing_else() -> None:
    strips = [ChannelStrip(gain_db=6.0, inverted=True), ChannelStrip(inverted=True, mute=True)]
    assert list(effective_gains(strips)) == [pytest.approx(-(10 ** (6 / 20))), 0.0]
