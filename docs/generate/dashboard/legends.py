"""Legends beneath a panel, as a text that flows, or beside it, as a table with the last values."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from docs.generate.dashboard.units import written
from docs.generate.style import FAINT, INK

LINE = 0.15
"""Height of a line, in inches."""

_LETTER, _MARK, _GAP = 0.0565, 0.17, 0.14
_SIZE = 6.5


@dataclass(frozen=True)
class Entry:
    """A series in a legend.

    Attributes:
        name: What it is called.
        colour: Of its line.
        dashed: Whether that is dashed.
        values: Its values; NaN where it has none.
    """

    name: str
    colour: str
    dashed: bool
    values: npt.NDArray[np.float64]


def lines(entries: Sequence[Entry], width: float) -> list[list[Entry]]:
    """Entries in lines of at most so many inches, as long as one by itself is not longer."""
    found: list[list[Entry]] = []
    room = 0.0
    for entry in entries:
        needed = _MARK + len(entry.name) * _LETTER + _GAP
        if not found or needed > room:
            found.append([])
            room = width
        found[-1].append(entry)
        room -= needed
    return found


def write_beneath(figure: Figure, flowing: list[list[Entry]], left: float, top: float) -> None:
    """Write lines from a place on, in inches from the figure's lower left."""
    for number, line in enumerate(flowing):
        x = left
        for entry in line:
            _write(figure, entry, x, top - (number + 0.5) * LINE)
            x += _MARK + len(entry.name) * _LETTER + _GAP


def write_beside(
    figure: Figure, entries: Sequence[Entry], left: float, right: float, top: float, unit: str
) -> None:
    """Write a table of names and last values between two places, in inches."""
    width, height = figure.get_size_inches()
    heads: dict[str, Any] = {"fontsize": _SIZE, "va": "center", "color": FAINT}
    figure.text(left / width, (top - 0.5 * LINE) / height, "Name", **heads)
    figure.text(right / width, (top - 0.5 * LINE) / height, "Last *", ha="right", **heads)
    for number, entry in enumerate(entries, 1):
        y = top - (number + 0.5) * LINE
        _write(figure, entry, left, y)
        known = entry.values[np.isfinite(entry.values)]
        last = written(float(known[-1]), unit, 3) if len(known) else "-"
        figure.text(right / width, y / height, last, fontsize=_SIZE, va="center", ha="right", color=INK)


def _write(figure: Figure, entry: Entry, x: float, y: float) -> None:
    width, height = figure.get_size_inches()
    figure.add_artist(
        Line2D(
            [x / width, (x + _MARK - 0.05) / width],
            [y / height] * 2,
            color=entry.colour,
            linewidth=1.6,
            linestyle=(0, (2, 1)) if entry.dashed else "-",
        )
    )
    figure.text((x + _MARK) / width, y / height, entry.name, fontsize=_SIZE, va="center", color=INK)
