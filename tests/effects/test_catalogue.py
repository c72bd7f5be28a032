"""The table of built-in effects against pedalboard itself: none missing, every range accepted to its ends."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pedalboard
import pytest

from rtsep.effects.catalogue import BUILT_IN
from rtsep.effects.chainfile import PluginEntry, Value
from rtsep.effects.plugins import Plugin
from tests.effects.streams import HOP, RATE, impulse_response, noise

NO_EFFECTS = {
    "Chain", "ExternalPlugin", "IIRFilter", "Mix", "Pedalboard", "PluginContainer", "VST3Plugin",
    "AudioUnitPlugin",
}  # fmt: skip
"""Containers, what is no effect by itself, and what has a path."""


def subclasses(of: Any) -> Iterator[Any]:
    for one in of.__subclasses__():
        yield one
        yield from subclasses(one)


def made(kind: str, folder: Path, **values: Value) -> Plugin:
    files: dict[str, Value] = {
        name: str(impulse_response(folder / "ir.wav", [1.0, 0.5])) for name in BUILT_IN[kind].files
    }
    return Plugin(PluginEntry(type=kind, parameters={**files, **values}), "test")


def test_every_effect_of_pedalboard_is_listed() -> None:
    there = {c.__name__ for c in subclasses(pedalboard.Plugin) if not c.__module__.endswith("_internal")}
    assert set(BUILT_IN) == there - NO_EFFECTS


@pytest.mark.parametrize("kind", BUILT_IN)
def test_every_parameter_is_listed(kind: str) -> None:
    made_by = getattr(pedalboard, kind)
    there = {
        name
        for name in dir(made_by)
        if isinstance(inspect.getattr_static(made_by, name), property)
        and name not in ("is_effect", "is_instrument", "impulse_response")
    }
    assert {*BUILT_IN[kind].parameters, *BUILT_IN[kind].files} == there


@pytest.mark.parametrize("kind", BUILT_IN)
def test_ranges_are_accepted_to_their_ends(kind: str, tmp_path: Path) -> None:
    for name, known in BUILT_IN[kind].parameters.items():
        ends: list[Value] = [known.minimum, known.maximum]
        if known.choices:
            ends = [False, True] if known.choices == ("off", "on") else [known.choices[0], known.choices[-1]]
        for value in ends:
            plugin = made(kind, tmp_path, **{name: value})
            plugin.process(noise(HOP), RATE)
    plugin = made(kind, tmp_path)
    for index, parameter in enumerate(plugin.parameters):
        assert parameter.minimum <= parameter.value <= parameter.maximum
        for value in (parameter.minimum, parameter.maximum):
            plugin.set(index, value)
            assert np.isfinite(plugin.process(noise(HOP), RATE)).all()


def test_values_reach_the_plugin(tmp_path: Path) -> None:
    ladder = made("LadderFilter", tmp_path, mode="HPF24", cutoff_hz=1000.0)
    values = {p.address: p.value for p in ladder.parameters}
    assert values["mode"] == 4.0 and values["cutoff_hz"] == pytest.approx(1000.0)
    gain = made("Gain", tmp_path, gain_db=0.0)
    audio = noise(HOP)
    assert np.array_equal(gain.process(audio, RATE), audio)
    gain.set(0, -20.0)
    for _ in range(50):  # it glides
        quieter = gain.process(audio, RATE)
    assert np.allclose(quieter, 0.1 * audio, atol=1e-6)
