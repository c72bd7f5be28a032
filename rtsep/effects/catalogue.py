"""The effects built into pedalboard: what their parameters are called and how far each may go.

pedalboard states no ranges, and accepts values that nobody means, such as a negative attack. These are the
ranges of a control surface; a test holds them against pedalboard itself, so that a version of it with another
effect or parameter is noticed. Nothing here loads pedalboard.
"""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Range:
    """How far a number may go.

    Attributes:
        minimum, maximum: inclusive.
        unit: what it counts, or "".
        live: it can be changed while music plays. Not so where the effect's latency follows it, or where the
            effect starts anew with it.
        choices: names, where the number stands for one.
    """

    minimum: float
    maximum: float
    unit: str = ""
    live: bool = True
    choices: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class BuiltIn:
    """An effect.

    Attributes:
        parameters: by pedalboard's names.
        files: parameters that are the name of a sound file, which it cannot do without.
        echoes: being late is what it is for: its echoes are no latency that others should wait for.
        unstreamed: why it cannot be used live, or "".
    """

    parameters: dict[str, Range] = field(default_factory=dict)
    files: tuple[str, ...] = ()
    echoes: bool = False
    unstreamed: str = ""


def _names(*names: str, live: bool) -> Range:
    return Range(0, len(names) - 1, "", live, names)


_EMPTIED = (
    "pedalboard gives silence in place of what it streams through this effect (its issue 415): it works on"
    " whole files only. A VST3 or AU plug-in can do the same live"
)
_SHARE = Range(0.0, 1.0)
_DB = Range(-60.0, 0.0, "dB")
_SHELF = {
    "cutoff_frequency_hz": Range(20.0, 20000.0, "Hz"),
    "gain_db": Range(-24.0, 24.0, "dB"),
    "q": Range(0.1, 10.0),
}
_DYNAMICS = {"attack_ms": Range(0.1, 500.0, "ms"), "release_ms": Range(1.0, 5000.0, "ms")}
_QUALITY = _names(
    "ZeroOrderHold", "Linear", "CatmullRom", "Lagrange", "WindowedSinc", "WindowedSinc256", "WindowedSinc128",
    "WindowedSinc64", "WindowedSinc32", "WindowedSinc16", "WindowedSinc8", live=False,
)  # fmt: skip

BUILT_IN: dict[str, BuiltIn] = {
    "Bitcrush": BuiltIn({"bit_depth": Range(1.0, 32.0, "bit")}),
    "BrickwallLimiter": BuiltIn(
        {
            "ceiling_db": Range(-24.0, 0.0, "dB"),
            "release_ms": Range(1.0, 1000.0, "ms"),
            "lookahead_ms": Range(0.1, 100.0, "ms", live=False),
            "true_peak": Range(0, 1, live=False, choices=("off", "on")),
        }
    ),
    "Chorus": BuiltIn(
        {
            "rate_hz": Range(0.0, 99.0, "Hz"),
            "depth": _SHARE,
            "centre_delay_ms": Range(1.0, 100.0, "ms"),
            "feedback": Range(-0.95, 0.95),
            "mix": _SHARE,
        },
        echoes=True,
    ),
    "Clipping": BuiltIn({"threshold_db": _DB}),
    "Compressor": BuiltIn({"threshold_db": _DB, "ratio": Range(1.0, 100.0), **_DYNAMICS}),
    "Convolution": BuiltIn({"mix": _SHARE}, files=("impulse_response_filename",)),
    "Delay": BuiltIn(
        {"delay_seconds": Range(0.0, 10.0, "s"), "feedback": Range(0.0, 0.99), "mix": _SHARE}, echoes=True
    ),
    "Distortion": BuiltIn({"drive_db": Range(0.0, 60.0, "dB")}),
    "GSMFullRateCompressor": BuiltIn({"quality": _QUALITY}, unstreamed=_EMPTIED),
    "Gain": BuiltIn({"gain_db": Range(-60.0, 24.0, "dB")}),
    "HighShelfFilter": BuiltIn(_SHELF),
    "HighpassFilter": BuiltIn({"cutoff_frequency_hz": Range(20.0, 20000.0, "Hz")}),
    "Invert": BuiltIn(),
    "LadderFilter": BuiltIn(
        {
            "mode": _names("LPF12", "HPF12", "BPF12", "LPF24", "HPF24", "BPF24", live=True),
            "cutoff_hz": Range(20.0, 20000.0, "Hz"),
            "resonance": _SHARE,
            "drive": Range(1.0, 10.0),
        }
    ),
    "Limiter": BuiltIn({"threshold_db": _DB, "release_ms": Range(1.0, 1000.0, "ms")}),
    "LowShelfFilter": BuiltIn(_SHELF),
    "LowpassFilter": BuiltIn({"cutoff_frequency_hz": Range(20.0, 20000.0, "Hz")}),
    "MP3Compressor": BuiltIn({"vbr_quality": Range(0.0, 9.9, live=False)}),
    "NoiseGate": BuiltIn({"threshold_db": Range(-100.0, 0.0, "dB"), "ratio": Range(1.0, 100.0), **_DYNAMICS}),
    "PeakFilter": BuiltIn(_SHELF),
    "Phaser": BuiltIn(
        {
            "rate_hz": Range(0.0, 99.0, "Hz"),
            "depth": _SHARE,
            "centre_frequency_hz": Range(50.0, 18000.0, "Hz"),
            "feedback": Range(-0.95, 0.95),
            "mix": _SHARE,
        },
        echoes=True,
    ),
    "PitchShift": BuiltIn({"semitones": Range(-24.0, 24.0, "semitones", live=False)}, unstreamed=_EMPTIED),
    "Resample": BuiltIn(
        {"target_sample_rate": Range(1000.0, 192000.0, "Hz", live=False), "quality": _QUALITY}
    ),
    "Reverb": BuiltIn(
        {
            "room_size": _SHARE,
            "damping": _SHARE,
            "wet_level": _SHARE,
            "dry_level": _SHARE,
            "width": _SHARE,
            "freeze_mode": _SHARE,
        },
        echoes=True,
    ),
}
"""Every effect of pedalboard that a chain can hold, by its class."""
