"""Partitions of a segment into groups, as arrays, and what can be computed over each group.

The bits of a group's sum are defined, as those of long sums are: the group's terms, and no others,
are added in float64 by pairwise summation with eight accumulators. Up to 7 terms are added in
order; up to 128, accumulator i of eight adds the terms i, i + 8, i + 16, …, the eight are added as
((0+1)+(2+3))+((4+5)+(6+7)), then come the terms left over, in order; more than 128 are cut at half their
number, rounded down to a multiple of 8, and the sums of the two parts are added. This is what
``np.add.reduce`` does along the last axis of a C-contiguous array (checked by a test).

The squares of slices along an axis after the first, which interleave, are added on a grid instead
(``reductions.group_squares``), for these sums are the same in any order.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from copy import copy
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import numpy.typing as npt

from ...arrays import Float64Array, StepSize
from ...expansions import Exponents, exponents_of, exponents_of_all
from ...interruption import go_on
from ...reductions.group_squares import MOST_IN_A_GROUP, GroupSquareQuestion, GroupSquares

if TYPE_CHECKING:
    from collections.abc import Callable


NORM_SQUARED_SAFE = (1e-280, 1e300)
"""Sums of squares outside of which squares may have lost bits, or everything."""


class Partition(ABC):
    """A segment's elements in ``count`` groups, each with a weight.

    Arrays of elements are flat or in the segment's shape, and C-contiguous; arrays of groups are
    ``(count,)``.
    """

    __slots__ = ("_weights", "count")

    def __init__(self, count: int) -> None:
        self.count = count
        self._weights: Float64Array | float | None = None

    def weighted(self, weights: Float64Array | float) -> Self:
        """The same groups with these weights, or this one for all."""
        other = copy(self)
        other._weights = weights
        return other

    @property
    def weights(self) -> Float64Array | float:
        """The groups' weights, or the one of all."""
        return 1.0 if self._weights is None else self._weights

    def largest_weight(self) -> float:
        """The largest of the groups' weights; 0 where there is no group."""
        return float(np.max(self.weights, initial=0.0)) if self.count else 0.0

    @abstractmethod
    def smallest_size(self) -> int:
        """The least number of elements of a group, of which there is one at least."""

    def weight_exponents(self) -> Exponents:
        """Where the groups' weights lie."""
        weights = self.weights
        return exponents_of(weights) if isinstance(weights, float) else exponents_of_all(weights)

    def times_weights(self, values: Float64Array) -> Float64Array:
        """The values, one for each group, times the groups' weights."""
        return values if self._weights is None else values * self._weights

    def times(self, number: StepSize) -> Float64Array:
        """The groups' weights times a number."""
        return self.times_weights(np.full(self.count, number))

    def norms(self, x: Float64Array) -> Float64Array:
        """The Euclidean norm of each group, free of overflow and underflow.

        It is the root of the sum of squares where that is safe; elsewhere the elements are divided by the
        largest magnitude first, and the root is multiplied by it.
        """
        with np.errstate(over="ignore", under="ignore"):
            sums = self.sums(np.square(x))
        low, high = NORM_SQUARED_SAFE
        safe = (sums > low) & (sums < high)
        if not safe.all():
            magnitudes = np.abs(x)
            largest = self.maxima(magnitudes)
            if not np.all(safe | (largest == 0)):
                return np.where(safe, np.sqrt(sums), self._scaled_norms(magnitudes, largest))
        return np.sqrt(sums)

    def _scaled_norms(self, magnitudes: Float64Array, largest: Float64Array) -> Float64Array:
        divisors = np.where((largest > 0) & np.isfinite(largest), largest, 1.0)
        scaled = np.empty_like(magnitudes)
        self.apply(np.divide, magnitudes, divisors, scaled)
        return np.sqrt(self.sums(np.square(scaled))) * divisors

    @abstractmethod
    def starts(self) -> npt.NDArray[np.int64]:
        """Position of each group's first element."""

    @abstractmethod
    def sizes(self) -> npt.NDArray[np.int64]:
        """Each group's number of elements."""

    @abstractmethod
    def sqrt_sizes(self) -> Float64Array | float:
        """The square root of each group's number of elements, or of all groups' where it is the same."""

    @abstractmethod
    def sums(self, terms: Float64Array) -> Float64Array:
        """The sum of each group's terms, by the rule above."""

    @abstractmethod
    def maxima(self, values: Float64Array) -> Float64Array:
        """The largest of each group's values."""

    @abstractmethod
    def apply(
        self, operation: Callable[..., Any], x: Float64Array, values: Float64Array, out: Float64Array
    ) -> None:
        """Write ``operation(element, its group's value)`` for every element; ``out`` may be x."""

    @abstractmethod
    def gathered(self, values: Float64Array) -> Float64Array:
        """The values of one group after those of another, in a flat array; it may be the input's memory."""

    @abstractmethod
    def spread(self, values: npt.NDArray[Any], out: npt.NDArray[Any]) -> None:
        """Write values that come one group after the other to the places of their elements."""

    def numbers(self) -> npt.NDArray[np.int64]:
        """The number of each element's group, in a flat array."""
        sizes = self.sizes()
        numbers = np.empty(int(sizes.sum()), np.int64)
        self.spread(np.repeat(np.arange(self.count), sizes), numbers)
        return numbers

    @abstractmethod
    def cut(self, position: int) -> int:
        """The last end of a group at or before ``position``."""

    @abstractmethod
    def restricted(self, begin: int, end: int) -> Partition:
        """The groups between two ends of groups."""

    def _weights_of(self, first: int, last: int) -> Float64Array | float | None:
        return self._weights[first:last] if isinstance(self._weights, np.ndarray) else self._weights


