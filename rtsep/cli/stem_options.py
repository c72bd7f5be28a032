"""Options that name stems, as `--gain vocals=-6`, `--out-map vocals=3,4` and `--fx vocals=chain.toml`.

What is called `stems` here are the names of the strips: with two decks "1/vocals" to "2/other", of which the
first deck's may be written without its number.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from rtsep.effects.chainfile import load_chain
from rtsep.effects.parameters import BUS, MASTER
from rtsep.spec import UsageError


def parse_gains(given: Iterable[str], stems: tuple[str, ...]) -> dict[str, float]:
    """Gains in dB by stem, from texts such as "vocals=-6", "drums=+3dB", "bass=-inf".

    Raises:
        UsageError: for a text that is none of these, a stem that is not among `stems`, or one named twice.
    """
    gains: dict[str, float] = {}
    for text in given:
        stem, value = _split("--gain", text, stems, gains, "STEM=DB, such as vocals=-6")
        number = value.lower().removesuffix("db").strip()
        try:
            gains[stem] = float(number)
        except ValueError:
            raise UsageError(f"--gain {text}: {value!r} is not a number of dB") from None
    return gains


def parse_pans(given: Iterable[str], stems: tuple[str, ...]) -> dict[str, float]:
    """Places by stem, from -1 (left) to 1 (right), from texts such as "drums=-0.5", "bass=left".

    Raises:
        UsageError: as `parse_gains`, and for a place beyond the ends.
    """
    places: dict[str, float] = {}
    for text in given:
        stem, value = _split("--pan", text, stems, places, "STEM=PLACE, such as drums=-0.5")
        try:
            place = {"left": -1.0, "centre": 0.0, "right": 1.0}.get(value.lower())
            place = float(value) if place is None else place
        except ValueError:
            raise UsageError(
                f"--pan {text}: {value!r} is neither a number nor left, centre or right"
            ) from None
        if not -1.0 <= place <= 1.0:
            raise UsageError(f"--pan {text}: {value} is not between -1 (left) and 1 (right)")
        places[stem] = place
    return places


def parse_out_map(given: Iterable[str], stems: tuple[str, ...]) -> dict[str, tuple[int, ...]]:
    """Device channels, counted from 1, by stem, from texts such as "vocals=3,4".

    Raises:
        UsageError: as `parse_gains`. Whether the device has the channels is seen when it opens.
    """
    routes: dict[str, tuple[int, ...]] = {}
    for text in given:
        stem, value = _split("--out-map", text, stems, routes, "STEM=CHANNEL,CHANNEL, such as vocals=3,4")
        channels = [part.strip() for part in value.split(",")]
        if not all(channel.isdecimal() and int(channel) > 0 for channel in channels):
            raise UsageError(f"--out-map {text}: {value!r} is not channels, counted from 1, such as 3,4")
        routes[stem] = tuple(int(channel) for channel in channels)
    return routes


def parse_in_map(given: Iterable[str], decks: int) -> dict[int, tuple[int, ...]]:
    """Input channels of the device, counted from 1, by deck, from texts such as "2=3,4", "1=5".

    Raises:
        UsageError: for a text that is none of these, a deck that there is not, or one named twice.
    """
    found: dict[int, tuple[int, ...]] = {}
    for text in given:
        deck, equals, value = (part.strip() for part in text.partition("="))
        channels = [part.strip() for part in value.split(",")]
        numbers = [deck, *channels]
        if not equals or len(channels) > 2 or not all(n.isdecimal() and int(n) > 0 for n in numbers):
            raise UsageError(f"--in-map {text}: write DECK=CHANNEL,CHANNEL, such as 2=3,4")
        if int(deck) > decks:
            raise UsageError(
                f"--in-map {text}: there {'is one deck' if decks == 1 else f'are {decks} decks'}"
            )
        if int(deck) in found:
            raise UsageError(f"--in-map names deck {deck} twice")
        found[int(deck)] = tuple(int(channel) for channel in channels)
    return found


def parse_effects(given: Iterable[str], stems: tuple[str, ...]) -> dict[str, str]:
    """Chain files by stem, "bus" or "master", from texts such as "vocals=chain.toml". The files are checked.

    Raises:
        UsageError: as `parse_gains`, and for a chain file that is missing or wrong.
    """
    chains: dict[str, str] = {}
    for text in given:
        owner, file = _split(
            "--fx", text, (*stems, BUS, MASTER), chains, "STEM=FILE, such as vocals=chain.toml"
        )
        load_chain(file)
        # The engine runs in a process of its own.
        chains[owner] = str(Path(file).absolute())
    return chains


def check_stems(option: str, given: Iterable[str], stems: tuple[str, ...]) -> tuple[str, ...]:
    """Their full names, or a UsageError for the first that is not among `stems`."""
    named = []
    for stem in given:
        full = stem if stem in stems else f"1/{stem}"
        if full not in stems:
            raise UsageError(f"{option} {stem}: this model has {', '.join(stems)}")
        named.append(full)
    return tuple(named)


def _split(
    option: str, text: str, stems: tuple[str, ...], taken: Iterable[str], form: str
) -> tuple[str, str]:
    stem, equals, value = (part.strip() for part in text.partition("="))
    if not equals or not stem or not value:
        raise UsageError(f"{option} {text}: write {form}")
    (stem,) = check_stems(option, [stem], stems)
    if stem in taken:
        raise UsageError(f"{option} names {stem} twice")
    return stem, value
