"""Bounds that descend onto the mean of what is below them: how thresholds of groups are found without a sort.

A bound is lowered to a mean of the values below it until it is lowered no more. The mean is one in which a
value above the mean raises it: so the bound falls onto the one bound that is the mean of exactly those below
it, after a few rounds, which are Newton's steps (Michelot 1986). Of a group of at most ``SHORT`` elements the
values that are not below count as 0 in the sum; of longer ones they are left out of it and of the rounds to
come. NumPy takes all groups at once, and a compiled loop short groups of one size side by side, others one
after the other: the same rounds in the same order, so the same bits.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt

from ...arrays import Float64Array
from ...compilation import ANY
from ...interruption import go_on
from .eights import EIGHT, Term
from .measures import sum_function
from .partitions import Partition, RaggedRuns

SHORT = 64
"""Elements of a group up to which it takes longer to leave values out than to add zeros."""

Mean = Callable[[Any, Any, Any], Any]
"""From the sum of values, how many they are, and the group's parameter: the mean, of one group or of many."""


def descended(
    partition: Partition, values: Float64Array, bounds: Float64Array, mean: Mean, parameters: Float64Array
) -> Float64Array:
    """Each group's bound, lowered until it is the mean of the values below it.

    Args:
        partition: The groups.
        values: The elements' values.
        bounds: Of each group, not below the bound that is looked for.
        mean: What is looked for.
        parameters: What the mean takes of each group.
    """
    bounds, values, sizes = bounds.copy(), partition.gathered(values), partition.sizes()
    starts = np.cumsum(sizes) - sizes
    long = sizes > SHORT
    if long.any():
        members = np.flatnonzero(long)
        of_long = values if members.size == sizes.size else values[np.repeat(long, sizes)]
        _descend_leaving_out(of_long, sizes[members], members, bounds, mean, parameters)
    for size in np.unique(sizes[~long & (sizes > 0)]):
        members = np.flatnonzero(sizes == size)
        if members.size == sizes.size:
            rows = values.reshape(-1, size)
        else:
            rows = values[starts[members, np.newaxis] + np.arange(size)]
        _descend_in_rows(rows, members, bounds, mean, parameters)
    return bounds


def _descend_in_rows(
    rows: Float64Array,
    live: npt.NDArray[np.int64],
    bounds: Float64Array,
    mean: Mean,
    parameters: Float64Array,
) -> None:
    """Lower the bounds of groups that are as long as each other."""
    while live.size:
        go_on()
        inside = rows < bounds[live, np.newaxis]
        counts = np.add.reduce(inside, axis=1, dtype=np.int64)
        sums = np.add.reduce(np.where(inside, rows, 0.0), axis=1)
        with np.errstate(divide="ignore", invalid="ignore"):  # of no values there is no mean
            lower = mean(sums, counts, parameters[live])
        moves = (counts > 0) & (lower < bounds[live])
        rows, live = rows[moves], live[moves]
        bounds[live] = lower[moves]


def _descend_leaving_out(
    values: Float64Array,
    sizes: npt.NDArray[np.int64],
    live: npt.NDArray[np.int64],
    bounds: Float64Array,
    mean: Mean,
    parameters: Float64Array,
) -> None:
    """Lower the bounds of groups of any sizes, whose values come one group after the other."""
    known = np.full(live.size, -1)
    while live.size:
        go_on()
        inside = values < np.repeat(bounds[live], sizes)
        starts = np.cumsum(sizes) - sizes
        counts = np.add.reduceat(inside, starts, dtype=np.int64)
        moves = (counts > 0) & (counts != known)
        inside &= np.repeat(moves, sizes)
        values, live, sizes = values[inside], live[moves], counts[moves]
        known = sizes
        if live.size:
            runs = RaggedRuns(np.concatenate(([0], np.cumsum(sizes))))
            bounds[live] = np.minimum(bounds[live], mean(runs.sums(values), sizes, parameters[live]))


