"""What gain, mute and solo amount to."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rtsep.mixer.strip import ChannelStrip, effective_gains
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
