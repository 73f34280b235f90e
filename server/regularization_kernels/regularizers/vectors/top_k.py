"""The k largest elements: sparsity of a given count."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from ...arrays import FLOAT64, DataType, Float64Array
from ...errors import FieldOutOfRange
from ...reductions.reduction import Constant, Kept, Reduction, Rule, SetReduction
from ...reductions.survey import Search, Survey
from ...regularizer import COUNT, Description, Locality, Traits, parameter, register
from .base import Breach, PreparedSet, SegmentSet
from .projections import SAMPLE, above, blocks


@dataclass(frozen=True, slots=True)
class _Reduction(SetReduction):
    count: int
    data_type: DataType

    def breach(self, survey: Survey, share: float) -> Search[tuple[str, float] | None]:
        """The number of elements that are not 0, where it is above the count."""
        del share
        nonzeros = (yield from survey.facts()).nonzeros
        if nonzeros <= self.count:
            return None
        return f"must have at most {self.count} elements that are not 0", nonzeros

    def projection(self, survey: Survey) -> Search[Rule]:
        """The largest elements, of equal ones the first."""
        if not self.count:
            return Constant(0.0)
        place = yield from survey.place(self.count)
        taken, last = self.count - place.above, survey.size - 1
        if taken < place.ties:
            last = yield from survey.position_of_tie(place.number, taken)
        return Kept(place.number, last)


@register("top_k")
@dataclass(frozen=True, slots=True)
class TopK(SegmentSet):
    """0 where at most ``count`` elements are not 0, infinite otherwise.

    Cost: O(n). Source: Blumensath and Davies (2009), Iterative hard thresholding for compressed sensing.
    """

    count: int = parameter(COUNT, "at most the segment's length", symbol="how many may stay")

    leaves_by_rounding: ClassVar[bool] = False
    traits: ClassVar[Traits] = Traits(
        positively_homogeneous=True, indicator=True, locality=Locality.REDUCTION
    )
    description: ClassVar[Description] = Description.of_set(
        title="sparsity of a given count: the largest elements stay",
        penalty="0 if at most count elements are not 0, infinity otherwise",
        prox="the count elements largest in magnitude, of equal ones the first; 0 elsewhere",
        source="Blumensath and Davies 2009",
    )

    def on(self, shape: tuple[int, ...], data_type: DataType = FLOAT64) -> PreparedSet:
        """The set made ready for a segment of this shape.

        Raises:
            FieldOutOfRange: If the segment has fewer elements than may stay.
        """
        elements = math.prod(shape)
        if self.count > elements:
            text = f"must be at most the segment's {elements} elements, got {self.count}"
            raise FieldOutOfRange(text, field="count")
        return PreparedSet(self, data_type)

    def breach(self, x: Float64Array, data_type: DataType, share: float = 1.0) -> Breach | None:
        """The number of elements that are not 0, where it is above the count."""
        del data_type, share
        nonzeros = int(np.count_nonzero(x != 0))
        if nonzeros <= self.count:
            return None
        return Breach(f"must have at most {self.count} elements that are not 0", nonzeros)

    def reduction_in(self, data_type: DataType) -> Reduction:
        """By the least magnitude that stays."""
        return _Reduction(self.count, data_type)

    def project(self, x: Float64Array, data_type: DataType, out: Float64Array) -> None:
        """Write the largest elements, and 0 elsewhere."""
        del data_type
        if not self.count:
            out.fill(0.0)
            return
        least, ties = _least_of_largest(x.reshape(-1), self.count)
        for old, new in zip(blocks(x.reshape(-1)), blocks(out.reshape(-1)), strict=True):
            magnitudes = np.abs(old)
            kept = magnitudes > least
            if ties:
                first = np.flatnonzero(magnitudes == least)[:ties]
                kept[first] = True
                ties -= first.size
            places = np.flatnonzero(kept)
            values = old.take(places)
            new.fill(0.0)
            new[places] = values


def _least_of_largest(x: Float64Array, count: int) -> tuple[float, int]:
    """The least of the ``count`` largest magnitudes, and how many that have it are among them."""
    candidates = above(x, _guess(x, count), np.abs)
    if candidates.size < count:
        candidates = np.abs(x)
    place = candidates.size - count
    candidates.partition(place)
    least = float(candidates[place])
    return least, int(np.count_nonzero(candidates[place:] == least))


def _guess(x: Float64Array, count: int) -> float:
    """Probably a little less than the least of the largest magnitudes, from a sample."""
    if x.size < 4 * SAMPLE:
        return 0.0
    sample = np.abs(x[:: x.size // SAMPLE])
    share = count * sample.size / x.size
    place = sample.size - 1 - int(share + 4.0 * math.sqrt(share) + 4.0)
    return float(np.partition(sample, place)[place]) if place > 0 else 0.0
