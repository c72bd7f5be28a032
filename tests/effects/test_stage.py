"""The stage: chains of several stems and of the mix, everything in time with everything else."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from rtsep.effects.chainfile import ChainFile, save_chain
from rtsep.effects.parameters import EffectParameter
from rtsep.effects.stage import EffectStage
from rtsep.spec import STEMS, StreamSpec, UsageError
from tests.effects.streams import HOP, RATE, Audio, entry, late, noise

SPEC = StreamSpec(RATE, 2, STEMS, HOP, 0)


def file(folder: Path, name: str, *kinds: str) -> Path:
    path = folder / f"{name}.toml"
    parameters = {"BrickwallLimiter": {"ceiling_db": 0.0}, "Gain": {"gain_db": 0.0}}
    save_chain(ChainFile(plugin=tuple(entry(kind, **parameters.get(kind, {})) for kind in kinds)), path)
    return path


def run(stage: EffectStage, stems: Audio) -> tuple[Audio, Audio, Audio]:
    """What comes of (stems, 2, samples): stems, mix, and the dry stems."""
    heard: list[Audio] = []
    mixes: list[Audio] = []
    dry: list[Audio] = []
    for at in range(0, stems.shape[2] - HOP + 1, HOP):
        block = stems[:, :, at : at + HOP].copy()
        dry.append(stage.keep_dry(block).copy())
        stage.process_stems(block)
        mix = block.sum(axis=0)
        stage.process_mix(mix, block)
        heard.append(block)
        mixes.append(mix)
    return np.concatenate(heard, 2), np.concatenate(mixes, 1), np.concatenate(dry, 2)


def stems_of_noise(samples: int = 100 * HOP) -> Audio:
    return np.stack([noise(samples, seed) for seed in range(4)])


def test_everything_is_equally_late(tmp_path: Path) -> None:
    stage = EffectStage(
        {
            "vocals": file(tmp_path, "vocals", "BrickwallLimiter"),
            "drums": file(tmp_path, "drums", "Gain"),
            "master": file(tmp_path, "master", "BrickwallLimiter", "Gain"),
        },
        SPEC,
    )
    assert stage.delay == 440
    stems = stems_of_noise()
    heard, mix, dry = run(stage, stems)
    due = np.stack([late(one, 440) for one in stems])
    assert np.array_equal(dry, due)
    assert np.allclose(heard, due, atol=1e-4)
    assert np.allclose(mix, due.sum(axis=0), atol=1e-4)


def test_the_input_waits_for_the_chains(tmp_path: Path) -> None:
    stage = EffectStage({"master": file(tmp_path, "m", "BrickwallLimiter")}, SPEC)
    dry = noise(20 * HOP, 3)
    waited = [stage.delay_dry(dry[:, at : at + HOP]).copy() for at in range(0, dry.shape[1], HOP)]
    assert np.array_equal(np.concatenate(waited, 1), late(dry, stage.delay))
    quick = EffectStage({"bass": file(tmp_path, "b", "Gain")}, SPEC)
    assert quick.delay == 0 and quick.delay_dry(dry[:, :HOP]).base is dry


def test_the_bus_goes_through_its_chain_and_leaves_the_sends_alone(tmp_path: Path) -> None:
    stage = EffectStage({"bus": file(tmp_path, "b", "Invert")}, SPEC)
    sends = noise(HOP, 4)
    kept = sends.copy()
    returned = stage.process_bus(sends)
    assert returned is not None and np.allclose(returned, -kept, atol=1e-6)
    assert np.array_equal(sends, kept)
    assert EffectStage({}, SPEC).process_bus(sends) is None
    with pytest.raises(UsageError, match=r"slow.toml: this chain is 220 samples late; what the bus returns"):
        EffectStage({"bus": file(tmp_path, "slow", "BrickwallLimiter")}, SPEC)


def test_values_come_from_memory_that_others_write(tmp_path: Path) -> None:
    stage = EffectStage({"vocals": file(tmp_path, "v", "Gain")}, SPEC)
    addresses = [p.address for p in stage.parameters]
    assert addresses == ["fx/vocals/bypass", "fx/vocals/0/bypass", "fx/vocals/0/gain_db"]
    memory = np.zeros(512)
    memory[:3] = [p.value for p in stage.parameters]
    stems = stems_of_noise()

    def vocals() -> Audio:
        run(stage, stems)
        return run(stage, stems)[0][0]

    memory[2] = -20.0
    stage.set_values(memory)
    assert np.allclose(vocals(), 0.1 * stems[0], atol=1e-4)
    for nonsense in (np.nan, np.inf, 1e9):
        memory[2] = nonsense
        stage.set_values(memory)
        assert np.allclose(vocals(), 0.1 * stems[0], atol=1e-4)
    memory[0] = 1.0
    stage.set_values(memory)
    assert np.array_equal(vocals(), stems[0])


def test_a_chain_for_nobody_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no stem 'piano' for effects: there are vocals.*bus, master"):
        EffectStage({"piano": file(tmp_path, "p", "Gain")}, SPEC)


def test_a_parameter_travels_as_plain_data() -> None:
    known = EffectParameter("fx/vocals/0/mode", 0.0, 2.0, 1.0, "", ("a", "b", "c"))
    assert EffectParameter.from_plain(known.plain()) == known
    assert known.checked(2.0) == 2.0
    for value in (2.5, -1.0, float("nan")):
        with pytest.raises(UsageError, match="fx/vocals/0/mode: .* is not between 0 and 2"):
            known.checked(value)


def test_a_chain_is_of_one_deck_and_the_other_waits_for_it(tmp_path: Path) -> None:
    stage = EffectStage({"2/drums": file(tmp_path, "d", "BrickwallLimiter")}, SPEC, decks=2)
    stems = np.concatenate([stems_of_noise(), 0.5 * stems_of_noise()])
    heard, mix, _ = run(stage, stems)
    due = np.stack([late(one, stage.delay) for one in stems])
    assert (
        stage.delay > 0
        and np.allclose(heard, due, atol=1e-4)
        and np.allclose(mix, due.sum(axis=0), atol=1e-4)
    )
    assert {p.address.rsplit("/", 2)[0] for p in stage.parameters} >= {"fx/2/drums"}
    with pytest.raises(UsageError, match="no stem 'drums' for effects: there are 1/vocals"):
        EffectStage({"drums": file(tmp_path, "e", "Gain")}, SPEC, decks=2)
