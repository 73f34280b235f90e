"""SLOPE: strengths by rank, the largest for the largest element. OSCAR's fall by equal steps."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar, Self

import numpy as np
import numpy.typing as npt

from ...arrays import FLOAT64, DataType, Float64Array, StepSize
from ...errors import FieldMissing, FieldOutOfRange, LayoutInvalid
from ...interruption import go_on, turn
from ...regularizer import (
    NOT_NEGATIVE,
    Description,
    Locality,
    Parameters,
    Regularizer,
    Traits,
    parameter,
    register,
)
from ...summation import BlockSum
from .base import has_nan
from .pooling import pool_rows

_PLACE_BITS = 32
_PLACES = 1 << _PLACE_BITS
_LONG = 1 << 18
"""Elements that it takes a few hundredths of a second to sort."""
_STRETCH = 1 << 16
"""Elements for which numbers are at hand beside those of all."""


@dataclass(frozen=True, slots=True)
class Oscar(Parameters):
    """Strengths that fall by equal steps, ``l1_strength + pairwise_strength * (n - i)`` for i = 1 to n.

    With them SLOPE is ``l1_strength * sum(|x|)`` plus ``pairwise_strength`` times the sum over pairs of
    ``max(|x_i|, |x_j|)``.

    Source: Bondell and Reich (2008), Simultaneous regression shrinkage, variable selection, and supervised
    clustering of predictors with OSCAR.
    """

    l1_strength: float = parameter(NOT_NEGATIVE, "units of loss per unit of x")
    pairwise_strength: float = parameter(NOT_NEGATIVE, "units of loss per unit of x")


@register("slope")
@dataclass(frozen=True)
class Slope(Regularizer):
    """Strengths times sorted magnitudes, ``sum(strength_i * |x|_(i))``, ``|x|_(1)`` the largest magnitude.

    Cost: O(n log n), the sort. Memory: three float64 numbers an element beside input and result. Source:
    Bogdan, van den Berg, Sabatti, Su and Candès (2015), SLOPE: adaptive variable selection via convex
    optimization.
    """

    strengths: tuple[float, ...] | None = parameter(
        None, "one for each element, finite, >= 0, nonincreasing; units of loss per unit of x", default=None
    )
    oscar: Oscar | None = parameter(
        None, "strengths l1_strength + pairwise_strength * (n - i) in their place", default=None
    )

    traits: ClassVar[Traits] = Traits(
        convex=True, positively_homogeneous=True, keeps_zeros=True, locality=Locality.SEGMENT
    )
    description: ClassVar[Description] = Description(
        title="sparsity that gives related elements equal magnitudes: SLOPE, OSCAR",
        penalty="sum of strength_i * |x|_(i), |x|_(1) the largest magnitude",
        terms="strength_i * |x|_(i), at the place of the i-th element",
        gradient="strength_i * sign(x) by rank, averaged over equal magnitudes, 0 at 0",
        prox="sorted |x| - step_size * strength_i, pooled to be nonincreasing, cut off at 0, put back;"
        " memory: 3 float64 numbers an element beside input and result",
        source="Bogdan et al. 2015; Bondell and Reich 2008",
    )

    def __post_init__(self) -> None:
        """Check the parameters."""
        if self.strengths is None and self.oscar is None:
            raise FieldMissing("must have strengths or oscar")
        if self.strengths is None:
            return
        if self.oscar is not None:
            raise FieldOutOfRange("must be unset where there are strengths", field="oscar")
        array = self._explicit
        wrong = ~np.isfinite(array) | (array < 0)
        if wrong.any():
            first = int(np.argmax(wrong))
            text = f"must be finite and >= 0, got {self.strengths[first]!r}"
            raise FieldOutOfRange(text, field=f"strengths[{first}]")
        rises = array[1:] > array[:-1]
        if rises.any():
            first = int(np.argmax(rises))
            text = (
                f"must be <= the one before it {self.strengths[first]!r}, got {self.strengths[first + 1]!r}"
            )
            raise FieldOutOfRange(text, field=f"strengths[{first + 1}]")

    @cached_property
    def _explicit(self) -> Float64Array:
        return np.array(self.strengths, np.float64)

    def on(self, shape: tuple[int, ...], data_type: DataType = FLOAT64) -> Self:
        """The regularizer itself, if it has a strength for each element.

        Raises:
            LayoutInvalid: If it has more or fewer.
        """
        del data_type
        elements = math.prod(shape)
        if self.strengths is not None and len(self.strengths) != elements:
            text = f"must be one for each of the segment's {elements} elements, got {len(self.strengths)}"
            raise LayoutInvalid(text, field="strengths")
        return self

    def workspace(self, elements: int) -> int:
        """Magnitudes, their order, and the pools: three an element, and what a stretch needs."""
        return 3 * elements + 4 * min(elements, _STRETCH)

    def add_terms(self, x: Float64Array, sums: BlockSum, position: int = 0) -> None:
        """Add each strength times the magnitude of its rank."""
        magnitudes = np.abs(x).reshape(-1)
        with turn(x.size > _LONG):
            magnitudes.sort()
        with np.errstate(over="ignore", under="ignore", invalid="ignore"):
            magnitudes *= self._ascending_strengths(0, x.size)
            sums.add(magnitudes[::-1], position)

    def gradient(self, x: Float64Array, out: Float64Array) -> None:
        """Write the strengths by rank, averaged over equal magnitudes, with the signs of x."""
        if not x.size or has_nan(x):
            out.fill(math.nan)
            return
        order, magnitudes = _ascending(x)
        self._average_strengths(magnitudes)
        slopes = _put_back(magnitudes, order)
        np.sign(x, out=out)
        np.multiply(slopes.reshape(x.shape), out, out=out)
        out += 0.0  # no negative zeros

    def _average_strengths(self, magnitudes: Float64Array) -> None:
        """Write over ascending magnitudes the mean strength of those that are equal."""
        begin = 0
        while begin < magnitudes.size:
            go_on()
            last = magnitudes[min(begin + _STRETCH, magnitudes.size) - 1]
            end = begin + int(np.searchsorted(magnitudes[begin:], last, side="right"))
            part = magnitudes[begin:end]
            starts = np.flatnonzero(np.append(True, part[1:] != part[:-1]))
            counts = np.diff(starts, append=part.size)
            part[:] = np.repeat(
                np.add.reduceat(self._ascending_strengths(begin, end), starts) / counts, counts
            )
            begin = end

    def prox(self, x: Float64Array, step_size: StepSize, out: Float64Array) -> None:
        """Write x with each magnitude less its share of the strengths, NaN where one is not finite."""
        if not x.size or not np.isfinite(x).all():
            out.fill(math.nan)
            return
        order, magnitudes = _ascending(x)
        with np.errstate(over="ignore", under="ignore", invalid="ignore"):
            for begin, end in _stretches(magnitudes.size):
                magnitudes[begin:end] -= step_size * self._ascending_strengths(begin, end)
            go_on()
            pool_rows(magnitudes, magnitudes.size, magnitudes)
        go_on()
        np.maximum(magnitudes, 0.0, out=magnitudes)
        back = _put_back(magnitudes, order)
        np.copysign(back.reshape(x.shape), x, out=out)
        out += 0.0  # no negative zeros

    def _ascending_strengths(self, begin: int, end: int) -> Float64Array:
        """Those of the magnitudes begin..end, of which the smallest is the first."""
        if self.oscar is not None:
            steps = np.arange(begin, end, dtype=np.float64)
            return self.oscar.l1_strength + self.oscar.pairwise_strength * steps
        return self._explicit[::-1][begin:end]


def _stretches(elements: int) -> list[tuple[int, int]]:
    """Where stretches of so many elements begin and end: what is computed with them takes little memory."""
    return [(begin, min(begin + _STRETCH, elements)) for begin in range(0, elements, _STRETCH)]


def _ascending(x: Float64Array) -> tuple[npt.NDArray[Any], Float64Array]:
    """The places of the magnitudes from the smallest on, and the magnitudes in that order."""
    flat = x.reshape(-1)
    packed = _packed(flat)
    if packed is not None:
        return _sorted_by_bits(packed)
    magnitudes = np.abs(flat)
    with turn(x.size > _LONG):
        order: npt.NDArray[Any] = np.argsort(magnitudes)
    if order.size <= _PLACES:
        order = order.astype(np.uint32)
    ascending = np.empty_like(magnitudes)
    for begin, end in _stretches(order.size):
        ascending[begin:end] = magnitudes[order[begin:end]]
    return order, ascending


def _packed(flat: Float64Array) -> npt.NDArray[np.uint64] | None:
    """The magnitudes' bits with their places below them, if they are numbers of float32.

    Bits of numbers >= 0 are in the order of the numbers, and sorting these takes a fraction of the time of
    sorting places by numbers.
    """
    if flat.size > _PLACES:
        return None
    packed = np.empty(flat.size, np.uint64)
    for begin, end in _stretches(flat.size):
        magnitudes = np.abs(flat[begin:end])
        with np.errstate(over="ignore", under="ignore"):
            single = magnitudes.astype(np.float32)
        if not np.array_equal(single, magnitudes):
            return None
        packed[begin:end] = single.view(np.uint32)
        packed[begin:end] <<= _PLACE_BITS
        packed[begin:end] |= np.arange(begin, end, dtype=np.uint64)
    return packed


def _sorted_by_bits(packed: npt.NDArray[np.uint64]) -> tuple[npt.NDArray[Any], Float64Array]:
    """The places and the magnitudes, in ascending order, of what is used up here."""
    go_on()
    with turn(packed.size > _LONG):
        packed.sort()
    order, magnitudes = np.empty(packed.size, np.uint32), np.empty(packed.size)
    for begin, end in _stretches(packed.size):
        part = packed[begin:end]
        order[begin:end] = part & np.uint64(_PLACES - 1)
        part >>= _PLACE_BITS
        magnitudes[begin:end] = part.astype(np.uint32).view(np.float32)
    return order, magnitudes


def _put_back(ascending: Float64Array, order: npt.NDArray[Any]) -> Float64Array:
    """The elements at their places."""
    back = np.empty_like(ascending)
    for begin, end in _stretches(order.size):
        back[order[begin:end]] = ascending[begin:end]
    return back
