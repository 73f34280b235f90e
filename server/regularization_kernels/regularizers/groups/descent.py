"""Bounds that descend onto the mean of what is below them: how thresholds of groups are found without a sort.

A bound is lowered to a mean of the values below it until those stay the same. The mean is one in which a
value above the mean raises it: so the bound falls onto the one bound that is the mean of exactly those below
it, after a few rounds (Michelot 1986), of fewer and fewer values. NumPy takes all groups at once, a compiled
loop one after the other: the same rounds in the same order, so the same bits.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np

from ...arrays import Float64Array
from ...compilation import ANY
from ...interruption import go_on
from .measures import Term, sum_function
from .partitions import Partition, RaggedRuns

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
    bounds, values = bounds.copy(), partition.gathered(values)
    sizes = partition.sizes()
    live = np.flatnonzero(sizes)
    known = np.full(live.size, -1)
    sizes = sizes[live]
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
    return bounds


@cache
def descent_function(mean: Mean) -> Any:
    """A compiled function: the same of one group, from its values, which are used up, count, and bound."""
    import numba

    inlined: Any = numba.njit(error_model="numpy", forceinline=True)
    total, mean_of, kept = sum_function(Term.ITSELF), inlined(mean), inlined(_kept)

    def descend(values: ANY, count: int, bound: float, parameter: float) -> float:
        known, inside = -1, kept(values, count, bound)
        while inside > 0 and inside != known:
            lower = mean_of(total(values, 0, inside), inside, parameter)
            bound = lower if lower < bound else bound
            known = inside
            inside = kept(values, inside, bound)
        return bound

    return inlined(descend)


def _kept(values: ANY, count: int, bound: float) -> int:
    """Moves what is below a bound to the front, and says how many those are."""
    inside = 0
    for j in range(count):
        value = values[j]
        values[inside] = value
        inside += value < bound
    return inside
