"""The sums of many short stretches at once, with the bits of one ``BlockSum`` for each.

What an exact sum of lanes costs is the same for ten elements as for ten thousand, so a layout of a thousand
small segments would take most of its time for them. Here NumPy adds the lanes of all of them together.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from .buffers import borrowed
from .lane_sums import LARGEST, sums_of_lanes
from .summation import LANES, BlockSum, ExactSum, add_to_lanes

if TYPE_CHECKING:
    from .arrays import Float64Array


class ShortSums(BlockSum):
    """The running sums of stretches that lie side by side, each no longer than a block.

    Args:
        edges: Where each stretch begins, from 0 on, and last where the last one ends.
        scale: What every lane's sum is multiplied by.
    """

    __slots__ = ("_edges", "_sums_beside")

    def __init__(self, edges: npt.NDArray[np.int64], scale: float = 1.0) -> None:
        super().__init__(scale)
        self._edges = edges
        self._lanes = np.zeros((edges.size - 1, LANES))
        self._sums_beside: ShortSums | None = None

    def add(self, terms: Float64Array, position: int) -> None:
        """Add the terms of consecutive elements, the first of which stands at ``position``."""
        end = position + terms.size
        first = int(np.searchsorted(self._edges, position, "right")) - 1
        begun = position - int(self._edges[first])
        if begun:
            rest = terms[: int(self._edges[first + 1]) - position]
            self._lanes[first] = add_to_lanes(self._lanes[first], rest, begun % LANES)
            first, position, terms = first + 1, position + rest.size, terms[rest.size :]
        last = int(np.searchsorted(self._edges, end, "left"))
        if terms.size:
            ends = np.minimum(self._edges[first + 1 : last + 1], end) - position
            self._add_begun(terms, first, ends.tolist())

    def add_at(self, positions: npt.NDArray[np.int64], terms: Float64Array) -> None:
        """Add terms that stand at increasing positions, with zeros between them."""
        if positions.size:
            all_terms = np.zeros(int(positions[-1] - positions[0]) + 1)
            all_terms[positions - positions[0]] = terms
            self.add(all_terms, int(positions[0]))

    def beside(self, scale: float) -> ShortSums:
        """The sums of terms that belong to the same figures and have another scale."""
        if self._sums_beside is None:
            self._sums_beside = ShortSums(self._edges, scale)
        return self._sums_beside

    @property
    def edges(self) -> npt.NDArray[np.int64]:
        """Where each stretch begins, and last where the last one ends."""
        return self._edges

    def rows(self, first: int, last: int) -> Float64Array:
        """The lanes of some of the stretches, to be added to: ``(last - first, 256)``."""
        return self._lanes[first:last]

    def sums(self) -> list[ExactSum]:
        """The sum of each stretch's terms so far."""
        found = None if self._sums_beside is not None else sums_of_lanes(self._lanes, self._scale)
        if found is None:
            return sums_of_rows(self._numbers())
        values, remainders, left = found
        sums = _pairs(values, remainders)
        for row in left.tolist():
            sums[row] = ExactSum.of((self._lanes[row] * self._scale).tolist())
        return sums

    def _numbers(self) -> Float64Array:
        """In a row for each stretch, numbers whose exact sum is that of its terms."""
        own = self._lanes * self._scale
        return own if self._sums_beside is None else np.hstack((own, self._sums_beside._numbers()))

    def _add_begun(self, terms: Float64Array, first: int, ends: list[int]) -> None:
        """Add the terms of stretches from their beginnings on, which end there."""
        begin = 0
        for lanes, end in zip(self._lanes[first:], ends, strict=False):
            size = end - begin
            whole = begin + size // LANES * LANES
            if whole > begin:
                np.add.reduce(terms[begin:whole].reshape(-1, LANES), 0, None, lanes)
            if whole < end:
                lanes[: end - whole] += terms[whole:end]
            begin = end


def sums_of_rows(numbers: Float64Array) -> list[ExactSum]:
    """The exact sum of each row's numbers.

    The high bits of every number of a row are split off, on a common grid so coarse that their sum is exact
    (Rump, Ogita and Oishi 2008, ExtractVector), until nothing is left; two such sums are one exactly.
    """
    parts: list[Float64Array] = []
    headroom = numbers.shape[1].bit_length() + 1
    rest = numbers.copy()
    with borrowed(numbers.size) as memory:
        high = memory[: numbers.size].reshape(numbers.shape)
        while (tops := np.max(np.abs(rest, out=high), axis=1)).any():
            if not (tops < LARGEST).all():
                return [ExactSum.of(row.tolist()) for row in numbers]
            powers = np.ldexp(1.0, np.frexp(tops)[1] + headroom)[:, np.newaxis]
            np.add(rest, powers, out=high)
            high -= powers
            parts.append(np.add.reduce(high, axis=1))
            rest -= high
    return _added(parts, len(numbers))


def _added(parts: list[Float64Array], count: int) -> list[ExactSum]:
    """The exact sums of one number of each part."""
    if len(parts) != 2:
        return [ExactSum.of(numbers) for numbers in zip(*parts, strict=True)] if parts else [_ZERO] * count
    one, other = parts
    values = one + other
    moved = values - one
    return _pairs(values, (one - (values - moved)) + (other - moved))


def _pairs(values: Float64Array, remainders: Float64Array) -> list[ExactSum]:
    """The exact sums of values with what remains of each, whose nearest double the value is."""
    return [
        ExactSum(value, (value, remainder) if remainder else (value,)) if value else _ZERO
        for value, remainder in zip(values.tolist(), remainders.tolist(), strict=True)
    ]


_ZERO = ExactSum(0.0, ())
