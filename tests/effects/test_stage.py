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


def test_bypass_of_everything_is_the_input(tmp_path: Path) -> None:
    files = {"bass": file(tmp_path, "bass", "Distortion"), "master": file(tmp_path, "m", "Invert")}
    stage = EffectStage(files, SPEC)
    stems = stems_of_noise()
    stage.set_bypass(True)
    run(stage, stems)
    _, mix, _ = run(stage, stems)
    assert np.array_equal(mix, stems.sum(axis=0))
    stage.set_bypass(False)
    run(stage, stems)
    _, wet, _ = run(stage, stems)
    assert not np.allclose(wet, stems.sum(axis=0), atol=0.1)


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
    # What is set while everything is bypassed is heard afterwards.
    stage.set_bypass(True)
    memory[0] = 0.0
    stage.set_values(memory)
    assert np.array_equal(vocals(), stems[0])
    stage.set_bypass(False)
    assert np.allclose(vocals(), 0.1 * stems[0], atol=1e-4)


def test_a_chain_for_nobody_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no stem 'piano' for effects: there are vocals.*master"):
        EffectStage({"piano": file(tmp_path, "p", "Gain")}, SPEC)


def test_a_parameter_travels_as_plain_data() -> None:
    known = EffectParameter("fx/vocals/0/mode", 0.0, 2.0, 1.0, "", ("a", "b", "c"))
    assert EffectParameter.from_plain(known.plain()) == known
    assert known.checked(2.0) == 2.0
    for value in (2.5, -1.0, float("nan")):
        with pytest.raises(UsageError, match="fx/vocals/0/mode: .* is not between 0 and 2"):
            known.checked(value)
