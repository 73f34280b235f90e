"""Eight values at once, and eight groups: what a compiled loop does in the compiler's own language.

The compiler may not reorder additions, and takes several at once only where it is told which. The eight
accumulators of the rule of summation (``partitions``) are one vector here, and the last additions of eight
groups are done together.
"""

from __future__ import annotations

from enum import Enum
from functools import cache
from typing import Any

EIGHT = 8
"""Accumulators of a pairwise sum; elements of a vector."""

_MAGNITUDE = (1 << 63) - 1
"""The bits of a float64 number but for its sign."""

_OF_TWO = (
    ((0, 8, 2, 10, 4, 12, 6, 14), (1, 9, 3, 11, 5, 13, 7, 15)),
    ((0, 1, 8, 9, 4, 5, 12, 13), (2, 3, 10, 11, 6, 7, 14, 15)),
    ((0, 1, 2, 3, 8, 9, 10, 11), (4, 5, 6, 7, 12, 13, 14, 15)),
)
"""Which places of two vectors are combined with which, so that eight vectors become one in three rounds.

Of each: 0 and 1, 2 and 3, …; then the first of these and the second, …; then the two that are left. Places
stay where the processor moves them at least cost, and in the end are in the order of the vectors.
"""


class Term(Enum):
    """What of each value is combined."""

    SQUARE = "square"
    MAGNITUDE = "magnitude"
    ITSELF = "itself"
    NONZERO = "nonzero"
    """1 where it is not 0, and NaN of NaN."""
    PEAK = "peak"
    """Magnitudes, of which the largest is taken in place of the sum, NaN before all."""


@cache
def fold_function(term: Term) -> Any:
    """A compiled function: what the terms of ``values[begin:end]``, a multiple of eight, add up to."""
    from llvmlite import ir
    from numba import types
    from numba.extending import intrinsic

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        array, begin, end = arguments
        data = context.make_array(signature.args[0])(context, builder, array).data
        vector = _folded(builder, data, begin, end, term)
        while vector.type.count > 1:
            neighbours = [range(first, vector.type.count, 2) for first in (0, 1)]
            vector = _chosen_combined(builder, vector, vector, neighbours, term)
        return builder.extract_element(_finished(builder, vector, term), ir.IntType(32)(0))

    def typed(_: Any, array: Any, begin: Any, end: Any) -> Any:
        return types.float64(array, types.int64, types.int64), generate

    return intrinsic(typed)


@cache
def fold_eight_function(term: Term) -> Any:
    """A compiled function: the same of eight groups of ``size`` values each, a multiple of eight.

    From values, the first one's place, size, result and the first group's place there.
    """
    from llvmlite import ir
    from numba import types
    from numba.extending import intrinsic

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        array, begin, size, out, at = arguments
        data = context.make_array(signature.args[0])(context, builder, array).data
        results = context.make_array(signature.args[3])(context, builder, out).data
        vectors = []
        for _ in range(EIGHT):
            end = builder.add(begin, size)
            vectors.append(_folded(builder, data, begin, end, term))
            begin = end
        for places in _OF_TWO:
            pairs = zip(vectors[::2], vectors[1::2], strict=True)
            vectors = [_chosen_combined(builder, *pair, places, term) for pair in pairs]
        place = builder.bitcast(builder.gep(results, [at]), _vector(ir.DoubleType()).as_pointer())
        builder.store(_finished(builder, vectors[0], term), place, align=8)
        return context.get_dummy_value()

    def typed(_: Any, array: Any, begin: Any, size: Any, out: Any, at: Any) -> Any:
        return types.void(array, types.int64, types.int64, out, types.int64), generate

    return intrinsic(typed)


@cache
def fill_function() -> Any:
    """A compiled function: writes a number to ``out[begin:end]``, which are a multiple of eight."""
    from llvmlite import ir
    from numba import types
    from numba.core import cgutils
    from numba.extending import intrinsic

    tools: Any = cgutils

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        array, begin, end, number = arguments
        data = context.make_array(signature.args[0])(context, builder, array).data
        form, word, vector = _vector(ir.DoubleType()), ir.IntType(64), _all_of(builder, number)
        with tools.for_range_slice(builder, begin, end, word(EIGHT), word) as (at, _):
            builder.store(vector, builder.bitcast(builder.gep(data, [at]), form.as_pointer()), align=8)
        return context.get_dummy_value()

    def typed(_: Any, array: Any, begin: Any, end: Any, number: Any) -> Any:
        return types.void(array, types.int64, types.int64, types.float64), generate

    return intrinsic(typed)


