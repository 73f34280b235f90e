"""Compiled loops that split numbers at two others, in one pass over memory (``splits``)."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import Any

import numpy as np

from ..compilation import ANY, kept
from ..machine_code import MachineCode, compiled
from .census import Order
from .tile_sums import MOST_PARTIALS, TILE, tile_sums

_FEW = 1 << 6
"""Numbers that are looked through one by one where any of them lies between."""

_LARGEST_EXPONENT = 900
SUMMABLE = 2.0**_LARGEST_EXPONENT
"""Sums of numbers below are far from the end of float64's range."""


class Found(IntEnum):
    """Where a loop says what it has found."""

    NONZEROS = 0
    INFINITE = 1
    NAN = 2
    ABOVE = 3
    FIRST_NEGATIVE = 4
    """The index of the first number below 0; -1 where there is none, and at the beginning."""
    SUMS_ABOVE = 5
    """How many partial sums there are of the numbers above."""
    SUMS_BELOW = 6


@dataclass(frozen=True, slots=True)
class SplitLoop:
    """Which loop.

    It takes numbers, the two that they are split at, and room: for what is found, for partial sums of what is
    above and what is below, and for what lies between and where. It gives how many lie between; -1 where sums
    were wanted, and a finite number is too large for them.
    """

    order: Order
    data_type: np.dtype[Any]
    """Of the numbers: float32 or float64."""
    summing: bool
    """Whether sums are wanted."""


def room_for_sums(size: int) -> int:
    """At least how many partial sums there are of so many numbers."""
    return (size // TILE + 1) * MOST_PARTIALS


@kept
def compiled_split(variant: SplitLoop) -> MachineCode:
    """Have a loop compiled."""
    import numba

    kind = variant.data_type.type
    of_numbers, summing = variant.order is Order.NUMBERS, variant.summing
    none, infinity, write_sums = kind(0), kind(np.inf), tile_sums()
    nonzeros, infinite, nan, above, first_negative, sums_above, sums_below = map(int, Found)
    jit: Any = numba.njit(error_model="numpy")

    def term(number: Any) -> Any:
        return number if of_numbers else abs(number)

    def count(tile: ANY, low: Any, high: Any, limit: Any, found: ANY) -> tuple[int, int, int]:
        """Count; how many are negative, not below the limit, and between."""
        # Narrow, so that several elements go at once.
        nonzero = negative = beyond = higher = reached = np.int32(0)
        for j in range(tile.size):
            number = tile[j]
            nonzero = np.int32(nonzero + np.int32(number != none))
            negative = np.int32(negative + np.int32(number < none))
            beyond = np.int32(beyond + np.int32(not abs(number) < limit))
            higher = np.int32(higher + np.int32(term_of(number) > high))
            reached = np.int32(reached + np.int32(term_of(number) >= low))
        found[nonzeros] += nonzero
        found[above] += higher
        return int(negative), int(beyond), int(reached - higher)

    def largest(tile: ANY, found: ANY) -> float:
        """The largest finite magnitude; what is not finite is counted."""
        top = 0.0
        for j in range(tile.size):
            magnitude = np.float64(abs(tile[j]))
            if magnitude != magnitude:
                found[nan] += 1
            elif magnitude == np.inf:
                found[infinite] += 1
            else:
                top = max(top, magnitude)
        return top

    def collect(tile: ANY, begin: int, low: Any, high: Any, values: ANY, places: ANY, collected: int) -> int:
        """Copy what lies between; how many that are then."""
        for start in range(0, tile.size, _FEW):
            few = tile[start : start + _FEW]
            between = np.int32(0)
            for j in range(few.size):
                number = term_of(few[j])
                between = np.int32(between + np.int32((number >= low) & (number <= high)))
            for j in range(few.size if between else 0):
                if term_of(few[j]) >= low and term_of(few[j]) <= high:
                    values[collected] = term_of(few[j])
                    places[collected] = begin + start + j
                    collected += 1
        return collected

    def sort_out(tile: ANY, low: Any, high: Any, higher: ANY, lower: ANY) -> None:
        for j in range(tile.size):
            number = term_of(tile[j])
            finite = abs(number) < infinity  # and no branch, so that several elements go at once
            higher[j] = np.float64(number) if finite & (number > high) else 0.0
            lower[j] = np.float64(number) if finite & (number < low) else 0.0

    def copy(x: ANY, tile: ANY) -> None:
        for j in range(x.size):
            tile[j] = x[j]

    term_of = jit(term)
    counted, largest_in, collected_from, sorted_out, copied = map(
        jit, (count, largest, collect, sort_out, copy)
    )

    def loop(
        x: ANY, low: Any, high: Any, found: ANY, above_sums: ANY, below_sums: ANY, values: ANY, places: ANY
    ) -> int:
        low, high = kind(low), kind(high)
        tile = np.empty(TILE, kind)
        higher, lower, multiples = np.empty(TILE), np.empty(TILE), np.empty(TILE)
        exponent, limit = 0, kind(1) if summing else infinity
        collected = 0
        for begin in range(0, x.size, TILE):
            size = min(TILE, x.size - begin)
            # A copy: others may write to the elements meanwhile, but not to what is counted and then summed.
            part = tile[:size]
            copied(x[begin : begin + size], part)
            negative, beyond, between = counted(part, low, high, limit, found)
            if negative != 0 and found[first_negative] < 0:
                j = 0
                while not part[j] < none:
                    j += 1
                found[first_negative] = begin + j
            if beyond != 0:
                top = largest_in(part, found)
                while summing and not top < limit:
                    exponent, limit = exponent + 1, kind(2) * limit
                    if exponent > _LARGEST_EXPONENT:
                        return -1
            if between != 0:
                collected = collected_from(part, begin, low, high, values, places, collected)
            if summing:
                sorted_out(part, low, high, higher[:size], lower[:size])
                found[sums_above] = write_sums(
                    higher[:size], multiples[:size], exponent, above_sums, found[sums_above]
                )
                found[sums_below] = write_sums(
                    lower[:size], multiples[:size], exponent, below_sums, found[sums_below]
                )
        return collected

    # Elements may be unaligned: in a message they begin where the fields before them end.
    numbers = numba.from_dtype(variant.data_type)
    elements = numba.types.Array(numbers, 1, "C", readonly=True, aligned=False)
    number, integers = numba.float64, numba.types.Array(numba.int64, 1, "C")
    sums, values = (numba.types.Array(each, 1, "C") for each in (number, numbers))
    return compiled(loop, numba.int64(elements, number, number, integers, sums, sums, values, integers))