class Slices(Partition):
    """Slices of an array of shape (outer, count, inner) along its middle axis."""

    __slots__ = ("inner", "outer")

    def __init__(self, outer: int, count: int, inner: int) -> None:
        super().__init__(count)
        self.outer = outer
        self.inner = inner

    def question(
        self, point: Callable[..., Any] | None = None, numbers: tuple[float, ...] = ()
    ) -> GroupSquareQuestion:
        """What the squares of each group add up to, of elements or of what a formula makes of them."""
        return GroupSquareQuestion(self.count, self.inner, self.outer * self.inner, point, numbers)

    def squares(self, x: Float64Array) -> GroupSquares:
        """The sums of each group's squares."""
        squares = self.question().of_nothing()
        squares.add(x.reshape(-1), 0)
        return squares

    def norms(self, x: Float64Array) -> Float64Array:
        """The Euclidean norm of each group, free of overflow and underflow: its sum is rounded once."""
        if not x.size or self.outer * self.inner > MOST_IN_A_GROUP:
            return super().norms(x)
        return self.squares(x).norms()

    def starts(self) -> npt.NDArray[np.int64]:
        """Position of each group's first element."""
        return np.arange(self.count, dtype=np.int64) * self.inner

    def smallest_size(self) -> int:
        """The least number of elements of a group."""
        return self.outer * self.inner

    def sizes(self) -> npt.NDArray[np.int64]:
        """Each group's number of elements."""
        return np.full(self.count, self.outer * self.inner, dtype=np.int64)

    def sqrt_sizes(self) -> Float64Array | float:
        """The square root of the groups' number of elements."""
        # Around an axis of length 0 the others may have any lengths, and their product too many digits.
        return math.sqrt(self.outer * self.inner) if self.count else 0.0

    def sums(self, terms: Float64Array) -> Float64Array:
        """The sum of each group's terms, in the order of the segment's elements."""
        sums: Float64Array = np.add.reduce(self._rows(terms), axis=1)
        return sums

    def maxima(self, values: Float64Array) -> Float64Array:
        """The largest of each group's values."""
        maxima: Float64Array = np.max(self._rows(values), axis=1, initial=0.0)
        return maxima

    def apply(
        self, operation: Callable[..., Any], x: Float64Array, values: Float64Array, out: Float64Array
    ) -> None:
        """Write ``operation(element, its group's value)`` for every element; ``out`` may be x."""
        shape = (self.outer, self.count, self.inner)
        operation(x.reshape(shape), values[:, np.newaxis], out=out.reshape(shape))

    def gathered(self, values: Float64Array) -> Float64Array:
        """The values of one group after those of another."""
        return self._rows(values).reshape(-1)

    def spread(self, values: npt.NDArray[Any], out: npt.NDArray[Any]) -> None:
        """Write values that come one group after the other to the places of their elements."""
        slices = values.reshape(self.count, self.outer, self.inner).swapaxes(0, 1)
        out.reshape(self.outer, self.count, self.inner)[...] = slices

    def cut(self, position: int) -> int:
        """Slices along an axis interleave: nowhere but before the first element or after the last."""
        elements = self.outer * self.count * self.inner
        return elements if position >= elements else 0

    def restricted(self, begin: int, end: int) -> Partition:
        """All of it, for it cannot be cut."""
        del begin, end
        return self

    def _rows(self, values: Float64Array) -> Float64Array:
        rows = values.reshape(self.outer, self.count, self.inner).swapaxes(0, 1)
        return np.ascontiguousarray(rows).reshape(self.count, self.outer * self.inner)


