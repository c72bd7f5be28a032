"""Labels of the marks in a picture: each at the nearest place where it covers neither a mark nor a label."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from matplotlib.axes import Axes

MARK_POINTS = 4.0
"""Half of what a mark takes, either way."""
CHARACTER = 0.6
"""Width of a letter over the size of its font: somewhat more than the mean of what is written here."""
LINE = 1.1
"""Height of a line over the size of its font."""
STEPS = 40
"""How far away a place is looked for, in half lines; after that labels may lie on each other."""


class Mark(NamedTuple):
    """A mark and what is to be written beside it.

    Attributes:
        x, y: where it is, in the axis' own units.
        text: its label, one line.
        size: of the font, in points.
        colour: of the font.
    """

    x: float
    y: float
    text: str
    size: float
    colour: str


class Box(NamedTuple):
    """A rectangle in points."""

    left: float
    bottom: float
    right: float
    top: float

    def meets(self, other: Box) -> bool:
        """Whether the two have something in common."""
        return (
            self.left < other.right
            and other.left < self.right
            and self.bottom < other.top
            and other.bottom < self.top
        )

    def within(self, other: Box) -> bool:
        """Whether it leaves the other nowhere."""
        return (
            other.left <= self.left
            and self.right <= other.right
            and other.bottom <= self.bottom
            and self.top <= other.top
        )


def write(axis: Axes, marks: Sequence[Mark]) -> list[Box]:
    """Write the labels of all marks, the first ones nearest to theirs; a thin line leads to those far off.

    To be called when limits and scales of the axis are what they will be.

    Returns:
        Where the labels are.
    """
    axis.figure.draw_without_rendering()  # type: ignore[union-attr]
    scale = 72.0 / axis.figure.dpi
    room = Box(*(scale * float(edge) for edge in axis.bbox.extents))
    points = [tuple(scale * float(k) for k in axis.transData.transform((m.x, m.y))) for m in marks]
    around = [Box(x - MARK_POINTS, y - MARK_POINTS, x + MARK_POINTS, y + MARK_POINTS) for x, y in points]
    placed: list[Box] = []
    for mark, (x, y) in zip(marks, points, strict=True):
        width, height = CHARACTER * mark.size * len(mark.text), LINE * mark.size
        box = Box(0.0, 0.0, width, height)
        for left, bottom in _places(width, height):
            box = Box(x + left, y + bottom, x + left + width, y + bottom + height)
            if box.within(room) and not any(box.meets(other) for other in (*around, *placed)):
                break
        placed.append(box)
        middle = (box.bottom + box.top) / 2.0 - y
        # From the side that faces the mark: the width is only about right.
        side, edge = "center", (box.left + box.right) / 2.0
        if box.left > x or box.right < x:
            side, edge = ("left", box.left) if box.left > x else ("right", box.right)
        axis.annotate(
            mark.text,
            (mark.x, mark.y),
            (edge - x, middle),
            textcoords="offset points",
            ha=side,
            va="center",
            fontsize=mark.size,
            color=mark.colour,
            arrowprops={"arrowstyle": "-", "color": mark.colour, "linewidth": 0.4}
            if abs(middle) > 1.5 * height
            else None,
        ).set_in_layout(False)
    return placed


def _places(width: float, height: float) -> Iterator[tuple[float, float]]:
    """Left lower corners from the mark, the nearest first: beside it, over it, under it, and further off."""
    beside = MARK_POINTS + 1.5
    for step in range(STEPS):
        for side in (1.0, -1.0) if step else (1.0,):
            up = side * step * height / 2.0
            yield beside, up - height / 2.0
            yield -beside - width, up - height / 2.0
            if abs(up) > beside:
                yield -width / 2.0, up - height / 2.0
