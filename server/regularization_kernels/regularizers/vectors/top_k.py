"""The k largest elements: sparsity of a given count."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

from ...arrays import FLOAT64, DataType
from ...errors import FieldOutOfRange
from ...reductions.reduction import Constant, Kept, Rule, SetReduction
from ...reductions.survey import Search, Survey
from ...regularizer import COUNT, Description, Locality, Traits, parameter, register
from .base import PreparedReducedSet, ReducedSet


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
class TopK(ReducedSet):
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

    def on(self, shape: tuple[int, ...], data_type: DataType = FLOAT64) -> PreparedReducedSet:
        """The set made ready for a segment of this shape.

        Raises:
            FieldOutOfRange: If the segment has fewer elements than may stay.
        """
        elements = math.prod(shape)
        if self.count > elements:
            text = f"must be at most the segment's {elements} elements, got {self.count}"
            raise FieldOutOfRange(text, field="count")
        return PreparedReducedSet(self, data_type)

    def reduction_in(self, data_type: DataType) -> SetReduction:
        """By the least magnitude that stays."""
        return _Reduction(self.count, data_type)
