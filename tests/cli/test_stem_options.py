"""Options that name stems."""

from __future__ import annotations

import math

import pytest

from rtsep.cli.stem_options import check_stems, parse_gains, parse_in_map, parse_out_map, parse_pans
from rtsep.spec import STEMS, UsageError, strip_names


def test_gains() -> None:
    given = ["vocals=-6", "drums = +3dB", "bass=-inf", "other=1.5 DB"]
    assert parse_gains(given, STEMS) == {"vocals": -6.0, "drums": 3.0, "bass": -math.inf, "other": 1.5}
    assert parse_gains([], STEMS) == {}


def test_pans() -> None:
    given = ["vocals=-0.5", "drums=left", "bass = Centre", "other=1"]
    assert parse_pans(given, STEMS) == {"vocals": -0.5, "drums": -1.0, "bass": 0.0, "other": 1.0}
    for beyond in ("vocals=1.1", "vocals=nan"):
        with pytest.raises(UsageError, match="between -1"):
            parse_pans([beyond], STEMS)


def test_out_map() -> None:
    assert parse_out_map(["vocals=3,4", "bass=5"], STEMS) == {"vocals": (3, 4), "bass": (5,)}


@pytest.mark.parametrize("text", ["vocals", "=3", "vocals=", "vocals=loud", "vocals=3;4", "choir=-3", ""])
@pytest.mark.parametrize(
    ("parse", "option"), [(parse_gains, "--gain"), (parse_pans, "--pan"), (parse_out_map, "--out-map")]
)
def test_what_is_neither_is_said_in_one_line(parse: object, option: str, text: str) -> None:
    assert callable(parse)
    with pytest.raises(UsageError, match=option) as refusal:
        parse([text], STEMS)
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize("text", ["vocals=0", "vocals=3,", "vocals=-1", "vocals=3.5"])
def test_channels_are_counted_from_one(text: str) -> None:
    with pytest.raises(UsageError, match="counted from 1"):
        parse_out_map([text], STEMS)


def test_a_stem_may_be_named_once() -> None:
    with pytest.raises(UsageError, match="names vocals twice"):
        parse_gains(["vocals=-6", "vocals=-3"], STEMS)


def test_stems_must_be_the_models() -> None:
    assert check_stems("--mute", ["bass", "drums"], STEMS) == ("bass", "drums")
    with pytest.raises(UsageError, match="--mute choir: this model has vocals, drums, bass, other"):
        check_stems("--mute", ["bass", "choir"], STEMS)


def test_stems_of_two_decks() -> None:
    strips = strip_names(STEMS, 2)
    assert parse_gains(["vocals=-6", "2/vocals=3"], strips) == {"1/vocals": -6.0, "2/vocals": 3.0}
    assert check_stems("--mute", ["drums", "1/bass", "2/other"], strips) == ("1/drums", "1/bass", "2/other")
    assert parse_out_map(["2/bass=5,6"], strips) == {"2/bass": (5, 6)}
    with pytest.raises(UsageError, match="names 1/vocals twice"):
        parse_gains(["vocals=-6", "1/vocals=3"], strips)
    with pytest.raises(UsageError, match=r"3/vocals: this model has 1/vocals, .*2/other"):
        check_stems("--mute", ["3/vocals"], strips)


def test_in_map() -> None:
    assert parse_in_map(["2=3,4", " 1 = 5 "], 2) == {2: (3, 4), 1: (5,)}
    for wrong in ("2", "a=1,2", "1=1,2,3", "1=0", "0=1,2", "1=", "=1"):
        with pytest.raises(UsageError, match="--in-map .*: write DECK=CHANNEL,CHANNEL"):
            parse_in_map([wrong], 2)
    with pytest.raises(UsageError, match="there is one deck"):
        parse_in_map(["2=3,4"], 1)
    with pytest.raises(UsageError, match="names deck 1 twice"):
        parse_in_map(["1=1", "1=2"], 2)
