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

_FEW = 8
"""Numbers that are looked through one by one where any of them lies between: one of an integer's bytes for
each."""

_EXACT = 2.0**53
"""So many units add up without rounding."""

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
    SUMS = 5
    """How many partial sums there are of the numbers above."""


@dataclass(frozen=True, slots=True)
class SplitLoop:
    """Which loop.

    It takes numbers, the two that they are split at, and room: for what is found, for partial sums of what is
    above, and for what lies between and where. It gives how many lie between; -1 where sums were wanted, and
    a finite number is too large for them.
    """

    order: Order
    data_type: np.dtype[Any]
    """Of the numbers: float32 or float64."""
    summing: bool
    """Whether sums are wanted."""


def room_for_sums(size: int) -> int:
    """At least how many partial sums there are of so many numbers."""
    return (size // TILE + 1) * (MOST_PARTIALS + 1) + 1


@kept
def compiled_split(variant: SplitLoop) -> MachineCode:
    """Have a loop compiled."""
    import numba

    kind = variant.data_type.type
    of_numbers, summing = variant.order is Order.NUMBERS, variant.summing
    none, infinity, write_sums = kind(0), kind(np.inf), tile_sums()
    nonzeros, infinite, nan, above, first_negative, sums = map(int, Found)
    precision = np.finfo(kind).nmant
    jit: Any = numba.njit(error_model="numpy")
    # Sums that are exact may be taken in any order, so several numbers at once.
    in_any_order: Any = numba.njit(error_model="numpy", fastmath={"reassoc", "nsz"})

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

    def mark(tile: ANY, low: Any, high: Any, marks: ANY) -> None:
        for j in range(tile.size):
            number = term_of(tile[j])
            marks[j] = (number >= low) & (number <= high)

    def collect(tile: ANY, begin: int, marks: ANY, words: ANY, room: tuple[ANY, ANY], collected: int) -> int:
        """Copy what is marked; how many that are then."""
        values, places = room
        for word in range((tile.size + _FEW - 1) // _FEW):
            if words[word]:
                for j in range(_FEW * word, _FEW * (word + 1)):
                    if marks[j]:
                        values[collected] = term_of(tile[j])
                        places[collected] = begin + j
                        collected += 1
        return collected

    def unit_above(high: Any) -> float:
        """What all numbers above a positive one are multiples of; 0 where it is not positive."""
        power = 1.0
        while power > high > none:
            power *= 0.5
        while 2.0 * power <= high < infinity:
            power *= 2.0
        return power * 2.0**-precision if high > none else 0.0

    def plus(total: float, number: Any) -> float:
        return total + np.float64(number)

    def add_up(tile: ANY, high: Any) -> float:
        total = 0.0
        for j in range(tile.size):
            number = term_of(tile[j])
            total = added(total, number if (number > high) & (number < infinity) else none)
        return total

    def sort_out(tile: ANY, high: Any, higher: ANY) -> None:
        for j in range(tile.size):
            number = term_of(tile[j])
            # No branch, so that several elements go at once.
            higher[j] = np.float64(number) if (number > high) & (number < infinity) else 0.0

    def copy(x: ANY, tile: ANY) -> None:
        for j in range(x.size):
            tile[j] = x[j]

    term_of, added = jit(term), in_any_order(plus)
    counted, largest_in, marked, collected_from, sorted_out, copied, added_up, multiples_above = map(
        jit, (count, largest, mark, collect, sort_out, copy, add_up, unit_above)
    )

    def loop(x: ANY, low: Any, high: Any, found: ANY, partials: ANY, values: ANY, places: ANY) -> int:
        low, high = kind(low), kind(high)
        tile, marks = np.empty(TILE, kind), np.zeros(TILE, np.uint8)
        words = marks.view(np.uint64)
        higher, multiples = np.empty(TILE), np.empty(TILE)
        exponent, limit = 0, kind(1) if summing else infinity
        room = _EXACT * multiples_above(high)
        total, summed, collected = 0.0, 0, 0
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
                if size < TILE:
                    marks[size:] = 0
                marked(part, low, high, marks)
                collected = collected_from(part, begin, marks, words, (values, places), collected)
            if summing and (summed + size) * np.float64(limit) > room:
                # What was added up is exact, and with these it might not be.
                partials[found[sums]] = total
                found[sums] += 1
                total, summed = 0.0, 0
            if summing and size * np.float64(limit) > room:
                sorted_out(part, high, higher)
                found[sums] = write_sums(higher[:size], multiples[:size], exponent, partials, found[sums])
            elif summing:
                total += added_up(part, high)
                summed += size
        partials[found[sums]] = total
        found[sums] += 1
        return collected

    # Elements may be unaligned: in a message they begin where the fields before them end.
    numbers = numba.from_dtype(variant.data_type)
    elements = numba.types.Array(numbers, 1, "C", readonly=True, aligned=False)
    number, integers = numba.float64, numba.types.Array(numba.int64, 1, "C")
    partials, values = (numba.types.Array(each, 1, "C") for each in (number, numbers))
    return compiled(loop, numba.int64(elements, number, number, integers, partials, values, integers))
