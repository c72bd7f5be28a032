"""rtsep separates music into stems while it plays.

    import rtsep

    with rtsep.Engine("live", block=128) as engine:      # a process of its own, on the default devices
        print(engine.latency.total, "samples of latency")
        engine.mute("vocals")
        engine.wait(60.0)

    separator = rtsep.load("live")                        # or whole recordings
    stems = separator.separate(audio, sample_rate=44100)  # {"vocals": (channels, samples), ...}

Importing this module imports nothing heavy: names are resolved when they are first used.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from rtsep.spec import (
    STEMS,
    AudioFileError,
    BackendError,
    DeviceError,
    ModelError,
    RtsepError,
    StreamSpec,
    UsageError,
)

if TYPE_CHECKING:
    from rtsep.control.desk import Desk
    from rtsep.control.facade import Engine
    from rtsep.engine.inprocess import InProcessEngine
    from rtsep.engine.separator import Separator, load
    from rtsep.engine.stemboard import StemBoard
    from rtsep.engine.telemetry import Telemetry

__version__ = "0.1.0"

_HOMES = {
    "Desk": "rtsep.control.desk",
    "Engine": "rtsep.control.facade",
    "InProcessEngine": "rtsep.engine.inprocess",
    "Separator": "rtsep.engine.separator",
    "StemBoard": "rtsep.engine.stemboard",
    "Telemetry": "rtsep.engine.telemetry",
    "load": "rtsep.engine.separator",
}

__all__ = [
    "STEMS",
    "AudioFileError",
    "BackendError",
    "Desk",
    "DeviceError",
    "Engine",
    "InProcessEngine",
    "ModelError",
    "RtsepError",
    "Separator",
    "StemBoard",
    "StreamSpec",
    "Telemetry",
    "UsageError",
    "load",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'rtsep' has no attribute {name!r}")
    value = getattr(import_module(_HOMES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOMES})
