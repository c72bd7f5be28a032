"""A chain: what goes through it is in time, bypass never clicks, and no plug-in can stop the music."""

from __future__ import annotations

import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pedalboard
import psutil
import pytest

from rtsep.effects import plugins
from rtsep.effects.catalogue import BUILT_IN
from rtsep.effects.chain import RAMP, EffectChain
from rtsep.effects.chainfile import PluginEntry
from rtsep.spec import UsageError
from tests.effects.streams import HOP, RATE, chain, entry, impulse_response, late, noise, through
from tests.effects.test_measurement import windowed_sinc

Spoil = Any


def parameter(made: EffectChain, address: str) -> int:
    return [p.address for p in made.parameters].index(address)


def spoiled(monkeypatch: pytest.MonkeyPatch, spoil: Spoil) -> None:
    """Let every plug-in's output be changed by `spoil`, which is told the number of the call."""
    true, calls = plugins.Plugin.process, iter(range(10**9))

    def process(self: plugins.Plugin, block: Any, rate: int) -> Any:
        return spoil(next(calls), true(self, block, rate))

    monkeypatch.setattr(plugins.Plugin, "process", process)


# -- in time -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("hop", [64, 500])
def test_a_late_chain_is_late_by_what_it_says(tmp_path: Path, hop: int) -> None:
    ir = impulse_response(tmp_path / "ir.wav", [0.0] * 300 + [1.0])
    made = chain(
        entry("BrickwallLimiter", ceiling_db=0.0),
        entry("Convolution", impulse_response_filename=str(ir)),
        hop=hop,
    )
    audio = noise(RATE)
    out = through(made, audio, hop)
    assert made.delay == 220 + 300
    # JUCE makes an impulse response as loud as it thinks fit.
    gain = float(np.vdot(out, late(audio, made.delay)[:, : out.shape[1]]) / np.sum(np.square(out)))
    assert np.allclose(gain * out, late(audio, made.delay)[:, : out.shape[1]], atol=2e-4)


def test_linear_phase_is_compensated_and_minimum_phase_is_not(tmp_path: Path) -> None:
    ir = impulse_response(tmp_path / "ir.wav", windowed_sinc(250).astype(np.float32))
    assert chain(entry("Convolution", impulse_response_filename=str(ir))).delay == 250
    assert chain(entry("LowpassFilter", cutoff_frequency_hz=200.0), entry("LadderFilter")).delay == 0


@pytest.mark.parametrize("kind", [kind for kind, known in BUILT_IN.items() if not known.unstreamed])
def test_every_built_in_effect_streams_in_time(kind: str, tmp_path: Path) -> None:
    """Its own output for the whole signal, so late as the chain says."""
    parameters = {n: str(impulse_response(tmp_path / "ir.wav", [1.0, 0.3])) for n in BUILT_IN[kind].files}
    made = chain(entry(kind, **parameters), hop=1024)
    audio = noise(RATE)
    out = through(made, audio, 1024)
    whole = getattr(pedalboard, kind)(**parameters)
    expected = late(whole.process(audio, RATE, buffer_size=1024, reset=True), made.delay)[:, : out.shape[1]]
    assert made.replaced == 0
    settled = slice(made.delay + 8192, None)
    error = np.std(out[:, settled] - expected[:, settled])
    assert error < 0.02 * np.std(expected[:, settled])


