"""What a group's term is made of: its norm, its sum of magnitudes, its peak; of NumPy and of compiled loops.

Both have the same bits: compiled sums are those of ``Partition.sums``. The compiler may not reorder
additions, and takes several at once only where it is told which: the eight accumulators of the rule of
summation are one vector here, in the compiler's own language.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from functools import cache
from typing import Any

import numpy as np

from ...arrays import Float64Array
from ...compilation import ANY
from .partitions import NORM_SQUARED_SAFE, Partition

_ACCUMULATORS = 8
LONGEST_RUN = 128
"""Terms of a pairwise sum that are not cut in halves."""
_LOW, _HIGH = NORM_SQUARED_SAFE


class Term(Enum):
    """What of each value is added."""

    SQUARE = "square"
    MAGNITUDE = "magnitude"
    ITSELF = "itself"


@dataclass(frozen=True, slots=True)
class Measure:
    """A number of each group, from its elements."""

    of_groups: Callable[[Partition, Float64Array], Float64Array]
    """From a partition and its elements: each group's, ``(count,)``."""
    function: Callable[[], Any]
    """Makes a compiled function: writes each group's, as ``norms_function`` does."""


def each_group(of_group: Any) -> Any:
    """A compiled function: writes what one gives for each group, from values, first place and count."""
    import numba

    def measured(values: ANY, ends: ANY, out: ANY) -> None:
        for k in range(ends.size - 1):
            out[k] = of_group(values, ends[k] - ends[0], ends[k + 1] - ends[k])

    return numba.njit(error_model="numpy")(measured)


@cache
def norms_function() -> Any:
    """A compiled function: writes the norms of the groups of ``values``.

    ``ends`` has where each group begins, and where the last ends; the first stands for the first value.
    """
    import numba

    jit: Any = numba.njit(error_model="numpy")
    run, halves = run_function(Term.SQUARE), halves_function(Term.SQUARE)
    scaled_norm = _scaled_norm_function()

    def norms(values: ANY, ends: ANY, out: ANY) -> None:
        groups, start = ends.size - 1, ends[0]
        longer = unsafe = 0
        for k in range(groups):
            longer += ends[k + 1] - ends[k] > LONGEST_RUN
        # What calls itself is not put in line, which short groups would pay for.
        if longer == 0:
            for k in range(groups):
                out[k] = run(values, ends[k] - start, ends[k + 1] - ends[k])
        else:
            for k in range(groups):
                out[k] = halves(values, ends[k] - start, ends[k + 1] - ends[k])
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
        half -= half % _ACCUMULATORS
        return halves(values, begin, half) + halves(values, begin + half, count - half)

    halves = numba.njit(error_model="numpy")(halves)
    return halves


@cache
def run_function(term: Term) -> Any:
    """A compiled function: the same, of as many as are not cut in halves."""
    import numba

    jit: Any = numba.njit(error_model="numpy", forceinline=True)
    by_eights, one = _by_eights(term), jit(_SCALARS[term])

    def run(values: ANY, begin: int, count: int) -> float:
        if count < _ACCUMULATORS:
            total = -0.0
            for j in range(begin, begin + count):
                total += one(values[j])
            return float(total)
        whole = count - count % _ACCUMULATORS
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


_SCALARS = {Term.SQUARE: _square, Term.MAGNITUDE: _magnitude, Term.ITSELF: _itself}


def _by_eights(term: Term) -> Any:
    """A compiled function: the sum of the terms of ``values[begin:end]``, which are a multiple of eight."""
    from llvmlite import ir  # type: ignore[import-untyped] # it has no types
    from numba import types
    from numba.core import cgutils
    from numba.extending import intrinsic

    tools: Any = cgutils
    eight = ir.VectorType(ir.DoubleType(), _ACCUMULATORS)
    word = ir.IntType(64)

    def halved(builder: Any, vector: Any) -> Any:
        """Neighbours added: 0 + 1, 2 + 3, …."""
        count = vector.type.count // 2

        def every_other(first: int) -> Any:
            places = [ir.IntType(32)(first + 2 * k) for k in range(count)]
            mask = ir.Constant(ir.VectorType(ir.IntType(32), count), places)
            return builder.shuffle_vector(vector, ir.Constant(vector.type, ir.Undefined), mask)

        return builder.fadd(every_other(0), every_other(1))

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        array, begin, end = arguments
        data = context.make_array(signature.args[0])(context, builder, array).data

        def terms(at: Any) -> Any:
            place = builder.bitcast(builder.gep(data, [at]), eight.as_pointer())
            loaded = builder.load(place, align=8)
            if term is Term.SQUARE:
                return builder.fmul(loaded, loaded)
            if term is Term.MAGNITUDE:
                form = ir.FunctionType(eight, [eight])
                magnitudes = tools.get_or_insert_function(builder.module, form, "llvm.fabs.v8f64")
                return builder.call(magnitudes, [loaded])
            return loaded

        sums = tools.alloca_once_value(builder, terms(begin))
        with tools.for_range_slice(builder, builder.add(begin, word(8)), end, word(8), word) as (at, _):
            builder.store(builder.fadd(builder.load(sums), terms(at)), sums)
        vector = builder.load(sums)
        while vector.type.count > 1:
            vector = halved(builder, vector)
        return builder.extract_element(vector, ir.IntType(32)(0))

    def typed(_: Any, array: Any, begin: Any, end: Any) -> Any:
        return types.float64(array, types.int64, types.int64), generate

    return intrinsic(typed)


@cache
def peak_function() -> Any:
    """A compiled function: the largest magnitude of ``count`` values from ``begin`` on; NaN beside NaN."""
    import numba

    def peak(values: ANY, begin: int, count: int) -> float:
        largest, unknown = 0.0, 0
        for j in range(begin, begin + count):
            magnitude = abs(values[j])
            unknown += magnitude != magnitude
            largest = magnitude if magnitude > largest else largest
        return float(np.nan if unknown else largest)

    return numba.njit(error_model="numpy", forceinline=True)(peak)


@cache
def _magnitudes_function() -> Any:
    return each_group(sum_function(Term.MAGNITUDE))


@cache
def _peaks_function() -> Any:
    return each_group(peak_function())


NORM = Measure(Partition.norms, norms_function)
PEAK = Measure(lambda partition, x: partition.maxima(np.abs(x)), _peaks_function)
MAGNITUDE = Measure(lambda partition, x: partition.sums(np.abs(x)), _magnitudes_function)
