"""The controlling side of effect chains: parameters by address, across the board, and presets."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

from rtsep.effects.chainfile import Value, load_chain, save_chain, with_values
from rtsep.effects.parameters import EffectParameter
from rtsep.engine.board import Board
from rtsep.spec import UsageError


class EffectControls:
    """What can be moved of an engine's effects while music plays.

        engine.effects.set("fx/vocals/0/wet_level", 0.6)
        engine.effects.set("fx/vocals/bypass", 1)
        engine.effects.save("vocals", "wetter.toml")

    Args:
        board: shared with the engine.
        parameters: what the engine has loaded, in its order.
        files: chain files by stem or "master": what presets are made from.

    Attributes:
        parameters: by address, with range and first value.
    """

    def __init__(
        self, board: Board, parameters: Iterable[EffectParameter], files: Mapping[str, str] | None = None
    ) -> None:
        self._board = board
        self._files = dict(files or {})
        self.parameters = {parameter.address: parameter for parameter in parameters}
        self._places = {address: place for place, address in enumerate(self.parameters)}
        for address, place in self._places.items():
            board.words["effects"][place] = self.parameters[address].value

    def set(self, address: str, value: float) -> None:
        """Turn a parameter; heard with the next hop.

        Raises:
            UsageError: for an address that there is not, or a value out of range.
        """
        place = self._place(address)
        self._board.words["effects"][place] = self.parameters[address].checked(value)
        # Written after the parameter, so that whoever sees the new revision sees the parameter too.
        self._board.words["effects_revision"] += 1

    def value(self, address: str) -> float:
        """What a parameter was set to last."""
        return float(self._board.words["effects"][self._place(address)])

    def save(self, owner: str, path: str | Path) -> None:
        """Write a chain, with the values of now, as a file that can be loaded again.

        What was not moved stays as the file has it. What a VST3 or AU plug-in changed of itself in its own
        window is not among it.

        Args:
            owner: a stem with a chain, or "master".
            path: of the file, replaced if it is there.

        Raises:
            UsageError: when `owner` has no chain that came from a file.
            AudioFileError: when the file cannot be written.
        """
        if owner not in self._files:
            there = ", ".join(self._files) or "none"
            raise UsageError(f"there is no effect chain '{owner}' to save; there are: {there}")
        moved: dict[str, Value] = {}
        prefix = f"fx/{owner}/"
        for address, parameter in self.parameters.items():
            value = self.value(address)
            if not address.startswith(prefix) or value == parameter.value:
                continue
            name = address.removeprefix(prefix)
            if parameter.switch:
                moved[name] = value >= 0.5
            else:
                moved[name] = parameter.choices[round(value)] if parameter.choices else value
        save_chain(with_values(load_chain(self._files[owner]), moved), path)

    def _place(self, address: str) -> int:
        try:
            return self._places[address]
        except KeyError:
            raise UsageError(f"no effect parameter '{address}'") from None
