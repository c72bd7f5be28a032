"""The engine in a process of its own: its life and end, and what crosses the border."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

import rtsep
from rtsep.engine.options import EngineOptions
from rtsep.engine.process import ProcessEngine
from rtsep.spec import BackendError, DeviceError, ModelError, UsageError
from tests.models import build_tiny_model
from tests.waiting import PATIENCE, until

pytestmark = pytest.mark.realtime

_ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_tiny_model(tmp_path_factory.mktemp("models"))


def gone(pid: int) -> bool:
    """Ended, whether or not whoever inherited it has noticed."""
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def test_it_runs_elsewhere_reports_and_ends(model: Path) -> None:
    engine = ProcessEngine(EngineOptions(model=str(model), audio="null"))
    with engine:
        pid = engine.pid
        assert pid is not None and pid != os.getpid() and not gone(pid)
        # The memory has no name any more: whatever happens from here on, nothing is left lying about.
        assert not engine._shared.path.exists()
        until(lambda: engine.telemetry().hops > 100, "a hundred hops")
        first = engine.telemetry()
        until(lambda: engine.telemetry().seconds > first.seconds, "more audio")
        assert first.state == "running"
        assert first.counters["callbacks"] * 128 == first.counters["frames"]
        assert first.deadline == pytest.approx(engine.spec.hop_seconds)
        assert engine.latency.sample_rate == 44100 and engine.latency.total > 0
        assert engine.wait(0.1) is False
    assert gone(pid)
    assert engine.telemetry().state == "stopped"
    engine.close()


def test_a_reset_that_is_asked_for_here_happens_there(model: Path) -> None:
    with rtsep.Engine(model, audio="null") as engine:
        engine.reset()
        until(lambda: engine.telemetry().resets == 1, "the reset")
        assert engine.telemetry().bad_hops == 0


def test_when_the_engines_process_is_killed_the_controlling_one_is_told_in_a_line(model: Path) -> None:
    with pytest.raises(DeviceError, match="ended by itself") as failure:
        with ProcessEngine(EngineOptions(model=str(model), audio="null")) as engine:
            assert engine.pid is not None
            os.kill(engine.pid, signal.SIGKILL)
            engine.wait(PATIENCE)
    assert "\n" not in str(failure.value)


_CONTROLLER = """
import sys, time
from rtsep.engine.options import EngineOptions
from rtsep.engine.process import ProcessEngine

engine = ProcessEngine(EngineOptions(model=sys.argv[1], audio="null"))
engine.open()
engine.start()
print(engine.pid, flush=True)
time.sleep(600)
"""


def test_when_the_controlling_process_is_killed_the_engine_ends(model: Path) -> None:
    controller = subprocess.Popen(
        [sys.executable, "-c", _CONTROLLER, str(model)], stdout=subprocess.PIPE, text=True, cwd=_ROOT
    )
    try:
        assert controller.stdout is not None
        child = int(controller.stdout.readline())
        assert not gone(child)
        controller.send_signal(signal.SIGKILL)
        controller.wait(PATIENCE)
        until(lambda: gone(child), "the end of the engine")
    finally:
        controller.kill()
        controller.wait()
        assert controller.stdout is not None
        controller.stdout.close()


@pytest.mark.parametrize(
    ("options", "kind", "words"),
    [
        ({"allowance": 64}, UsageError, "allowance of 64"),
        ({"backend": "abacus"}, BackendError, "abacus"),
    ],
)
def test_what_the_other_process_refuses_is_raised_here_as_it_was_there(
    model: Path, options: dict[str, object], kind: type[Exception], words: str
) -> None:
    engine = ProcessEngine(EngineOptions(model=str(model), audio="null", **options))  # type: ignore[arg-type]
    with pytest.raises(kind, match=words) as refusal:
        engine.open()
    assert "\n" not in str(refusal.value)
    assert engine.pid is None
    assert not engine._shared.path.exists()


def test_a_damaged_model_is_refused_there_with_its_own_error(tmp_path: Path) -> None:
    damaged = build_tiny_model(tmp_path)
    graph = next(damaged.glob("*.onnx"))
    graph.write_bytes(graph.read_bytes()[:-100])
    with pytest.raises(ModelError) as refusal:
        with rtsep.Engine(damaged, audio="null"):
            raise AssertionError("it must not open")
    assert "\n" not in str(refusal.value)


def test_nothing_is_known_before_it_is_open(model: Path) -> None:
    engine = ProcessEngine(EngineOptions(model=str(model), audio="null"))
    with pytest.raises(DeviceError, match="not been opened"):
        _ = engine.latency
    engine.close()
    assert not engine._shared.path.exists()
