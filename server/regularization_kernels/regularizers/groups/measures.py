"""What a group's term is made of: its norm, its sum of magnitudes, its peak; of NumPy and of compiled loops.

Both have the same bits: compiled sums are those of ``Partition.sums``.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np

from ...arrays import Float64Array
from ...compilation import ANY
from .eights import EIGHT, Term, fold_eight_function, fold_function
from .partitions import NORM_SQUARED_SAFE, Partition

LONGEST_RUN = 128
"""Terms of a pairwise sum that are not cut in halves."""
_LOW, _HIGH = NORM_SQUARED_SAFE


@dataclass(frozen=True, slots=True)
class Measure:
    """A number of each group, from its elements. Both are functions of a module, which have a name there."""

    of_groups: Callable[[Partition, Float64Array], Float64Array]
    """From a partition and its elements: each group's, ``(count,)``."""
    function: Callable[[], Any]
    """Makes a compiled function: writes each group's, as ``norms_function`` does."""


@cache
def of_groups_function(term: Term) -> Any:
    """A compiled function: writes what the terms of each group of ``values`` are together.

    ``ends`` has where each group begins, and where the last ends; the first stands for the first value.
    """
    import numba

    eight_groups, run, halves = fold_eight_function(term), run_function(term), halves_function(term)

    def of_groups(values: ANY, ends: ANY, out: ANY) -> None:
        groups, start = ends.size - 1, ends[0]
        if groups == 0:
            return
        size, others, longer, done = ends[1] - start, 0, 0, 0
        for k in range(groups):
            others += ends[k + 1] - ends[k] != size
            longer += ends[k + 1] - ends[k] > LONGEST_RUN
        # What calls itself is not put in line, which short groups would pay for.
        if longer > 0:
            for k in range(groups):
                out[k] = halves(values, ends[k] - start, ends[k + 1] - ends[k])
            return
        if others == 0 and size % EIGHT == 0:
            while done + EIGHT <= groups:
                eight_groups(values, done * size, size, out, done)
                done += EIGHT
        for k in range(done, groups):
            out[k] = run(values, ends[k] - start, ends[k + 1] - ends[k])

    return numba.njit(error_model="numpy")(of_groups)


@cache
def norms_function() -> Any:
    """A compiled function: writes the norms of the groups of ``values``."""
    import numba

    jit: Any = numba.njit(error_model="numpy")
    squares_of, scaled_norm = of_groups_function(Term.SQUARE), _scaled_norm_function()

    def norms(values: ANY, ends: ANY, out: ANY) -> None:
        groups, start, unsafe = ends.size - 1, ends[0], 0
        squares_of(values, ends, out)
        for k in range(groups):
            unsafe += not (_LOW < out[k] < _HIGH)
        if unsafe == 0:
            for k in range(groups):
                out[k] = np.sqrt(out[k])
        else:
            for k in range(groups):
                if _LOW < out[k] < _HIGH:
                    out[k] = np.sqrt(out[k])
                else:
                    out[k] = scaled_norm(values, ends[k] - start, ends[k + 1] - start)

    return jit(norms)


@cache
def _scaled_norm_function() -> Any:
    """A compiled function: the norm of ``values[begin:end]`` whose squares are too large or too small."""
    import numba

    jit: Any = numba.njit(error_model="numpy")
    halves = halves_function(Term.SQUARE)

    def scaled_norm(values: ANY, begin: int, end: int) -> float:
        nonzeros = 0
        for j in range(begin, end):
            nonzeros += values[j] != 0.0
        if nonzeros == 0:
            return 0.0
        largest = 0.0
        for j in range(begin, end):
            magnitude = abs(values[j])
            if magnitude > largest or magnitude != magnitude:
                largest = magnitude
        divisor = largest if largest > 0.0 and np.isfinite(largest) else 1.0
        scaled = np.empty(end - begin)
        for j in range(begin, end):
            scaled[j - begin] = values[j] / divisor
        return float(np.sqrt(halves(scaled, 0, end - begin)) * divisor)

    return jit(scaled_norm)


