"""N:4 sparsity of a weight and of its transpose, so that training multiplies fast both ways."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from math import prod
from typing import ClassVar, cast

import numpy as np
import numpy.typing as npt

from ...arrays import FLOAT64, DataType, Float64Array, StepSize
from ...errors import GradientUndefined, LayoutInvalid
from ...interruption import go_on
from ...regularizer import Description, Locality, Range, Traits, parameter, register
from ...summation import BlockSum
from .base import PartitionedRegularizer, PreparedGroups
from .partitions import EvenRuns, Partition
from .tiles import SIDE, Tiles

_AT_ONCE = 1 << 11
"""Tiles whose patterns are compared at once: so many sums of rows stay in the cache."""

Masks = npt.NDArray[np.bool_]


@register("transposable_sparsity")
@dataclass(frozen=True, slots=True)
class TransposableSparsity(PartitionedRegularizer):
    """0 where no row and no column of a 4 by 4 tile has more than n nonzero elements, infinite otherwise.

    Tiles are of the first two axes. A tile with a NaN, and one outside that has an infinity, becomes NaN
    altogether. Cost: for n = 2 a sum for each of 186 patterns. Source: Hubara et al. (2021), Accelerated
    sparse neural training: a provable and efficient method to find N:M transposable masks.
    """

    n: int = parameter(Range("from 0 to 4", lambda n: 0 <= n <= SIDE, whole=True), "2 is what hardware takes")

    traits: ClassVar[Traits] = Traits(
        positively_homogeneous=True, indicator=True, keeps_zeros=True, locality=Locality.GROUP
    )
    description: ClassVar[Description] = Description.of_set(
        title="2:4 sparsity of a weight and of its transpose, for hardware that trains fast with it",
        penalty="0 if each row and each column of each 4 by 4 tile of the first two axes has at most n "
        "elements that are not 0, infinity otherwise",
        terms="0 for a tile inside, infinity outside, at the tile's first element",
        prox="of each tile outside those elements stay, n of a row and of a column at most, whose squares "
        "have the largest sum; of equal sums those that have the first element in which they differ",
        source="Hubara et al. 2021",
    )

    def partition_in(self, shape: tuple[int, ...]) -> Partition:
        """Tiles of the first two axes.

        Raises:
            LayoutInvalid: If there are not two, or one has a length that 4 does not divide.
        """
        if len(shape) < 2:
            raise LayoutInvalid(
                f"must have two axes or more for {self.name}, got {list(shape)}", field="shape"
            )
        if shape[0] % SIDE or shape[1] % SIDE:
            text = f"must have two first axes whose lengths are multiples of {SIDE}, got {list(shape)}"
            raise LayoutInvalid(text, field="shape")
        # Around an axis of length 0 the others may have any lengths, and their product too many digits.
        if not prod(shape):
            return EvenRuns(0, 1)
        return Tiles(shape[0] // SIDE, shape[1] // SIDE, prod(shape[2:]))

    def on(self, shape: tuple[int, ...], data_type: DataType = FLOAT64) -> PreparedGroups:
        """The tiles of a segment of this shape."""
        return _PreparedTiles(self, self.partition_in(shape), data_type)

    def workspace(self, elements: int) -> int:
        """The tiles, their squares, what stays of them, and flags."""
        return 5 * elements + 128 * _AT_ONCE

    def slope(self, ready: PreparedGroups, x: Float64Array, out: Float64Array) -> None:
        """Write 0, or NaN in a tile with one.

        Raises:
            GradientUndefined: If a tile is outside, naming its first element.
        """
        if not x.size:
            return
        tiles = cast("Tiles", ready.partition)
        unknown, most = _measured(tiles.tiles(x))
        outside = ~unknown & (most > self.n)
        if outside.any():
            tile = int(np.argmax(outside))
            text = (
                f"must have at most {self.n} nonzero elements in a row or column of a tile to have a "
                f"gradient, got {int(most[tile])}"
            )
            raise GradientUndefined(text, element=int(tiles.starts()[tile]))
        out.fill(0.0)
        tiles.apply(np.multiply, out, np.where(unknown, np.nan, 1.0), out)

    def step(self, ready: PreparedGroups, x: Float64Array, step_size: StepSize, out: Float64Array) -> None:
        """Write what stays of each tile, 0 elsewhere."""
        del step_size
        if not x.size:
            return
        tiles = cast("Tiles", ready.partition)
        elements = tiles.tiles(x)
        unknown, most = _measured(elements)
        outside = most > self.n
        elements[unknown | (outside & np.isinf(elements).any(axis=1))] = np.nan
        moving = np.flatnonzero(outside & np.isfinite(elements).all(axis=1))
        for begin in range(0, moving.size, _AT_ONCE):
            go_on()
            chosen = moving[begin : begin + _AT_ONCE]
            elements[chosen] = np.where(_best(elements[chosen], self.n), elements[chosen], 0.0)
        tiles.spread(elements, out)


@dataclass(frozen=True, slots=True)
class _PreparedTiles(PreparedGroups):
    """The tiles of a segment."""

    regularizer: TransposableSparsity

    def add_terms(self, x: Float64Array, sums: BlockSum, position: int = 0) -> None:
        """Add 0 for a tile inside, infinity outside, NaN where there is one, at its first element."""
        if not x.size:
            return
        tiles = cast("Tiles", self.partition)
        unknown, most = _measured(tiles.tiles(x))
        terms = np.where(unknown, np.nan, np.where(most > self.regularizer.n, np.inf, 0.0))
        sums.add_at(position + tiles.starts(), terms)


def _measured(tiles: Float64Array) -> tuple[Masks, npt.NDArray[np.int8]]:
    """Which tiles have a NaN, and how many elements of a row or a column are not 0 at most."""
    nonzeros = (tiles != 0).T.astype(np.int8).reshape(SIDE, SIDE, -1)
    columns, rows = sum(nonzeros), sum(nonzeros.swapaxes(0, 1))
    unknown: Masks = np.any(np.isnan(tiles), axis=1)
    return unknown, np.max([columns, rows], axis=(0, 1))


def _best(tiles: Float64Array, n: int) -> Masks:
    """What stays of finite tiles.

    Squares are of the tile's elements times a power of two, so that the largest is between a half and 1.
    Those of a row are added one after the other, and then the rows.
    """
    _, exponents = np.frexp(np.max(np.abs(tiles), axis=1))
    squares = np.square(np.ldexp(tiles, -exponents[:, np.newaxis])).T.reshape(SIDE, SIDE, -1)
    of_rows = np.zeros((SIDE, 1 << SIDE, len(tiles)))
    for mask in range(1, 1 << SIDE):
        last = mask.bit_length() - 1
        np.add(of_rows[:, mask ^ (1 << last)], squares[:, last], out=of_rows[:, mask])
    patterns, masks_of_rows = _patterns(n)
    best, chosen = np.full(len(tiles), -1.0), np.zeros(len(tiles), dtype=np.int64)
    sums, larger = np.empty(len(tiles)), np.empty(len(tiles), dtype=np.bool_)
    for at, (first, second, third, fourth) in enumerate(masks_of_rows):
        np.add(of_rows[0, first], of_rows[1, second], out=sums)
        np.add(sums, of_rows[2, third], out=sums)
        np.add(sums, of_rows[3, fourth], out=sums)
        np.greater(sums, best, out=larger)
        np.copyto(best, sums, where=larger)
        np.copyto(chosen, at, where=larger)
    return patterns[chosen]


@cache
def _patterns(n: int) -> tuple[Masks, list[list[int]]]:
    """All masks of a tile that have at most n of each row and column and to which none can be added.

    Those that have an earlier element come first. Of each row, the mask is also a number, bit j for column j.
    """
    numbers = np.arange(1 << (SIDE * SIDE), dtype=np.int64)[::-1]
    masks = (numbers[:, np.newaxis] >> np.arange(SIDE * SIDE)[::-1]) & 1 == 1
    squares = masks.reshape(-1, SIDE, SIDE)
    columns, rows = (np.add.reduce(squares, axis=axis, dtype=np.int64) for axis in (1, 2))
    fits = (columns <= n).all(axis=1) & (rows <= n).all(axis=1)
    room = ~squares & (columns < n)[:, np.newaxis, :] & (rows < n)[:, :, np.newaxis]
    kept = fits & ~room.any(axis=(1, 2))
    return masks[kept], (squares[kept] @ (1 << np.arange(SIDE))).tolist()
