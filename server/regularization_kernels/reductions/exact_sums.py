"""Exact sums of the squares of many numbers, as a few doubles: in one compiled pass, or by NumPy."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from ..arrays import FLOAT64
from ..compilation import ANY, kept, requested
from ..machine_code import MachineCode, compiled
from ..summation import ExactSum, exact_expansion
from .tile_sums import MOST_PARTIALS, TILE, rounding_number, tile_sums

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

LARGE = 2.0**400
"""Up to here, and down to its inverse, squares are far from the ends of float64's range."""

_SPREAD = 19
"""Float32 numbers below 2^e, and not below 2^(e - 19), have squares of which a tile has two partial sums.
What is left of them once multiples of 2^(2e - 41) are split off is at most 2^(2e - 42), and a multiple of
2^(2e - 84): 2^53 of these units are as much as a tile can have."""
_LEAST_EXPONENT = -100
"""Numbers that small are far from those that float32 has with fewer bits."""

FLOAT32 = np.dtype(np.float32)
OWN_TYPES = (FLOAT32, FLOAT64)
"""Data types of the numbers that loops take as they are."""


def added(first: tuple[float, ...], second: Sequence[float]) -> tuple[float, ...]:
    """The doubles whose exact sum is that of two sums, of which the second is in any doubles."""
    return ExactSum.of((*first, *second)).expansion if second else first


def sum_of_squares(x: NDArray[Any]) -> tuple[float, ...] | None:
    """The doubles whose exact sum is that of the squares, each rounded to float64.

    Args:
        x: Of float32 or float64.

    Returns:
        None where a number that is not 0 is not between ``LARGE`` and its inverse.
    """
    loop = requested(("sum_of_squares", x.dtype), x.dtype, x.size, _compiled)
    if loop is not None:
        partials = np.empty((x.size // TILE + 1) * MOST_PARTIALS)
        count = loop(x, partials)
        return None if count < 0 else ExactSum.of(partials[:count].tolist()).expansion
    x = x.astype(np.float64)  # a copy, that nobody writes to
    magnitudes = np.abs(x)
    inside = (magnitudes < LARGE) & ((magnitudes > 1.0 / LARGE) | (magnitudes == 0.0))
    return exact_expansion(np.square(x)) if inside.all() else None


@kept
def _compiled(variant: tuple[str, np.dtype[Any]]) -> MachineCode:
    """The loop: from numbers, and room for partial sums, how many there are, or -1."""
    import numba

    kind = variant[1].type
    is_short, none, write_sums = variant[1] == FLOAT32, kind(0), tile_sums()
    rounding_to = rounding_number()
    least_of_all = float(np.nextafter(1.0 / LARGE, 1.0))
    jit: Any = numba.njit(error_model="numpy")
    # Sums that are exact may be taken in any order, so several numbers at once.
    in_any_order: Any = numba.njit(error_model="numpy", fastmath={"reassoc", "nsz"})

    def copy(x: ANY, tile: ANY) -> None:
        for j in range(x.size):
            tile[j] = x[j]

    def count(tile: ANY, least: Any, limit: Any) -> int:
        """How many are not below the limit, or, other than 0, below the least."""
        outside = np.int32(0)  # narrow, so that several elements go at once
        for j in range(tile.size):
            magnitude = abs(tile[j])
            inside = (magnitude < limit) & ((magnitude >= least) | (magnitude == none))
            outside = np.int32(outside + np.int32(not inside))
        return int(outside)

    def plus(total: float, number: float) -> float:
        return total + number

    def add_up(tile: ANY, rounding: float) -> tuple[float, float]:
        """The sum of multiples of a unit that are split off the squares, and of what is left."""
        multiples = rest = 0.0
        for j in range(tile.size):
            number = np.float64(tile[j])
            square = number * number
            multiple = (square + rounding) - rounding
            multiples = plus_any(multiples, multiple)
            rest = plus_any(rest, square - multiple)
        return multiples, rest

    def square(tile: ANY, squares: ANY) -> None:
        for j in range(tile.size):
            squares[j] = np.float64(tile[j]) * np.float64(tile[j])

    def largest(tile: ANY) -> float:
        """The largest of magnitudes, or an infinity where one is not between ``LARGE`` and its inverse."""
        top = 0.0
        for j in range(tile.size):
            magnitude = np.float64(abs(tile[j]))
            if not ((magnitude < LARGE and magnitude > 1.0 / LARGE) or magnitude == 0.0):
                return np.inf
            top = max(top, magnitude)
        return top

    plus_any = in_any_order(plus)
    copied, counted, added_up, squared, largest_in = map(jit, (copy, count, add_up, square, largest))

    def loop(x: ANY, partials: ANY) -> int:
        tile, squares, multiples = np.empty(TILE, kind), np.empty(TILE), np.empty(TILE)
        written, exponent, limit, least, rounding = 0, 0, 1.0, 0.0, 0.0
        for begin in range(0, x.size, TILE):
            size = min(TILE, x.size - begin)
            # A copy: others may write to the elements meanwhile, but not to what is counted and added up.
            part = tile[:size]
            copied(x[begin : begin + size], part)
            if begin == 0 or counted(part, kind(least), kind(limit)) != 0:
                top = largest_in(part)
                if not top < LARGE:
                    return -1
                while begin == 0 and exponent > _LEAST_EXPONENT and top < 0.5 * limit:
                    exponent, limit = exponent - 1, 0.5 * limit
                while not top < limit:
                    exponent, limit = exponent + 1, 2.0 * limit
                rounding = rounding_to(2 * exponent)
                least = limit * 2.0**-_SPREAD if is_short else least_of_all
                inside = is_short and counted(part, kind(least), kind(limit)) == 0
            else:
                inside = is_short
            if inside:
                partials[written], partials[written + 1] = added_up(part, rounding)
                written += 2
            else:
                squared(part, squares[:size])
                written = write_sums(squares[:size], multiples[:size], 2 * exponent, partials, written)
        return written

    # Elements may be unaligned: in a message they begin where the fields before them end.
    numbers = numba.types.Array(numba.from_dtype(variant[1]), 1, "C", readonly=True, aligned=False)
    return compiled(loop, numba.int64(numbers, numba.types.Array(numba.float64, 1, "C")))