@cache
def descent_function(mean: Mean) -> Any:
    """A compiled function: the same of one group, from its values, which are used up, count, and bound."""
    import numba

    inlined: Any = numba.njit(error_model="numpy", forceinline=True)
    total, mean_of, kept = sum_function(Term.ITSELF), inlined(mean), inlined(_kept)

    def descend_short(values: ANY, count: int, bound: float, parameter: float) -> float:
        below = np.empty(SHORT)
        while True:
            inside = 0
            for j in range(count):
                is_below = values[j] < bound
                below[j] = values[j] if is_below else 0.0
                inside += is_below
            lower = mean_of(total(below, 0, count), inside, parameter)
            if inside == 0 or not lower < bound:
                return bound
            bound = lower

    short = numba.njit(error_model="numpy")(descend_short)

    def descend(values: ANY, count: int, bound: float, parameter: float) -> float:
        if count <= SHORT:
            return float(short(values, count, bound, parameter))
        known, inside = -1, kept(values, count, bound)
        while inside > 0 and inside != known:
            lower = mean_of(total(values, 0, inside), inside, parameter)
            bound = lower if lower < bound else bound
            known = inside
            inside = kept(values, inside, bound)
        return float(bound)

    return numba.njit(error_model="numpy")(descend)


def _kept(values: ANY, count: int, bound: float) -> int:
    """Moves what is below a bound to the front, and says how many those are."""
    inside = 0
    for j in range(count):
        value = values[j]
        values[inside] = value
        inside += value < bound
    return inside


@cache
def descent_side_by_side_function(mean: Mean) -> Any:
    """A compiled function: the same of short groups of one size, whose values lie side by side.

    From values ``(size * groups,)``, first the groups' first ones; size; bounds, which are lowered in their
    place; parameters; and scratch for ten numbers of each group.
    """
    import numba

    jit: Any = numba.njit(error_model="numpy")
    mean_of, sums_below = numba.njit(error_model="numpy", forceinline=True)(mean), jit(_sums_below)

    def descend(values: ANY, size: int, bounds: ANY, parameters: ANY, scratch: ANY) -> None:
        groups = bounds.size
        sums, counts = scratch[:groups], scratch[groups : 2 * groups]
        moved = 1
        while moved > 0:
            sums_below(values, size, bounds, sums, counts, scratch[2 * groups :])
            moved = 0
            for k in range(groups):
                lower = mean_of(sums[k], counts[k], parameters[k])
                moves = counts[k] > 0.0 and lower < bounds[k]
                bounds[k] = lower if moves else bounds[k]
                moved += moves

    return jit(descend)


def _sums_below(values: ANY, size: int, bounds: ANY, sums: ANY, counts: ANY, lanes: ANY) -> None:
    """Adds the values below each group's bound by the rule of sums, and counts them."""
    groups = bounds.size
    whole = size - size % EIGHT
    for k in range(groups):
        sums[k], counts[k] = -0.0, 0.0
    if whole > 0:
        for i in range(EIGHT):
            row, lane = values[i * groups : (i + 1) * groups], lanes[i * groups : (i + 1) * groups]
            for k in range(groups):
                below = row[k] < bounds[k]
                lane[k] = row[k] if below else 0.0
                counts[k] += 1.0 if below else 0.0
        for i in range(EIGHT, whole):
            at = i % EIGHT * groups
            row, lane = values[i * groups : (i + 1) * groups], lanes[at : at + groups]
            for k in range(groups):
                below = row[k] < bounds[k]
                lane[k] += row[k] if below else 0.0
                counts[k] += 1.0 if below else 0.0
        for k in range(groups):
            front = (lanes[k] + lanes[groups + k]) + (lanes[2 * groups + k] + lanes[3 * groups + k])
            back = (lanes[4 * groups + k] + lanes[5 * groups + k]) + (
                lanes[6 * groups + k] + lanes[7 * groups + k]
            )
            sums[k] = front + back
    for i in range(whole, size):
        row = values[i * groups : (i + 1) * groups]
        for k in range(groups):
            below = row[k] < bounds[k]
            sums[k] += row[k] if below else 0.0
            counts[k] += 1.0 if below else 0.0


@cache
def side_by_side_function() -> Any:
    """A compiled function: whether a tile's groups are short, of one size, and enough for it to pay."""
    import numba

    def fits(ends: ANY) -> bool:
        groups, others = ends.size - 1, 0
        size = ends[1] - ends[0]
        for k in range(groups):
            others += ends[k + 1] - ends[k] != size
        return bool(others == 0 and size <= SHORT and groups >= EIGHT)

    return numba.njit(fits)
