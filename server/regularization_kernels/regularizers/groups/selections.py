"""What compiled loops do with a group whose elements are told apart by their magnitudes.

The same rounds as ``group_norms.lowered``, in the same order, one group after the other: the same bits.
"""

from __future__ import annotations

from enum import Enum
from functools import cache
from typing import Any

import numpy as np

from ...compilation import ANY
from .sums import Term, norms_function, sum_function


class Measure(Enum):
    """What of a group its term is made of."""

    NORM = "norm"
    PEAK = "peak"
    MAGNITUDE = "magnitude"
    NONZEROS = "nonzeros"


class Selection(Enum):
    """What a step does with a group, where it does more than multiply it."""

    CLIP_PEAKS = "clip_peaks"
    SUBTRACT_SHARE = "subtract_share"
    KEEP_LARGEST = "keep_largest"


@cache
def measure_function(measure: Measure) -> Any:
    """A compiled function: writes what ``measure`` says of each group, as ``norms_function`` does."""
    import numba

    if measure is Measure.NORM:
        return norms_function()
    of_group: Any = sum_function(Term.MAGNITUDE)
    if measure is not Measure.MAGNITUDE:
        of_group = _peak_function() if measure is Measure.PEAK else _nonzeros_function()

    def measured(values: ANY, ends: ANY, out: ANY) -> None:
        for k in range(ends.size - 1):
            out[k] = of_group(values, ends[k] - ends[0], ends[k + 1] - ends[k])

    return numba.njit(error_model="numpy")(measured)


@cache
def selection_function(selection: Selection) -> Any:
    """A compiled function: writes the groups' new elements.

    It takes values, new elements, the groups' ends and weights, scratch for as many values, the step size,
    and the regularizer's parameters.
    """
    import numba

    function = {
        Selection.CLIP_PEAKS: _clip_peaks,
        Selection.SUBTRACT_SHARE: _subtract_share,
        Selection.KEEP_LARGEST: _keep_largest,
    }[selection]()
    return numba.njit(error_model="numpy")(function)


@cache
def _peak_function() -> Any:
    import numba

    def peak(values: ANY, begin: int, count: int) -> float:
        largest, odd = 0.0, 0
        for j in range(begin, begin + count):
            magnitude = abs(values[j])
            odd += magnitude != magnitude
            largest = magnitude if magnitude > largest else largest
        return float(np.nan if odd else largest)

    return numba.njit(error_model="numpy", forceinline=True)(peak)


@cache
def _nonzeros_function() -> Any:
    import numba

    def nonzeros(values: ANY, begin: int, count: int) -> float:
        """How many are not 0; NaN where one is NaN."""
        some = odd = 0
        for j in range(begin, begin + count):
            some += values[j] != 0.0
            odd += values[j] != values[j]
        return float(np.nan if odd else float(some))

    return numba.njit(error_model="numpy", forceinline=True)(nonzeros)


@cache
def _kept_function() -> Any:
    """A compiled function: moves what is below a bound to the front, and says how many those are."""
    import numba

    def kept(scratch: ANY, count: int, bound: float) -> int:
        inside = 0
        for j in range(count):
            value = scratch[j]
            scratch[inside] = value
            inside += value < bound
        return inside

    return numba.njit(error_model="numpy", forceinline=True)(kept)


def _clip_peaks() -> Any:
    peak, kept, total = _peak_function(), _kept_function(), sum_function(Term.ITSELF)

    def clip_peaks(
        values: ANY, new: ANY, ends: ANY, weights: ANY, scratch: ANY, step_size: float, parameters: Any
    ) -> None:
        for k in range(weights.size):
            begin, count = ends[k] - ends[0], ends[k + 1] - ends[k]
            radius = step_size * parameters[0] * weights[k]
            largest = peak(values, begin, count)
            for j in range(count):
                scratch[j] = largest - abs(values[begin + j])
            depth, known = radius, -1
            inside = kept(scratch, count, depth)
            while inside > 0 and inside != known:
                mean = (radius + total(scratch, 0, inside)) / inside
                depth = mean if mean < depth else depth
                known = inside
                inside = kept(scratch, inside, depth)
            ceiling = max(largest - depth, 0.0) if np.isfinite(largest) else np.nan
            for j in range(begin, begin + count):
                magnitude = abs(values[j])
                below = magnitude if magnitude < ceiling else ceiling
                new[j] = np.copysign(below, values[j]) + 0.0

    return clip_peaks