@pytest.mark.parametrize("kind", [kind for kind, known in BUILT_IN.items() if known.unstreamed])
def test_what_pedalboard_cannot_stream_is_refused(kind: str) -> None:
    with pytest.raises(UsageError, match=rf"test.toml: plugin 1 \({kind}\): pedalboard gives silence.* VST3"):
        chain(entry(kind))
    # When pedalboard has learned it, this fails: then it need not be refused any more.
    plugin = getattr(pedalboard, kind)()
    answers = [plugin.process(noise(512), RATE, 512, reset=False) for _ in range(2 * RATE // 512)]
    assert np.abs(np.concatenate(answers[-20:], axis=1)).max() < 1e-3


def test_a_chain_that_is_too_late_is_refused_unless_told_otherwise(tmp_path: Path) -> None:
    slow = entry("BrickwallLimiter", lookahead_ms=90.0, ceiling_db=0.0)
    with pytest.raises(UsageError, match=r"test.toml: is 90 ms late, most of it by BrickwallLimiter.* is 50"):
        chain(entry("Gain"), slow, limit=50.0)
    assert chain(entry("Gain"), slow, limit=100.0).delay == 3969


def test_what_is_meant_to_be_late_is_left_alone() -> None:
    assert chain(entry("Delay", delay_seconds=0.05, mix=1.0)).delay == 0
    said = PluginEntry(type="Delay", parameters={"delay_seconds": 0.05, "mix": 1.0}, lag=2205)
    assert chain(said).delay == 2205


# -- bypass --------------------------------------------------------------------------------------------


def test_a_bypassed_chain_is_the_input_bit_for_bit() -> None:
    made = chain(entry("BrickwallLimiter"), entry("Distortion"), bypass=True)
    audio = noise(8192)
    assert made.delay == 220
    assert np.array_equal(through(made, audio), late(audio, 220))


@pytest.mark.parametrize("address", ["bypass", "1/bypass"])
def test_bypass_is_a_crossfade(address: str) -> None:
    made = chain(entry("BrickwallLimiter"), entry("Invert"), entry("Gain", gain_db=0.0))
    time = np.arange(100 * HOP)
    sine = (0.5 * np.sin(2 * np.pi * 100.0 / RATE * time)).astype(np.float32)
    audio = np.stack([sine, sine])
    out = []
    for number, at in enumerate(range(0, audio.shape[1], HOP)):
        if number in (30, 32, 60):
            made.set(parameter(made, address), float(number != 32))
        block = audio[:, at : at + HOP].copy()
        made.process(block)
        out.append(block)
    heard = np.concatenate(out, axis=1)
    expected = late(audio, made.delay)
    slope = np.abs(np.diff(expected)).max() + 2 * 0.5 / RAMP
    assert np.abs(np.diff(heard)).max() < 1.05 * slope
    assert np.allclose(heard[:, 28 * HOP : 30 * HOP], -expected[:, 28 * HOP : 30 * HOP], atol=1e-3)
    assert np.allclose(heard[:, 40 * HOP : 60 * HOP], -expected[:, 40 * HOP : 60 * HOP], atol=1e-3)
    assert np.allclose(heard[:, 70 * HOP :], expected[:, 70 * HOP :], atol=1e-3)


def test_parameters_have_addresses_and_ranges() -> None:
    made = chain(entry("Reverb", wet_level=0.25), entry("LadderFilter", mode="HPF12"))
    table = {p.address: p for p in made.parameters}
    assert list(table)[:3] == ["bypass", "0/bypass", "0/room_size"]
    wet = table["0/wet_level"]
    assert (wet.minimum, wet.maximum, wet.value) == (0.0, 1.0, 0.25)
    assert table["1/mode"].choices[1] == "HPF12" and table["1/mode"].value == 1.0
    assert table["bypass"].switch


# -- faults --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("fault", ["nan", "loud", "short", "raises"])
def test_a_fault_is_dry_and_over_in_a_moment(monkeypatch: pytest.MonkeyPatch, fault: str) -> None:
    bad = [False]

    def spoil(call: int, made: Any) -> Any:
        if not bad[0]:
            return made
        if fault == "raises":
            raise RuntimeError("the plug-in is ill")
        return {"nan": made * np.float32("nan"), "loud": made + 1e6, "short": made[:, :-1]}[fault]

    spoiled(monkeypatch, spoil)
    made = chain(entry("BrickwallLimiter", ceiling_db=0.0))
    time = np.arange(200 * HOP)
    sine = (0.5 * np.sin(2 * np.pi * 100.0 / RATE * time)).astype(np.float32)
    audio = np.stack([sine, sine])
    out = []
    for number, at in enumerate(range(0, audio.shape[1], HOP)):
        bad[0] = number == 50
        block = audio[:, at : at + HOP].copy()
        made.process(block)
        out.append(block)
    heard = np.concatenate(out, axis=1)
    assert 1 <= made.replaced < 12
    # A limiter that has nothing to do is its input: whatever happens, this is the input, delayed.
    assert np.allclose(heard[:, HOP * 60 :], late(audio, made.delay)[:, HOP * 60 :], atol=1e-3)
    assert np.allclose(heard, late(audio, made.delay), atol=2e-2)


def test_a_latency_that_moves_is_dry_until_it_is_back(monkeypatch: pytest.MonkeyPatch) -> None:
    moved = [0]
    monkeypatch.setattr(plugins.Plugin, "reported_latency", property(lambda self: moved[0]))
    made = chain(entry("Invert"))
    audio = noise(HOP)
    first = audio.copy()
    made.process(first)
    assert np.array_equal(first, -audio)
    moved[0] = 64
    for _ in range(20):
        block = audio.copy()
        made.process(block)
    assert np.array_equal(block, audio) and made.replaced >= 20
    moved[0] = 0
    for _ in range(20):
        block = audio.copy()
        made.process(block)
    assert np.array_equal(block, -audio)


# -- cost ----------------------------------------------------------------------------------------------


def test_a_hop_keeps_nothing_and_makes_what_pedalboard_makes() -> None:
    """One array a plug-in, which is pedalboard's way of answering; rtsep adds none."""
    hop = 4096
    made = chain(entry("Gain"), entry("Reverb"), hop=hop)
    block = noise(hop)
    answer = 2 * hop * 4
    for _ in range(50):
        made.process(block)
    tracemalloc.start()
    try:
        start, _ = tracemalloc.get_traced_memory()
        tracemalloc.reset_peak()
        for _ in range(300):
            made.process(block)
        end, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert end - start < 10_000
    assert peak - start < 2 * answer
    resident = psutil.Process().memory_info().rss
    for _ in range(300):
        made.process(block)
    assert psutil.Process().memory_info().rss - resident < 2_000_000
