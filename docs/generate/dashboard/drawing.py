"""Draws panels in the dashboard's grid."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator

from docs.generate.dashboard import legends
from docs.generate.dashboard.grafana import Panel
from docs.generate.dashboard.legends import LINE, Entry
from docs.generate.dashboard.units import formatter, logarithmic_ticks, ticks
from docs.generate.style import FAINT, INK, PALE

COLUMNS = 24
INCHES = 0.56, 0.285
"""Width and height of a cell of the grid."""

# The first six are of Okabe and Ito, which colour-blind people can tell apart.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#8A6D3B", "#22272E")

_HEAD, _TITLE, _NUMBERS, _CLOCK = 0.4, 0.33, 0.54, 0.24
_BESIDE = 2.0

Array = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Drawn:
    """A series as it is drawn.

    Attributes:
        name: What it is called.
        values: Its values at the times; NaN where it has none.
    """

    name: str
    values: Array


@dataclass(frozen=True)
class _Box:
    """A place in the figure, in inches from its lower left."""

    left: float
    bottom: float
    right: float
    top: float


def draw(title: str, panels: Sequence[tuple[Panel, Sequence[Drawn]]], times: Array) -> Figure:
    """Draw a dashboard.

    Args:
        title: What stands above it.
        panels: Each with its series.
        times: Seconds since 1970 of all values, evenly apart.

    Returns:
        The figure.
    """
    rows = max(panel.place[1] + panel.place[3] for panel, _ in panels)
    height = rows * INCHES[1] + _HEAD
    figure = Figure(figsize=(COLUMNS * INCHES[0], height))
    figure.text(0.1 / (COLUMNS * INCHES[0]), 1 - 0.2 / height, title, fontsize=8, va="center", color=FAINT)
    for panel, series in panels:
        x, y, width, tall = panel.place
        top = (rows - y) * INCHES[1]
        box = _Box(x * INCHES[0] + 0.1, top - tall * INCHES[1], (x + width) * INCHES[0] - 0.1, top)
        _write_title(figure, panel, box)
        if not panel.is_row:
            _draw_panel(figure, panel, series, times, box)
    return figure


def _write_title(figure: Figure, panel: Panel, box: _Box) -> None:
    width, height = figure.get_size_inches()
    size = 11.5 if panel.is_row else 8.5
    title = f"⌄ {panel.title}" if panel.is_row else panel.title
    place = box.left / width, (box.top - 0.18) / height
    figure.text(*place, title, fontsize=size, fontweight="bold", va="center", color=INK)


def _draw_panel(figure: Figure, panel: Panel, series: Sequence[Drawn], times: Array, box: _Box) -> None:
    entries = [_entry(panel, each, index) for index, each in enumerate(series)]
    plot = _Box(box.left + _NUMBERS, box.bottom + _CLOCK + 0.1, box.right, box.top - _TITLE)
    if panel.has_table:
        plot = _Box(plot.left, plot.bottom, plot.right - _BESIDE, plot.top)
        unit = panel.defaults["unit"]
        legends.write_beside(figure, entries, plot.right + 0.15, box.right, box.top - _TITLE, unit)
    else:
        flowing = legends.lines(entries, box.right - box.left)
        plot = _Box(plot.left, plot.bottom + LINE * len(flowing), plot.right, plot.top)
        legends.write_beneath(figure, flowing, box.left, plot.bottom - _CLOCK)
    _fill(_axes(figure, plot), panel, entries, times)


def _entry(panel: Panel, series: Drawn, index: int) -> Entry:
    look = panel.look(series.name)
    colour = look.get("color", {}).get("fixedColor") or COLOURS[index % len(COLOURS)]
    return Entry(series.name, colour, look.get("lineStyle", {}).get("fill") == "dash", series.values)


def _axes(figure: Figure, box: _Box) -> Axes:
    width, height = figure.get_size_inches()
    size = (box.right - box.left) / width, (box.top - box.bottom) / height
    axes = figure.add_axes((box.left / width, box.bottom / height, *size))
    axes.grid(color=PALE, linewidth=0.6)
    axes.set_axisbelow(True)
    axes.tick_params(which="both", labelsize=6.5, length=0, pad=3)
    for spine in axes.spines.values():
        spine.set_visible(False)
    return axes


def _fill(axes: Axes, panel: Panel, entries: Sequence[Entry], times: Array) -> None:
    below = np.zeros_like(times)
    for entry in entries:
        look = panel.look(entry.name)
        stacked = look.get("stacking", {}).get("mode") == "normal"
        values = below + np.nan_to_num(entry.values) if stacked else entry.values
        opacity, dashes = look["fillOpacity"] / 100, (0, (4, 3)) if entry.dashed else "-"
        axes.fill_between(times, below, values, color=entry.colour, alpha=opacity, linewidth=0, zorder=2)
        axes.plot(times, values, color=entry.colour, linewidth=1.1, linestyle=dashes, zorder=3)
        if stacked:
            below = values
    if not entries:
        axes.text(0.5, 0.5, "No data", transform=axes.transAxes, ha="center", color=FAINT)
    _scale(axes, panel)
    axes.set_xlim(times[0], times[-1])
    axes.xaxis.set_major_locator(MaxNLocator(4, steps=[1, 1.5, 2, 3, 6, 10]))
    axes.xaxis.set_major_formatter(
        FuncFormatter(lambda when, _: f"{datetime.fromtimestamp(when, UTC):%H:%M:%S}")
    )


def _scale(axes: Axes, panel: Panel) -> None:
    unit, scale = panel.defaults["unit"], panel.defaults["custom"].get("scaleDistribution", {})
    highest = max((float(np.nanmax(line.get_ydata(), initial=0)) for line in axes.lines), default=0.0)
    top = panel.defaults.get("max", 1.08 * highest or 1.0)
    if scale.get("type") == "symlog":
        least = scale["linearThreshold"]
        axes.set_yscale("symlog", base=scale["log"], linthresh=least)
        top *= scale["log"] ** 0.5
        axes.yaxis.set_major_locator(logarithmic_ticks(least, top, scale["log"]))
        axes.yaxis.set_minor_locator(logarithmic_ticks(least, 0.0, 2))
    else:
        axes.yaxis.set_major_locator(ticks(unit, top, whole=panel.defaults.get("decimals") == 0))
    axes.set_ylim(panel.defaults.get("min"), top)
    axes.yaxis.set_major_formatter(formatter(unit))
