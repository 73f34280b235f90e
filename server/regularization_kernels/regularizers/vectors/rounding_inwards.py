"""Rounding that stays inside a set: which of its two neighbours each element of a point becomes.

The exact point is in the set, or as near to it as float64 tells. Of a ball, so is every point between it and
the origin; so rounding away from 0 alone can leave it, and is taken back where it moved elements by most, no
more often than it takes. Of a simplex, every element is rounded down, and as many are raised as the sum
lacks, those with the largest remainders (Hamilton's apportionment). Either way an element is one of the two
numbers beside the exact one.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from ...reductions.thresholds import total

if TYPE_CHECKING:
    from ...arrays import Float64Array
    from ...formats import Grid

Places = npt.NDArray[np.int64]

_ROUNDS = 4
"""The first is enough but for what sums of costs are off by; in the last, the rest is rounded down."""


def lowered(
    exact: Float64Array,
    numbers: Float64Array,
    grid: Grid,
    costs: Callable[[Float64Array, Places], Float64Array],
    excess: Callable[[Float64Array], Float64Array],
    groups: Places | None = None,
) -> Float64Array:
    """Numbers inside balls, one ball for each group: those given, with some taken back towards the origin.

    Args:
        exact: The point before it was rounded, inside.
        numbers: What it was rounded to: each element one of the two numbers beside the exact one.
        grid: The data type's numbers.
        costs: What points at places add to their group's size; it grows with their magnitudes.
        excess: By how much each group's size is too large, from all points; at most 0 where it is inside.
        groups: The group of each element; None where there is one for all.

    Returns:
        A flat array.
    """
    exact, numbers, grid = exact.reshape(-1), numbers.reshape(-1).copy(), grid.flat()
    for last in range(_ROUNDS):
        points = grid.points(numbers)
        over = excess(points)
        if not np.any(over > 0):
            break
        raised = np.flatnonzero(np.abs(points) > np.abs(exact))
        if groups is not None:
            raised = raised[over[groups[raised]] > 0]
        above, part = points[raised], grid.part(raised)
        lower = part.neighbours(numbers[raised], above < 0)
        if last < _ROUNDS - 1:
            below = part.points(lower)
            moved = (np.abs(above) - np.abs(exact[raised])) / (np.abs(above) - np.abs(below))
            gains = costs(above, raised) - costs(below, raised)
            of = np.zeros(raised.size, np.int64) if groups is None else groups[raised]
            chosen = _enough(moved, gains, of, over)
            raised, lower = raised[chosen], lower[chosen]
        numbers[raised] = lower
    return numbers


def _enough(moved: Float64Array, gains: Float64Array, groups: Places, needed: Float64Array) -> Places:
    """Of each group those that were moved by most, as many as have the gains that are needed."""
    order = np.lexsort((-moved, groups))
    own = groups[order]
    before = np.cumsum(gains[order]) - gains[order]
    begins = np.flatnonzero(np.diff(own, prepend=-1))
    before -= np.repeat(before[begins], np.diff(begins, append=own.size))
    enough: Places = order[before < needed[own]]
    return enough


def apportioned(exact: Float64Array, radius: float, grid: Grid) -> Float64Array:
    """Numbers whose points are not negative and add up to the radius, wherever the data type allows that.

    Where neighbours are equally far apart everywhere, every element is one of the two numbers beside the
    exact one. Where their distance grows with the numbers, the sum may take elements that are multiples of
    the largest one's distance.

    Args:
        exact: Not negative, adding up to the radius but for float64's errors.
        radius: A sum of numbers of the data type.
        grid: The data type's numbers.

    Returns:
        A flat array.
    """
    exact, grid = exact.reshape(-1), grid.flat()
    lower = grid.below(exact)
    units = grid.neighbours(lower, np.ones(lower.shape, np.bool_)) - lower
    numbers, lack = _raised(exact, lower, np.where(exact > 0, units, 0.0), radius, grid)
    if lack and grid.reference is None:
        # Multiples of the largest distance are numbers of the data type, too, and add up to the radius.
        unit = float(np.max(units))
        lower = np.minimum(np.floor(exact / unit) * unit, lower)
        units = np.where(lower + unit <= grid.finite(lower + unit), unit, 0.0)
        numbers, lack = _raised(exact, lower, np.where(exact > 0, units, 0.0), radius, grid)
    if lack:
        # What the largest number of the data type leaves over goes to elements that were 0.
        numbers, _ = _raised(exact, lower, units, radius, grid)
    return numbers


def _raised(
    exact: Float64Array, lower: Float64Array, units: Float64Array, radius: float, grid: Grid
) -> tuple[Float64Array, float]:
    """The numbers, some of them one unit higher, and what their sum still lacks.

    Larger units come first: of them, as many as their remainders add up to, but so few that no more than is
    lacking is given out, and so many that the smaller units can make up for the rest.
    """
    points = grid.points(lower)
    lack = radius - total(points)
    places = np.flatnonzero(units)
    units = units[places]
    remainders = (exact[places] - points[places]) / units
    order = np.lexsort((-remainders, -units))
    places, units, remainders = places[order], units[order], remainders[order]
    levels = np.flatnonzero(np.diff(units, prepend=0.0))
    counts = np.diff(levels, append=units.size)
    numbers = lower.copy()
    smaller = float(np.sum(units))
    for begin, count in zip(levels.tolist(), counts.tolist(), strict=True):
        unit = float(units[begin])
        smaller -= unit * count
        wanted = round(_between(float(np.sum(remainders[begin : begin + count])), count))
        most = math.floor(_between(lack / unit + 1e-6, count))
        least = math.ceil(_between((lack - smaller) / unit - 1e-6, count))
        taken = min(max(wanted, least), most)
        numbers[places[begin : begin + taken]] += unit
        lack -= taken * unit
    return numbers, lack if abs(lack) > 2.0 * np.finfo(np.float64).eps * radius else 0.0


def _between(number: float, count: int) -> float:
    """The number, or the nearer of 0 and a count: beside huge units, quotients by tiny ones are infinite."""
    return 0.0 if math.isnan(number) else min(max(number, 0.0), float(count))
