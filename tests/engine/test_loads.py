"""What is told of processors and GPUs is what the system says."""

from __future__ import annotations

import math
import sys
import time
from types import ModuleType, SimpleNamespace

import pytest

from rtsep.engine import loads
from rtsep.engine.loads import Loads


@pytest.fixture(autouse=True)
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loads, "LOOK_SECONDS", 0.2)


def test_a_busy_process_takes_processor_time_and_an_idle_one_none() -> None:
    own = Loads()
    assert math.isnan(own.cpu) and not own.look()
    until = time.process_time() + 0.1
    while time.process_time() < until:
        pass
    begun = time.monotonic()
    while not own.look():
        time.sleep(0.01)
    assert time.monotonic() - begun < 10.0
    busy = own.cpu
    assert busy > 0.0 and math.isnan(own.gpu)
    time.sleep(0.3)
    assert own.look() and own.cpu < busy


class NVMLError(Exception):
    pass


@pytest.fixture
def nvml(monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """NVIDIA's library, which notes what it is asked for; GPU 3 and "GPU-aa" are there."""
    asked: list[object] = []

    def handle(name: object) -> object:
        asked.append(name)
        if name not in (0, 3, "GPU-aa"):
            raise NVMLError("not found")
        return name

    def utilisation(name: object) -> SimpleNamespace:
        if name == 0:
            raise NVMLError("lost")
        return SimpleNamespace(gpu=37, memory=5)

    fake = ModuleType("pynvml")
    fake.NVMLError = NVMLError  # type: ignore[attr-defined]
    fake.nvmlInit = lambda: None  # type: ignore[attr-defined]
    fake.nvmlDeviceGetHandleByIndex = handle  # type: ignore[attr-defined]
    fake.nvmlDeviceGetHandleByUUID = handle  # type: ignore[attr-defined]
    fake.nvmlDeviceGetUtilizationRates = utilisation  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "pynvml", fake)
    return asked


@pytest.mark.parametrize(
    ("device", "visible", "asked", "load"),
    [
        ("cuda:3", "", 3, 0.37),
        ("cuda", "3,1", 3, 0.37),
        ("cuda:1", "3,GPU-aa", "GPU-aa", 0.37),
        ("cuda", "", 0, math.nan),
        ("cuda:7", "", 7, math.nan),
    ],
)
def test_the_gpu_is_the_one_that_computes(
    nvml: list[object], monkeypatch: pytest.MonkeyPatch, device: str, visible: str, asked: object, load: float
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    own = Loads(device)
    assert nvml == [asked]
    time.sleep(0.25)
    assert own.look()
    assert own.gpu == pytest.approx(load, nan_ok=True)


def test_without_a_library_or_driver_nothing_is_known(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pynvml", None)
    assert math.isnan(Loads("cuda").gpu)
    broken = ModuleType("pynvml")

    def refuse() -> None:
        raise OSError("no driver")

    broken.nvmlInit = refuse  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "pynvml", broken)
    own = Loads("cuda")
    time.sleep(0.25)
    assert own.look() and math.isnan(own.gpu)
