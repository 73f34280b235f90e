"""Exact sums of the squares of many numbers, as a few doubles: in one compiled pass, or by NumPy."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from ..arrays import FLOAT64
from ..compilation import ANY, kept, requested
from ..machine_code import MachineCode, compiled
from ..summation import ExactSum, exact_expansion
from .tile_sums import MOST_PARTIALS, TILE, tile_sums

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

LARGE = 2.0**400
"""Up to here, and down to its inverse, squares are far from the ends of float64's range."""

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

    write_sums = tile_sums()
    jit: Any = numba.njit(error_model="numpy")

    def square(x: ANY, tile: ANY, squares: ANY, limit: float) -> int:
        """Copy numbers and their squares; count those that are not below the limit, or not far from 0."""
        outside = np.int32(0)  # narrow, so that several elements go at once
        for j in range(x.size):
            number = np.float64(x[j])
            magnitude = abs(number)
            inside = (magnitude < limit and magnitude > 1.0 / LARGE) or magnitude == 0.0
            outside = np.int32(outside + np.int32(not inside))
            tile[j] = magnitude
            squares[j] = number * number
        return int(outside)

    def largest(tile: ANY) -> float:
        """The largest of magnitudes, or an infinity where one is not between ``LARGE`` and its inverse."""
        top = 0.0
        for j in range(tile.size):
            if not ((tile[j] < LARGE and tile[j] > 1.0 / LARGE) or tile[j] == 0.0):
                return np.inf
            top = max(top, tile[j])
        return top

    squared, largest_in = jit(square), jit(largest)

    def loop(x: ANY, partials: ANY) -> int:
        tile, squares, multiples = np.empty(TILE), np.empty(TILE), np.empty(TILE)
        count, exponent, limit = 0, 0, 1.0
        for begin in range(0, x.size, TILE):
            size = min(TILE, x.size - begin)
            if squared(x[begin : begin + size], tile, squares, limit) != 0:
                top = largest_in(tile[:size])
                if not top < LARGE:
                    return -1
                while not top < limit:
                    exponent, limit = exponent + 1, 2.0 * limit
            count = write_sums(squares[:size], multiples[:size], 2 * exponent, partials, count)
        return count

    # Elements may be unaligned: in a message they begin where the fields before them end.
    numbers = numba.types.Array(numba.from_dtype(variant[1]), 1, "C", readonly=True, aligned=False)
    return compiled(loop, numba.int64(numbers, numba.types.Array(numba.float64, 1, "C")))