class EvenRuns(Slices):
    """Consecutive runs of the same size."""

    __slots__ = ()

    def __init__(self, count: int, size: int) -> None:
        super().__init__(1, count, size)

    def norms(self, x: Float64Array) -> Float64Array:
        """The Euclidean norm of each group, free of overflow and underflow: of a pairwise sum."""
        return Partition.norms(self, x)

    def cut(self, position: int) -> int:
        """The last end of a group at or before ``position``."""
        return min(position, self.count * self.inner) // self.inner * self.inner

    def restricted(self, begin: int, end: int) -> Partition:
        """The groups between two ends of groups."""
        first, last = begin // self.inner, end // self.inner
        part = EvenRuns(last - first, self.inner)
        part._weights = self._weights_of(first, last)
        return part

    def in_rows(self, values: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """A view of the elements in which each group lies along the last axis."""
        return values.reshape(self.count, 1, self.inner)


class RaggedRuns(Partition):
    """Consecutive runs of any sizes >= 1.

    Args:
        edges: Where each run begins, and where the last one ends.

    Raises:
        ValueError: If they do not increase from 0: compiled loops, which check no index, rely on it.
    """

    __slots__ = ("edges",)

    def __init__(self, edges: npt.NDArray[np.int64]) -> None:
        if not edges.size or edges[0] != 0 or not (edges[1:] > edges[:-1]).all():
            raise ValueError("edges of runs must increase from 0")
        super().__init__(edges.size - 1)
        self.edges = edges

    def starts(self) -> npt.NDArray[np.int64]:
        """Position of each group's first element."""
        return self.edges[:-1]

    def smallest_size(self) -> int:
        """The least number of elements of a group."""
        return int(self.sizes().min())

    def sizes(self) -> npt.NDArray[np.int64]:
        """Each group's number of elements."""
        return np.diff(self.edges)

    def sqrt_sizes(self) -> Float64Array | float:
        """The square root of each group's number of elements."""
        return np.sqrt(self.sizes().astype(np.float64))

    def sums(self, terms: Float64Array) -> Float64Array:
        """The sum of each group's terms: groups of one size at a time, gathered into rows."""
        flat, sizes, sums = terms.reshape(-1), self.sizes(), np.empty(self.count)
        different = np.unique(sizes)
        if different.size == 1:
            return np.add.reduce(flat.reshape(self.count, -1), axis=1, out=sums)
        for size in different:
            go_on()
            of_this_size = np.flatnonzero(sizes == size)
            rows = flat[self.edges[of_this_size, np.newaxis] + np.arange(size)]
            sums[of_this_size] = np.add.reduce(rows, axis=1)
        return sums

    def maxima(self, values: Float64Array) -> Float64Array:
        """The largest of each group's values."""
        return np.maximum.reduceat(values.reshape(-1), self.edges[:-1]) if self.count else np.empty(0)

    def apply(
        self, operation: Callable[..., Any], x: Float64Array, values: Float64Array, out: Float64Array
    ) -> None:
        """Write ``operation(element, its group's value)`` for every element; ``out`` may be x."""
        operation(x.reshape(-1), np.repeat(values, self.sizes()), out=out.reshape(-1))

    def gathered(self, values: Float64Array) -> Float64Array:
        """The values of one group after those of another."""
        return values.reshape(-1)

    def spread(self, values: npt.NDArray[Any], out: npt.NDArray[Any]) -> None:
        """Write values that come one group after the other to the places of their elements."""
        out.reshape(-1)[...] = values

    def cut(self, position: int) -> int:
        """The last end of a group at or before ``position``."""
        return int(self.edges[np.searchsorted(self.edges, position, side="right") - 1])

    def restricted(self, begin: int, end: int) -> Partition:
        """The groups between two ends of groups."""
        first, last = np.searchsorted(self.edges, (begin, end))
        part = RaggedRuns(self.edges[first : last + 1] - begin)
        part._weights = self._weights_of(int(first), int(last))
        return part
