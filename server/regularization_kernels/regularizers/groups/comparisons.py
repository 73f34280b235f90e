"""Which of a short run are its largest, by comparing each pair once: a network that has no branches.

Four runs are compared side by side, each number of theirs in a place of one vector, in the compiler's own
language: the compiler would keep the counts in memory, which takes three times as long.
"""

from __future__ import annotations

from functools import cache
from typing import Any

FOUR = 4
"""Runs that are compared at once."""


@cache
def keep_largest_of_four_function(size: int) -> Any:
    """A compiled function: writes four runs of so many values with the largest ones of each, 0 elsewhere.

    From values, result, the first run's first place, and how many stay of a run; of equal magnitudes the
    first do.
    """
    from llvmlite import ir
    from numba import types
    from numba.core import cgutils
    from numba.extending import intrinsic

    tools: Any = cgutils
    number, word, index = ir.DoubleType(), ir.IntType(64), ir.IntType(32)
    numbers, words = ir.VectorType(number, FOUR), ir.VectorType(word, FOUR)

    def all_of(builder: Any, form: Any, value: Any) -> Any:
        vector = ir.Constant(form, ir.Undefined)
        for lane in range(FOUR):
            vector = builder.insert_element(vector, value, index(lane))
        return vector

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        array, out, at, kept = arguments
        data = context.make_array(signature.args[0])(context, builder, array).data
        results = context.make_array(signature.args[1])(context, builder, out).data

        def place(pointer: Any, run: int, j: int) -> Any:
            return builder.gep(pointer, [builder.add(at, word(run * size + j))])

        values = []
        for j in range(size):
            vector = ir.Constant(numbers, ir.Undefined)
            for run in range(FOUR):
                value = builder.load(place(data, run, j), align=8)
                vector = builder.insert_element(vector, value, index(run))
            values.append(vector)
        form = ir.FunctionType(numbers, [numbers])
        magnitude = tools.get_or_insert_function(builder.module, form, "llvm.fabs.v4f64")
        magnitudes = [builder.call(magnitude, [vector]) for vector in values]
        # How many come before each: the earlier ones, less those that it beats, and the later that beat it.
        before = [ir.Constant(words, [j] * FOUR) for j in range(size)]
        for one in range(size):
            for other in range(one + 1, size):
                beats = builder.fcmp_ordered(">", magnitudes[other], magnitudes[one])
                minus_one = builder.sext(beats, words)
                before[one] = builder.sub(before[one], minus_one)
                before[other] = builder.add(before[other], minus_one)
        room, nothing = all_of(builder, words, kept), ir.Constant(numbers, [0.0] * FOUR)
        for j in range(size):
            stays = builder.icmp_signed("<", before[j], room)
            chosen = builder.select(stays, values[j], nothing)
            for run in range(FOUR):
                result = builder.extract_element(chosen, index(run))
                builder.store(result, place(results, run, j), align=8)
        return context.get_dummy_value()

    def typed(_: Any, array: Any, out: Any, at: Any, kept: Any) -> Any:
        return types.void(array, out, types.int64, types.int64), generate

    return intrinsic(typed)