@cache
def sum_function(term: Term) -> Any:
    """A compiled function: the pairwise sum of the terms of ``count`` values from ``begin`` on."""
    import numba

    run, halves = run_function(term), halves_function(term)

    def sum_of(values: ANY, begin: int, count: int) -> float:
        # What calls itself is not put in line, which short groups would pay for.
        return float(run(values, begin, count) if count <= LONGEST_RUN else halves(values, begin, count))

    return numba.njit(error_model="numpy", forceinline=True)(sum_of)


@cache
def halves_function(term: Term) -> Any:
    """A compiled function: the same, where there may be too many to be added in one run."""
    import numba

    run = run_function(term)

    def halves(values: ANY, begin: int, count: int) -> float:
        if count <= LONGEST_RUN:
            return float(run(values, begin, count))
        half = count // 2
        half -= half % EIGHT
        return halves(values, begin, half) + halves(values, begin + half, count - half)

    halves = numba.njit(error_model="numpy")(halves)
    return halves


@cache
def run_function(term: Term) -> Any:
    """A compiled function: the same, of as many as are not cut in halves."""
    import numba

    jit: Any = numba.njit(error_model="numpy", forceinline=True)
    by_eights, one = fold_function(term), jit(_SCALARS[term])

    def run(values: ANY, begin: int, count: int) -> float:
        if count < EIGHT:
            total = -0.0
            for j in range(begin, begin + count):
                total += one(values[j])
            return float(total)
        whole = count - count % EIGHT
        total = by_eights(values, begin, begin + whole)
        for j in range(begin + whole, begin + count):
            total += one(values[j])
        return float(total)

    return jit(run)


def _square(x: float) -> float:
    return x * x


def _magnitude(x: float) -> float:
    return abs(x)


def _itself(x: float) -> float:
    return x


def _nonzero(x: float) -> float:
    return 0.0 if x == 0.0 else 1.0 if x == x else np.nan


_SCALARS = {
    Term.SQUARE: _square,
    Term.MAGNITUDE: _magnitude,
    Term.ITSELF: _itself,
    Term.NONZERO: _nonzero,
}


@cache
def peak_function() -> Any:
    """A compiled function: the largest magnitude of ``count`` values from ``begin`` on; NaN beside NaN."""
    import numba

    by_eights = fold_function(Term.PEAK)

    def peak(values: ANY, begin: int, count: int) -> float:
        whole = count - count % EIGHT
        largest = by_eights(values, begin, begin + whole) if whole > 0 else 0.0
        for j in range(begin + whole, begin + count):
            magnitude = abs(values[j])
            largest = magnitude if magnitude > largest or magnitude != magnitude else largest
        return float(largest)

    return numba.njit(error_model="numpy", forceinline=True)(peak)


@cache
def peaks_function() -> Any:
    """A compiled function: writes the largest magnitude of each group."""
    import numba

    eight_groups, peak = fold_eight_function(Term.PEAK), peak_function()

    def peaks(values: ANY, ends: ANY, out: ANY) -> None:
        groups, start = ends.size - 1, ends[0]
        size, others, done = (ends[1] - start if groups else 0), 0, 0
        for k in range(groups):
            others += ends[k + 1] - ends[k] != size
        if others == 0 and size % EIGHT == 0:
            while done + EIGHT <= groups:
                eight_groups(values, done * size, size, out, done)
                done += EIGHT
        for k in range(done, groups):
            out[k] = peak(values, ends[k] - start, ends[k + 1] - ends[k])

    return numba.njit(error_model="numpy")(peaks)


@cache
def _magnitudes_function() -> Any:
    return of_groups_function(Term.MAGNITUDE)


def _norms(partition: Partition, x: Float64Array) -> Float64Array:
    return partition.norms(x)


def _peaks(partition: Partition, x: Float64Array) -> Float64Array:
    return partition.maxima(np.abs(x))


def _magnitudes(partition: Partition, x: Float64Array) -> Float64Array:
    return partition.sums(np.abs(x))


NORM = Measure(_norms, norms_function)
PEAK = Measure(_peaks, peaks_function)
MAGNITUDE = Measure(_magnitudes, _magnitudes_function)
