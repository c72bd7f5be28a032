"""`rtsep.Engine`: the engine as a program uses it."""

from __future__ import annotations

from pathlib import Path
from types import TracebackType
from typing import Any, Self, get_args, get_type_hints

from rtsep.control.desk import Desk
from rtsep.engine.effect_controls import EffectControls
from rtsep.engine.latency import LatencyReport
from rtsep.engine.options import EngineOptions
from rtsep.engine.process import ProcessEngine
from rtsep.engine.telemetry import Telemetry
from rtsep.separators.registry import DEFAULT_MODEL
from rtsep.spec import UsageError


class Engine:
    """Separates what an audio device hears and plays the mix you want, in a process of its own.

        with rtsep.Engine("live", input="USB", output="USB", block=128) as engine:
            engine.mute("vocals")
            engine.gain("drums", -6.0)
            engine.wait(30.0)
            print(engine.telemetry().hop_p99)

    Entering opens the device and starts to play; leaving fades out and stops. Where the engine must live in
    this process, use `rtsep.InProcessEngine`.

    `desk` has everything that can be set; the methods here are what one needs first.

    Args:
        model: a shipped model's name, or the folder of one.
        decks: stereo inputs that are separated at once; a stem of the second is named "2/vocals".
        input, output: the audio device's name, a part of it, or its number; None for the default.
        block: frames per callback.
        options: any other field of `rtsep.engine.options.EngineOptions`: backend, device, threads,
            sample_rate, in_channels, out_channels, out_map, in_map, allowance, fallback, effects, audio,
            realtime.

    Raises:
        ModelError: when there is no such model, here; and when it is damaged, on entering.
        UsageError: for an `audio` or `fallback` that there is not, here; for the rest, on entering.
        DeviceError, BackendError: on entering; one line each.
        TypeError: for an option that does not exist.
    """

    def __init__(
        self,
        model: str | Path = DEFAULT_MODEL,
        *,
        input: str | int | None = None,
        output: str | int | None = None,
        block: int = 128,
        decks: int = 1,
        **options: Any,
    ) -> None:
        self.options = EngineOptions(
            model=str(model), input=input, output=output, block=block, decks=decks, **options
        )
        _check_choices(self.options)
        self._engine = ProcessEngine(self.options)
        self.desk = Desk(self._engine.board)

    def __enter__(self) -> Self:
        self._engine.__enter__()
        self.desk.add_effects(self._engine.effects)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._engine.close()

    @property
    def stems(self) -> tuple[str, ...]:
        """Names of the model's stems."""
        return self._engine.spec.stems

    @property
    def latency(self) -> LatencyReport:
        """Where every sample of latency comes from; known once entered."""
        return self._engine.latency

    def gain(self, stem: str, db: float) -> None:
        """Set a stem's gain, -inf to +12 dB. Heard, ramped, with the next hop."""
        self.desk.set_gain(stem, db)

    def mute(self, stem: str, on: bool = True) -> None:
        """Mute a stem, or let it sound again."""
        self.desk.set_mute(stem, on)

    def solo(self, stem: str, on: bool = True) -> None:
        """While any stem is soloed, only soloed stems sound."""
        self.desk.set_solo(stem, on)

    def crossfade(self, position: float) -> None:
        """From the first deck alone (0) to the second alone (1)."""
        self.desk.set_crossfader(position)

    def swap(self, stem: str) -> bool:
        """Exchange which deck a stem is heard from. Returns whether it is exchanged now."""
        return self.desk.swap(stem)

    def bypass(self, on: bool = True) -> None:
        """Hear the input as it is, delayed as the mix would be."""
        self.desk.set_bypass(on)

    @property
    def effects(self) -> EffectControls:
        """The parameters of the effect chains, by address; known once entered."""
        return self._engine.effects

    def reset(self) -> None:
        """Forget what was heard so far: after a seek, or when other music begins."""
        self.desk.reset()

    def wait(self, seconds: float | None = None) -> bool:
        """Let it play for so long (False), or until it ends by itself (True).

        Raises:
            DeviceError: when the device disappears or the engine's process dies.
        """
        return self._engine.wait(seconds)

    def telemetry(self) -> Telemetry:
        """Hop times, underruns, meters: what the engine has been through so far."""
        return self._engine.telemetry()


def _check_choices(options: EngineOptions) -> None:
    """Refuse what is none of an option's choices, which the engine would take for something else."""
    kinds = get_type_hints(EngineOptions)
    for name in ("audio", "fallback"):
        value, choices = getattr(options, name), get_args(kinds[name])
        if value not in choices:
            raise UsageError(f"unknown {name} '{value}'; there are: {', '.join(choices)}")
