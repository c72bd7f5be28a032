"""Desk, snapshots, controllers, OSC and page take whatever stems a model has."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from rtsep.cli.stem_options import parse_gains, parse_out_map, parse_pans
from rtsep.control.desk import Desk
from rtsep.engine.board import MAX_STEMS, Board
from rtsep.midi.bindings import bind
from rtsep.midi.clock import Clock
from rtsep.midi.mapping import read_mapping, shipped_mappings
from rtsep.midi.schedule import Scheduler
from rtsep.mixer.mixer import Mixer
from rtsep.separators.builtin import methods
from rtsep.spec import UsageError

SIX = ("vocals", "drums", "bass", "electric-guitar", "piano", "wind")
SETS = [*sorted({manifest.stems for manifest in methods().values()}), SIX]


@pytest.mark.parametrize("stems", SETS, ids=lambda stems: stems[0])
def test_the_desk_moves_and_remembers_every_stem(stems: tuple[str, ...], tmp_path: Path) -> None:
    desk = Desk(Board(stems), snapshots=tmp_path / "snapshots.toml")
    for number, stem in enumerate(stems):
        desk.set(f"stem/{stem}/gain", -1.0 - number)
        desk.set_pan(stem, -0.1 * number)
    desk.set_mute(stems[-1], True)
    desk.capture("verse")
    for stem in stems:
        desk.set_gain(stem, 0.0)
    desk.set_mute(stems[-1], False)
    again = Desk(Board(stems), snapshots=tmp_path / "snapshots.toml")
    again.recall("verse")
    assert [again.get(f"stem/{stem}/gain") for stem in stems] == [-1.0 - n for n in range(len(stems))]
    assert again.get(f"stem/{stems[-1]}/mute") is True
    # Gestures for vocals are there where vocals are.
    assert ("gesture/acapella" in desk.addresses) == ("vocals" in stems)


@pytest.mark.parametrize("stems", SETS, ids=lambda stems: stems[0])
@pytest.mark.parametrize("mapping", shipped_mappings())
def test_shipped_controllers_move_the_stems_that_there_are(stems: tuple[str, ...], mapping: str) -> None:
    desk = Desk(Board(stems))
    file = read_mapping(mapping)
    table = bind(file, desk, Scheduler(Clock()))
    bound = {binding.address for bindings in table.values() for binding in bindings}
    assert bound <= set(desk.addresses) | {a for a in bound if a.startswith("snapshot/")}
    numbered = {
        entry.address.split("/")[1] for entry in file.mapping.entries if entry.address.startswith("stem/")
    }
    reached = {stem for number, stem in enumerate(stems, 1) if str(number) in numbered}
    assert {address.split("/")[1] for address in bound if address.startswith("stem/")} == reached
    assert stems[0] in reached


@pytest.mark.parametrize("stems", SETS, ids=lambda stems: stems[0])
def test_options_name_the_stems(stems: tuple[str, ...]) -> None:
    last = stems[-1]
    assert parse_gains([f"{last}=-6"], stems) == {last: -6.0}
    assert parse_pans([f"{last}=left"], stems) == {last: -1.0}
    assert parse_out_map([f"{last}=3,4"], stems) == {last: (3, 4)}
    with pytest.raises(UsageError, match="this model has " + ", ".join(stems)):
        parse_gains(["kazoo=1"], stems)


def test_the_mixer_sums_any_number_up_to_the_boards() -> None:
    for count in (2, 6, MAX_STEMS):
        mixer = Mixer(count, 2, 64, 16)
        stems = np.random.default_rng(0).standard_normal((count, 2, 64)).astype(np.float32) * np.float32(0.05)
        dry, out = stems.sum(axis=0), np.zeros((2, 64), np.float32)
        mixer.process(stems, None, out, dry)
        np.testing.assert_allclose(out, dry, atol=1e-6)
    with pytest.raises(UsageError, match=f"at most {MAX_STEMS} are possible"):
        Board(tuple(f"stem{n}" for n in range(MAX_STEMS + 1)))
