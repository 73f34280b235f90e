"""The k largest elements: sparsity of a given count."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from ...arrays import FLOAT64, DataType, Float64Array
from ...reductions.reduction import Constant, Kept, Reduction, Rule, SetReduction
from ...reductions.survey import Search, Survey
from ...regularizer import Description, Locality, Traits, parameter, register
from .base import Breach, PreparedSet, SegmentSet
from .counts import CountOrFraction
from .projections import SAMPLE, above, blocks


@dataclass(frozen=True, slots=True)
class _Reduction(SetReduction):
    regularizer: TopK
    data_type: DataType

    def breach(self, survey: Survey, share: float) -> Search[tuple[str, float] | None]:
        """The number of elements that are not 0, where it is above the count."""
        del share
        nonzeros, most = (yield from survey.facts()).nonzeros, self.regularizer.most(survey.size)
        return None if nonzeros <= most else (_rule(most), nonzeros)

    def projection(self, survey: Survey) -> Search[Rule]:
        """The largest elements, of equal ones the first."""
        most = self.regularizer.most(survey.size)
        if not most:
            return Constant(0.0)
        place = yield from survey.place(most)
        taken, last = most - place.above, survey.size - 1
        if taken < place.ties:
            last = yield from survey.position_of_tie(place.number, taken)
        return Kept(place.number, last)


@register("top_k")
@dataclass(frozen=True, slots=True)
class TopK(CountOrFraction, SegmentSet):
    """0 where at most ``count`` elements, or a fraction of them, are not 0, infinite otherwise.

    Cost: O(n). Source: Blumensath and Davies (2009), Iterative hard thresholding for compressed sensing.
    """

    count: int | None = parameter(
        None, "how many may stay, k; >= 0, at most the segment's length; this or fraction", default=None
    )
    fraction: float | None = parameter(
        None,
        "which part of the n elements may stay, from 0 to 1, k = floor(fraction * n + 1/2); "
        "in place of count",
        default=None,
    )

    leaves_by_rounding: ClassVar[bool] = False
    traits: ClassVar[Traits] = Traits(positively_homogeneous=True, indicator=True, locality=Locality.SEGMENT)
    description: ClassVar[Description] = Description.of_set(
        title="sparsity of a given count, or share: the largest elements stay",
        penalty="0 if at most k elements are not 0, infinity otherwise",
        prox="the k elements largest in magnitude, of equal ones the first; 0 elsewhere",
        source="Blumensath and Davies 2009",
    )

    def on(self, shape: tuple[int, ...], data_type: DataType = FLOAT64) -> PreparedSet:
        """The set made ready for a segment of this shape.

        Raises:
            FieldOutOfRange: If the segment has fewer elements than may stay.
        """
        self.check_total(math.prod(shape), "elements")
        return PreparedSet(self, data_type)

    def breach(self, x: Float64Array, data_type: DataType, share: float = 1.0) -> Breach | None:
        """The number of elements that are not 0, where it is above the count."""
        del data_type, share
        nonzeros, most = int(np.count_nonzero(x != 0)), self.most(x.size)
        return None if nonzeros <= most else Breach(_rule(most), nonzeros)

    def reduction_in(self, data_type: DataType) -> Reduction:
        """By the least magnitude that stays."""
        return _Reduction(self, data_type)

    def project(self, x: Float64Array, data_type: DataType, out: Float64Array) -> None:
        """Write the largest elements, and 0 elsewhere."""
        del data_type
        most = self.most(x.size)
        if not most:
            out.fill(0.0)
            return
        least, ties = _least_of_largest(x.reshape(-1), most)
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


def _rule(most: int) -> str:
    return f"must have at most {most} elements that are not 0"


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
