"""Numbers as Grafana writes them in a unit, and ticks that are round in it."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from matplotlib.ticker import FixedLocator, FuncFormatter, Locator, MaxNLocator


class _Unit(NamedTuple):
    """How a unit is written.

    Attributes:
        base: From one prefix to the next.
        suffixes: What stands behind a number, by the power of the base.
        lowest: The power of the first suffix.
    """

    base: float
    suffixes: tuple[str, ...]
    lowest: int = 0


_UNITS = {
    "short": _Unit(1000, ("", " K", " Mil", " Bil")),
    "reqps": _Unit(1000, (" req/s", "K req/s")),
    "s": _Unit(1000, (" µs", " ms", " s"), -2),
    "bytes": _Unit(1024, (" B", " KiB", " MiB", " GiB", " TiB")),
    "Bps": _Unit(1000, (" B/s", " kB/s", " MB/s", " GB/s")),
}


def written(value: float, unit: str, digits: int = 4) -> str:
    """A number in a unit, in so many digits.

    Raises:
        KeyError: If the unit is not known here.
    """
    if unit == "percentunit":
        return f"{100 * value:.{digits}g}%"
    base, suffixes, lowest = _UNITS[unit]
    if value == 0:
        return f"0{suffixes[-lowest]}"
    power = math.floor(math.log(abs(value), base) + 1e-9)
    power = min(max(power, lowest), lowest + len(suffixes) - 1)
    return f"{value / base**power:.{digits}g}{suffixes[power - lowest]}"


def formatter(unit: str) -> FuncFormatter:
    """Writes an axis' numbers."""
    return FuncFormatter(lambda value, _: written(value, unit))


def ticks(unit: str, top: float, *, whole: bool = False) -> Locator:
    """Ticks of an axis from 0 to a top, at whole numbers alone if so asked."""
    if unit != "bytes" or top <= 0:
        return MaxNLocator(4, steps=[1, 2, 2.5, 5, 10], integer=whole)
    step = 2.0 ** math.ceil(math.log2(top / 5))
    return FixedLocator(list(np.arange(0, top + step, step)))


def logarithmic_ticks(least: float, top: float, base: float) -> Locator:
    """At most six ticks of an axis that is logarithmic from ``least`` on: 0, that, and powers above it."""
    powers = max(math.floor(math.log(top / least, base)), 0) if top > least else 0
    apart = math.ceil((powers + 1) / 5)
    return FixedLocator([0.0, *(least * base**power for power in range(0, powers + 1, apart))])
