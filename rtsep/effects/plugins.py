"""Plug-ins through pedalboard: built-in effects, VST3, AU. The only module that loads it."""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

from rtsep.dsp.kernel import Floats
from rtsep.effects.catalogue import BUILT_IN
from rtsep.effects.chainfile import PluginEntry, Value
from rtsep.effects.parameters import EffectParameter
from rtsep.spec import UsageError

try:
    import pedalboard
except ImportError as error:
    raise UsageError(
        f"effects need pedalboard, which does not load ({error}); pip install 'rtsep[effects]'"
    ) from None

MOST_EXPOSED = 64
"""Parameters of a plug-in that can be moved while music plays, unless it is said which."""

_Set = Callable[[float], None]


class Plugin:
    """One loaded effect.

    `pedalboard` allocates the array that it returns from every call: the one thing on the path of a hop that
    rtsep cannot keep from allocating. It runs without the interpreter's lock.

    Args:
        entry: which, and how it is set.
        where: file and place in it, for messages.

    Attributes:
        entry: as given.
        echoes: that it sounds late is what it is for.
        parameters: those that can be moved while music plays; their addresses are bare names here.

    Raises:
        UsageError: when it cannot be loaded, is an instrument, or refuses a value.
    """

    def __init__(self, entry: PluginEntry, where: str) -> None:
        self.entry = entry
        self._where = f"{where} ({entry.title})"
        self.echoes = entry.lag is None and entry.type is not None and BUILT_IN[entry.type].echoes
        self.parameters: tuple[EffectParameter, ...] = ()
        self._setters: list[_Set] = []
        if entry.type is not None:
            self._plugin = self._open_built_in(entry.type)
        else:
            self._plugin = self._open_external()

    @property
    def reported_latency(self) -> int:
        """What a VST3 or AU plug-in says of its own latency, in samples; 0 of others."""
        return int(getattr(self._plugin, "reported_latency_samples", 0))

    def process(self, block: Floats, sample_rate: int) -> Floats:
        """The next samples of what comes out, as many or fewer, for the next (channels, n) that go in."""
        made: Floats = self._plugin.process(block, sample_rate, block.shape[1], False)
        return made

    def reset(self) -> None:
        """Forget all that was heard."""
        self._plugin.reset()

    def set(self, index: int, value: float) -> None:
        """Turn one of `parameters`."""
        self._setters[index](value)

    # -- loading -------------------------------------------------------------------------------------------

    def _refuse(self, why: object) -> UsageError:
        return UsageError(f"{self._where}: {' '.join(str(why).split())}")

    def _open_built_in(self, kind: str) -> Any:
        known, values = BUILT_IN[kind], dict(self.entry.parameters)
        made = getattr(pedalboard, kind)
        files = {name: values.pop(name) for name in known.files}
        # What cannot be set later is given to the constructor.
        fixed = {
            n: self._native(made, n, values.pop(n)) for n in tuple(values) if not known.parameters[n].live
        }
        try:
            plugin = made(**files, **fixed)
            for name, value in values.items():
                setattr(plugin, name, self._native(made, name, value))
        except Exception as error:
            raise self._refuse(error) from None
        found = []
        for name, known_range in known.parameters.items():
            if not known_range.live:
                continue
            now = getattr(plugin, name)
            if known_range.choices:
                members = [self._native(made, name, choice) for choice in known_range.choices]
                self._setters.append(_chooser(plugin, name, members))
                value = float(members.index(now))
            else:
                self._setters.append(_setter(plugin, name))
                value = min(max(float(now), known_range.minimum), known_range.maximum)
            found.append(
                EffectParameter(
                    name,
                    known_range.minimum,
                    known_range.maximum,
                    value,
                    known_range.unit,
                    known_range.choices,
                )
            )
        self.parameters = tuple(found)
        return plugin

    @staticmethod
    def _native(made: Any, name: str, value: Value) -> Any:
        """A choice's name as the member of pedalboard's enumeration; anything else as it is."""
        enumeration = {"mode": "Mode", "quality": "Quality"}.get(name)
        if enumeration is None or not isinstance(value, str):
            return value
        # GSMFullRateCompressor borrows the resampler's.
        return getattr(getattr(made, enumeration, None) or pedalboard.Resample.Quality, value)

    def _open_external(self) -> Any:
        entry = self.entry
        if not entry.path or not entry.path.exists():
            raise self._refuse(f"there is no {entry.path}")
        try:
            plugin: Any = pedalboard.load_plugin(str(entry.path), plugin_name=entry.name)
        except Exception as error:
            raise self._refuse(error) from None
        if not plugin.is_effect:
            raise self._refuse("is an instrument; chains are made of effects")
        if entry.state is not None:
            plugin.raw_state = base64.b64decode(entry.state)
        there = plugin.parameters
        for name, value in entry.parameters.items():
            if name not in there:
                raise self._refuse(f"has no parameter '{name}'; there are: {', '.join(there)}")
            try:
                setattr(plugin, name, value)
            except Exception as error:
                raise self._refuse(f"{name}: {error}") from None
        wanted = entry.expose if entry.expose is not None else tuple(there)
        for name in wanted:
            if name not in there:
                raise self._refuse(f"expose: has no parameter '{name}'; there are: {', '.join(there)}")
        if entry.expose is None:
            wanted = wanted[:MOST_EXPOSED]
        self.parameters = tuple(self._external(plugin, name, there[name]) for name in wanted)
        return plugin

    def _external(self, plugin: Any, name: str, known: Any) -> EffectParameter:
        """One parameter, by what the plug-in says of it."""
        now = getattr(plugin, name)
        unit = str(known.label or "")
        if known.type is bool:
            self._setters.append(_switcher(plugin, name))
            return EffectParameter(name, 0.0, 1.0, float(bool(now)), unit, switch=True)
        if known.type is str or known.min_value is None:
            choices = tuple(str(choice) for choice in known.valid_values)
            self._setters.append(_chooser(plugin, name, list(known.valid_values)))
            return EffectParameter(
                name, 0.0, float(len(choices) - 1), float(choices.index(str(now))), unit, choices
            )
        self._setters.append(_setter(plugin, name))
        return EffectParameter(name, float(known.min_value), float(known.max_value), float(now), unit)


def _setter(plugin: Any, name: str) -> _Set:
    return lambda value: setattr(plugin, name, value)


def _switcher(plugin: Any, name: str) -> _Set:
    return lambda value: setattr(plugin, name, value >= 0.5)


def _chooser(plugin: Any, name: str, members: list[Any]) -> _Set:
    return lambda value: setattr(plugin, name, members[int(np.clip(round(value), 0, len(members) - 1))])


def plain_board(plugins: Iterable[Any]) -> Any:
    """A `pedalboard.Pedalboard` of loaded plug-ins. Raises UsageError for what is none."""
    try:
        return pedalboard.Pedalboard(list(plugins))
    except TypeError as error:
        raise UsageError(
            f"effects are a list of pedalboard's plug-ins: {' '.join(str(error).split())}"
        ) from None


def refuse_unstreamed(board: Any) -> None:
    """Raise a UsageError for a board with an effect that gives nothing when it is streamed through."""
    for plugin in board:
        kind = type(plugin).__name__
        if hasattr(plugin, "__iter__"):
            refuse_unstreamed(plugin)
        elif kind in BUILT_IN and BUILT_IN[kind].unstreamed:
            raise UsageError(f"{kind}: {BUILT_IN[kind].unstreamed}")
