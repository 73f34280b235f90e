"""The k largest elements: sparsity of a given count."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

from ...arrays import FLOAT64, DataType
from ...reductions.reduction import SetReduction
from ...reductions.rules import Constant, Kept, Rule
from ...reductions.survey import Search, Survey
from ...regularizer import Description, Locality, Traits, parameter, register
from .base import PreparedReducedSet, ReducedSet
from .counts import CountOrFraction


@dataclass(frozen=True, slots=True)
class _Reduction(SetReduction):
    regularizer: TopK
    data_type: DataType

    def breach(self, survey: Survey, share: float) -> Search[tuple[str, float] | None]:
        """The number of elements that are not 0, where it is above the count."""
        del share
        nonzeros, most = (yield from survey.facts()).nonzeros, self.regularizer.most(survey.size)
        return None if nonzeros <= most else (f"must have at most {most} elements that are not 0", nonzeros)

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
class TopK(CountOrFraction, ReducedSet):
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
    traits: ClassVar[Traits] = Traits(
        positively_homogeneous=True, indicator=True, locality=Locality.REDUCTION
    )
    description: ClassVar[Description] = Description.of_set(
        title="sparsity of a given count, or share: the largest elements stay",
        penalty="0 if at most k elements are not 0, infinity otherwise",
        prox="the k elements largest in magnitude, of equal ones the first; 0 elsewhere",
        source="Blumensath and Davies 2009",
    )

    def on(self, shape: tuple[int, ...], data_type: DataType = FLOAT64) -> PreparedReducedSet:
        """The set made ready for a segment of this shape.

        Raises:
            FieldOutOfRange: If the segment has fewer elements than may stay.
        """
        self.check_total(math.prod(shape), "elements")
        return PreparedReducedSet(self, data_type)

    def reduction_in(self, data_type: DataType) -> SetReduction:
        """By the least magnitude that stays."""
        return _Reduction(self, data_type)
