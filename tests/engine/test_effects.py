"""Effect chains inside the engine: latency as reported, stems in time, parameters, presets."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from rtsep.control.desk import Desk
from rtsep.effects.chainfile import ChainFile, load_chain, save_chain
from rtsep.effects.stage import EffectStage
from rtsep.engine.inprocess import InProcessEngine
from rtsep.engine.options import EngineOptions
from rtsep.engine.process import ProcessEngine
from rtsep.engine.rates import plan
from rtsep.io.driver import StreamFormat
from rtsep.rt.ring import RingBuffer
from rtsep.spec import UsageError
from tests.backends.steadiness import assert_keeps_nothing
from tests.effects.streams import entry
from tests.engine.standin import DELAY, HOP, RATE, SHARES, StandIn, delayed, sine, through_file
from tests.engine.test_worker import Bench
from tests.models import build_tiny_model

LIMITER = entry("BrickwallLimiter", ceiling_db=0.0)
"""Late by 220 samples, and silent about quiet music."""


@pytest.fixture
def files(tmp_path: Path) -> dict[str, Path]:
    made = {
        "vocals": ChainFile(plugin=(LIMITER, entry("Gain", gain_db=0.0))),
        "master": ChainFile(plugin=(LIMITER,)),
    }
    for owner, chain in made.items():
        save_chain(chain, tmp_path / f"{owner}.toml")
    return {owner: tmp_path / f"{owner}.toml" for owner in made}


def stage(files: dict[str, Path], stream: StandIn) -> EffectStage:
    return EffectStage(files, stream.spec)


@pytest.mark.parametrize("block", [32, 128, 331])
def test_the_delay_is_the_reported_one(files: dict[str, Path], block: int) -> None:
    stream = StandIn()
    _, _, without = through_file(StandIn().as_stream(), sine(4 * HOP), block)
    audio = sine(RATE)
    heard, telemetry, latency = through_file(stream.as_stream(), audio, block, effects=stage(files, stream))
    assert latency == without + 440
    assert telemetry.underruns == telemetry.effects_replaced == 0
    assert np.abs(heard - delayed(audio, latency, heard.shape[1])).max() < 1e-4


def test_at_another_rate_too(files: dict[str, Path]) -> None:
    stream = StandIn()
    audio = sine(RATE)
    heard, _, latency = through_file(stream.as_stream(), audio, rate=48000, effects=stage(files, stream))
    shifts = range(latency - 20, latency + 20)
    errors = [np.abs(heard - delayed(audio, shift, heard.shape[1])).max() for shift in shifts]
    # The report is rounded to whole samples.
    assert abs(shifts[int(np.argmin(errors))] - latency) <= 1


def test_the_report_has_the_effects_in_device_samples() -> None:
    spec = StandIn().spec
    report = plan(spec, StreamFormat(88200, 128, 2, 2), effects=220)
    part = next(part for part in report.parts if part.name == "effects")
    assert part.samples == 440
    plain = plan(spec, StreamFormat(88200, 128, 2, 2))
    assert report.stream == plain.stream + 440 and report.prefill == plain.prefill
    assert report.total == plain.total + 440


def test_a_chain_acts_on_its_stem_alone_and_bypass_on_all(files: dict[str, Path]) -> None:
    save_chain(ChainFile(plugin=(entry("Invert"),)), files["vocals"])
    stream = StandIn()
    audio = sine(RATE)

    def prepare(engine: InProcessEngine) -> None:
        # From hop 200 on nothing is affected.
        stream.before = lambda hop: engine.board.set_bypass() if hop == 200 else None

    heard, _, latency = through_file(stream.as_stream(), audio, effects=stage(files, stream), prepare=prepare)
    due = delayed(audio, latency, heard.shape[1])
    changed = latency + 200 * HOP
    assert np.abs(heard - (1.0 - 2.0 * SHARES[0]) * due)[:, : changed - 2048].max() < 1e-4
    assert np.abs(heard - due)[:, changed + 2048 :].max() < 1e-4
    assert np.abs(np.diff(heard)).max() < 1.1 * np.abs(np.diff(due)).max() + 2.0 * SHARES[0] * 0.5 / 256


def test_what_is_sent_to_the_bus_comes_back_through_its_chain(tmp_path: Path) -> None:
    save_chain(ChainFile(plugin=(entry("Invert"),)), tmp_path / "bus.toml")
    stream = StandIn()
    audio = sine(RATE)

    def prepare(engine: InProcessEngine) -> None:
        Desk(engine.board).set_send(stream.spec.stems[0], 0.0)

    bus = stage({"bus": tmp_path / "bus.toml"}, stream)
    heard, _, latency = through_file(stream.as_stream(), audio, effects=bus, prepare=prepare)
    due = delayed(audio, latency, heard.shape[1])
    # Sent whole and returned upside down, the stem is gone.
    assert np.abs(heard - (1.0 - SHARES[0]) * due)[:, latency + 2048 :].max() < 1e-4


def test_parameters_move_while_it_plays(files: dict[str, Path]) -> None:
    stream = StandIn()
    audio = sine(RATE)

    def prepare(engine: InProcessEngine) -> None:
        address = "fx/vocals/1/gain_db"
        assert engine.effects.parameters[address].maximum == 24.0
        stream.before = lambda hop: engine.effects.set(address, -60.0) if hop == 200 else None

    heard, _, latency = through_file(stream.as_stream(), audio, effects=stage(files, stream), prepare=prepare)
    due = delayed(audio, latency, heard.shape[1])
    changed = latency + 200 * HOP
    assert np.abs(heard - due)[:, : changed - 1024].max() < 1e-4
    assert np.abs(heard - (1.0 - SHARES[0] * 0.999) * due)[:, changed + 8192 :].max() < 1e-3


def test_what_is_recorded_is_dry_and_in_time_with_the_mix(files: dict[str, Path]) -> None:
    save_chain(ChainFile(plugin=(LIMITER, entry("Invert"))), files["vocals"])
    stream = StandIn()
    audio = sine(RATE)
    tape = RingBuffer(10, RATE + 100 * HOP)
    through_file(stream.as_stream(), audio, recorder=tape, effects=stage(files, stream))
    taped: NDArray[np.float32] = np.empty((tape.read_available, 10), np.float32)
    tape.pop(taped)
    due = delayed(audio, DELAY + 440, taped.shape[0])
    for stem, share in enumerate(SHARES):
        assert np.abs(taped[:, 2 * stem : 2 * stem + 2].T - np.float32(share) * due).max() < 1e-6
    assert np.abs(taped[:, 8:].T - (1.0 - 2.0 * SHARES[0]) * due).max() < 1e-4


def test_after_lost_input_the_chains_fill_before_they_are_heard(
    tmp_path: Path, files: dict[str, Path]
) -> None:
    """Until then they still hold sound of before it: that is left to the callback."""
    bench = Bench(build_tiny_model(tmp_path), effects=files)
    bench.hop()
    bench.worker._catch_up()
    spec = bench.stream.spec
    assert bench.worker._mute_hops == -(-(spec.delay + 440) // spec.hop)


def test_a_hop_with_effects_keeps_nothing(tmp_path: Path, files: dict[str, Path]) -> None:
    bench = Bench(build_tiny_model(tmp_path), effects=files)
    assert_keeps_nothing(bench.hop, times=1500)


# -- in another process --------------------------------------------------------------------------------


@pytest.fixture
def model(tmp_path: Path) -> str:
    return str(build_tiny_model(tmp_path))


def options(model: str, **effects: Path) -> EngineOptions:
    chains = {owner: str(file) for owner, file in effects.items()}
    return EngineOptions(model=model, audio="null", effects=chains)


@pytest.mark.realtime
def test_another_process_has_the_effects(model: str, files: dict[str, Path], tmp_path: Path) -> None:
    with ProcessEngine(options(model, **files)) as engine:
        assert next(p for p in engine.latency.parts if p.name == "effects").samples == 440
        known = engine.effects.parameters["fx/vocals/1/gain_db"]
        assert (known.minimum, known.maximum, known.value, known.unit) == (-60.0, 24.0, 0.0, "dB")
        engine.effects.set("fx/vocals/1/gain_db", -7.5)
        engine.effects.set("fx/vocals/0/bypass", 1.0)
        assert engine.effects.value("fx/vocals/1/gain_db") == -7.5
        for address, value in (("fx/vocals/1/gain_db", 25.0), ("fx/vocals/1/gain", 0.0)):
            with pytest.raises(UsageError, match="fx/vocals/1/gain"):
                engine.effects.set(address, value)
        with pytest.raises(UsageError, match="no effect chain 'drums' to save; there are: vocals, master"):
            engine.effects.save("drums", tmp_path / "drums.toml")
        engine.effects.save("vocals", tmp_path / "preset.toml")
        assert not engine.wait(0.2)
        assert engine.telemetry().effects_replaced == 0
    preset = load_chain(tmp_path / "preset.toml")
    limiter, gain = preset.plugin
    assert limiter.bypass and limiter.parameters == {"ceiling_db": 0.0}
    assert gain.parameters == {"gain_db": -7.5}
    with ProcessEngine(options(model, vocals=tmp_path / "preset.toml")) as engine:
        assert engine.effects.value("fx/vocals/1/gain_db") == -7.5
        assert engine.effects.value("fx/vocals/0/bypass") == 1.0


@pytest.mark.realtime
def test_a_chain_that_does_not_load_is_one_line(model: str, tmp_path: Path) -> None:
    path = tmp_path / "chain.toml"
    path.write_text("[[plugin]]\npath = 'missing.vst3'\n")
    with pytest.raises(UsageError, match=r"chain.toml: plugin 1 \(missing\): there is no .*missing.vst3"):
        ProcessEngine(options(model, vocals=path)).open()