@cache
def scale_function() -> Any:
    """A compiled function: writes ``values[begin:end]``, a multiple of eight, times a number, plus 0."""
    from llvmlite import ir
    from numba import types
    from numba.core import cgutils
    from numba.extending import intrinsic

    tools: Any = cgutils

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        array, begin, end, number, out = arguments
        data = context.make_array(signature.args[0])(context, builder, array).data
        results = context.make_array(signature.args[4])(context, builder, out).data
        eight, word = _vector(ir.DoubleType()), ir.IntType(64)
        factors = _all_of(builder, number)
        with tools.for_range_slice(builder, begin, end, word(EIGHT), word) as (at, _):
            product = builder.fmul(_terms(builder, data, at, Term.ITSELF), factors)
            place = builder.bitcast(builder.gep(results, [at]), eight.as_pointer())
            builder.store(builder.fadd(product, ir.Constant(eight, [0.0] * EIGHT)), place, align=8)
        return context.get_dummy_value()

    def typed(_: Any, array: Any, begin: Any, end: Any, number: Any, out: Any) -> Any:
        return types.void(array, types.int64, types.int64, types.float64, out), generate

    return intrinsic(typed)


def _all_of(builder: Any, number: Any) -> Any:
    """A vector of one number."""
    from llvmlite import ir

    place = ir.IntType(32)
    one = builder.insert_element(ir.Constant(_vector(number.type), ir.Undefined), number, place(0))
    return builder.shuffle_vector(one, one, ir.Constant(_vector(place), [place(0)] * EIGHT))


def _vector(of: Any, count: int = EIGHT) -> Any:
    from llvmlite import ir

    return ir.VectorType(of, count)


def _folded(builder: Any, data: Any, begin: Any, end: Any, term: Term) -> Any:
    """Eight accumulators of the terms from ``begin`` on, each of every eighth."""
    from llvmlite import ir
    from numba.core import cgutils

    tools: Any = cgutils
    word = ir.IntType(64)
    held = tools.alloca_once_value(builder, _terms(builder, data, begin, term))
    rest = builder.add(begin, word(EIGHT))
    with tools.for_range_slice(builder, rest, end, word(EIGHT), word) as (at, _):
        builder.store(_combined(builder, builder.load(held), _terms(builder, data, at, term), term), held)
    return builder.load(held)


def _terms(builder: Any, data: Any, at: Any, term: Term) -> Any:
    """The terms of eight values."""
    from llvmlite import ir
    from numba.core import cgutils

    tools: Any = cgutils
    eight, words = _vector(ir.DoubleType()), _vector(ir.IntType(64))
    loaded = builder.load(builder.bitcast(builder.gep(data, [at]), eight.as_pointer()), align=8)
    if term is Term.SQUARE:
        return builder.fmul(loaded, loaded)
    if term is Term.MAGNITUDE:
        form = ir.FunctionType(eight, [eight])
        return builder.call(tools.get_or_insert_function(builder.module, form, "llvm.fabs.v8f64"), [loaded])
    if term is Term.PEAK:
        # As integers magnitudes have the order of their numbers, and NaN comes last.
        return builder.and_(builder.bitcast(loaded, words), ir.Constant(words, [_MAGNITUDE] * EIGHT))
    if term is Term.NONZERO:
        zero, one, nan = (ir.Constant(eight, [number] * EIGHT) for number in (0.0, 1.0, float("nan")))
        counted = builder.select(builder.fcmp_ordered("==", loaded, zero), zero, one)
        return builder.select(builder.fcmp_unordered("uno", loaded, loaded), nan, counted)
    return loaded


def _combined(builder: Any, one: Any, other: Any, term: Term) -> Any:
    if term is Term.PEAK:
        return builder.select(builder.icmp_signed(">", one, other), one, other)
    return builder.fadd(one, other)


def _chosen_combined(builder: Any, one: Any, other: Any, places: Any, term: Term) -> Any:
    """Some places of two vectors, combined with as many others."""
    from llvmlite import ir

    def chosen(numbers: Any) -> Any:
        form = _vector(ir.IntType(32), len(numbers))
        return builder.shuffle_vector(one, other, ir.Constant(form, [ir.IntType(32)(n) for n in numbers]))

    return _combined(builder, chosen(places[0]), chosen(places[1]), term)


def _finished(builder: Any, vector: Any, term: Term) -> Any:
    from llvmlite import ir

    if term is not Term.PEAK:
        return vector
    return builder.bitcast(vector, _vector(ir.DoubleType(), vector.type.count))
