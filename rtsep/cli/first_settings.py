"""How `rtsep live` sets its desk before the first sound: a snapshot, and over it what the options say."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Self

from rtsep.spec import UsageError

if TYPE_CHECKING:
    from rtsep.control.desk import Desk


@dataclass(frozen=True)
class SnapshotChoice:
    """A file of snapshots, and with which one to begin.

    Attributes:
        file: where captured ones go, too; None for none.
        name: None for the only one that the file holds, "" to begin with none.
    """

    file: Path | None
    name: str | None

    @classmethod
    def parse(cls, text: str | None) -> Self:
        """From FILE, FILE#NAME or FILE#.

        Raises:
            UsageError: when there is no file in it, or there is no such file to begin with.
        """
        if text is None:
            return cls(None, None)
        path, mark, name = text.partition("#")
        if not path:
            raise UsageError(f"--snapshot {text}: write FILE or FILE#NAME")
        # A file that is only to be written to need not be there.
        only_written = bool(mark) and not name
        if not only_written and not Path(path).is_file():
            raise UsageError(f"{path}: no such file of snapshots")
        return cls(Path(path), name if mark else None)

    def recall(self, desk: Desk) -> None:
        """Set the desk to it.

        Raises:
            UsageError: when the file holds none of that name, or several and none is named.
        """
        if self.file is None or self.name == "":
            return
        if not self.name and len(desk.snapshots) != 1:
            known = ", ".join(desk.snapshots) or "none"
            raise UsageError(f"--snapshot {self.file}: which one? Write {self.file}#NAME; there are: {known}")
        desk.recall(self.name or desk.snapshots[0])


@dataclass(frozen=True)
class FirstSettings:
    """What the options say of the desk. None, and what is empty, leaves it as the snapshot has it.

    Attributes:
        gains: dB by strip.
        pans: -1 (left) to 1 by strip.
        muted, soloed: strips.
        master: dB.
        crossfader: 0 (deck 1) to 1.
        crossfader_cut: whether it cuts in place of fading.
        dry_wet: 0 (dry) to 1.
        limiter: whether it is on.
        fade: milliseconds of every change from now on.
    """

    gains: dict[str, float]
    pans: dict[str, float]
    muted: tuple[str, ...]
    soloed: tuple[str, ...]
    master: float | None = None
    crossfader: float | None = None
    crossfader_cut: bool | None = None
    dry_wet: float | None = None
    limiter: bool | None = None
    fade: float | None = None

    def apply(self, desk: Desk) -> None:
        """Set the desk.

        Raises:
            UsageError: when a number is out of its range.
        """
        for stem, db in self.gains.items():
            desk.set_gain(stem, db)
        for stem, place in self.pans.items():
            desk.set_pan(stem, place)
        for stem in self.muted:
            desk.set_mute(stem)
        for stem in self.soloed:
            desk.set_solo(stem)
        if self.master is not None:
            desk.set_master(self.master)
        if self.crossfader is not None:
            desk.set_crossfader(self.crossfader)
        if self.crossfader_cut is not None:
            desk.set_crossfader_cut(self.crossfader_cut)
        if self.dry_wet is not None:
            desk.set_dry_wet(self.dry_wet)
        if self.limiter is not None:
            desk.set_limiter(self.limiter)
        if self.fade is not None:
            desk.fade_ms = self.fade