def _subtract_share() -> Any:
    peak, kept, total = _peak_function(), _kept_function(), sum_function(Term.ITSELF)

    def subtract_share(
        values: ANY, new: ANY, ends: ANY, weights: ANY, scratch: ANY, step_size: float, parameters: Any
    ) -> None:
        for k in range(weights.size):
            begin, count = ends[k] - ends[0], ends[k + 1] - ends[k]
            strength = step_size * parameters[0] * weights[k]
            for j in range(count):
                scratch[j] = -abs(values[begin + j])
            bound, known = 0.0, -1
            inside = kept(scratch, count, bound)
            while inside > 0 and inside != known:
                mean = strength * total(scratch, 0, inside) / (1.0 + inside * strength)
                bound = mean if mean < bound else bound
                known = inside
                inside = kept(scratch, inside, bound)
            threshold = -bound if np.isfinite(peak(values, begin, count)) else np.nan
            for j in range(begin, begin + count):
                magnitude = abs(values[j])
                share = magnitude if magnitude < threshold else threshold
                new[j] = values[j] - np.copysign(share, values[j])

    return subtract_share


def _keep_largest() -> Any:
    import numba

    four = numba.njit(error_model="numpy", forceinline=True)(_keep_of_four)

    def keep_largest(
        values: ANY, new: ANY, ends: ANY, weights: ANY, scratch: ANY, step_size: float, parameters: Any
    ) -> None:
        kept, odd = parameters[0], 0
        for j in range(values.size):
            odd += not np.isfinite(values[j])
        for k in range(weights.size):
            begin, count = ends[k] - ends[0], ends[k + 1] - ends[k]
            if count == 4:
                four(values, new, begin, kept)
                continue
            before = scratch[:count]
            before[:] = 0.0
            for i in range(count):
                magnitude, larger = abs(values[begin + i]), 0.0
                for j in range(i + 1, count):
                    # Of equal ones the first stays.
                    beats = 1.0 if abs(values[begin + j]) > magnitude else 0.0
                    larger += beats
                    before[j] += 1.0 - beats
                before[i] += larger
            for j in range(count):
                new[begin + j] = values[begin + j] if before[j] < kept else 0.0
        if odd:
            for k in range(weights.size):
                begin, end = ends[k] - ends[0], ends[k + 1] - ends[0]
                unknown = infinite = some = 0
                for j in range(begin, end):
                    unknown += values[j] != values[j]
                    infinite += np.isinf(values[j])
                    some += values[j] != 0.0
                if unknown > 0 or (infinite > 0 and some > kept):
                    new[begin:end] = np.nan

    return keep_largest


def _keep_of_four(values: ANY, new: ANY, begin: int, kept: float) -> None:
    """Each of the six pairs is compared once: of equal ones the first stays."""
    a, b, c, d = values[begin], values[begin + 1], values[begin + 2], values[begin + 3]
    u, v, w, x = abs(a), abs(b), abs(c), abs(d)
    vu, wu, xu, wv, xv, xw = int(v > u), int(w > u), int(x > u), int(w > v), int(x > v), int(x > w)
    new[begin] = a if vu + wu + xu < kept else 0.0
    new[begin + 1] = b if 1 - vu + wv + xv < kept else 0.0
    new[begin + 2] = c if 2 - wu - wv + xw < kept else 0.0
    new[begin + 3] = d if 3 - xu - xv - xw < kept else 0.0
