"""The largest magnitude of a whole segment: equal peaks."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

from ...arrays import DataType
from ...reductions.reduction import Reduction, rounded
from ...reductions.rules import Clipped, Constant, Peaks, Rule
from ...reductions.survey import Search, Survey
from ...regularizer import NOT_NEGATIVE, Description, Locality, Traits, parameter, register
from .base import VectorRegularizer


@dataclass(frozen=True, slots=True)
class _Reduction(Reduction):
    strength: float

    def term(self, survey: Survey) -> Search[float]:
        """The largest magnitude."""
        return (yield from survey.peak()).largest

    def slope(self, survey: Survey) -> Search[Rule]:
        """The strength, shared by the largest magnitudes."""
        peak = yield from survey.peak()
        if math.isnan(peak.largest):
            return Constant(math.nan)
        return Peaks(peak.largest, self.strength / max(peak.ties, 1))

    def step(self, survey: Survey, step_size: float) -> Search[Rule]:
        """The peaks cut off where what is above adds up to what the step takes off."""
        less = step_size * self.strength
        survey.expect_threshold(less)
        facts = yield from survey.facts()
        if facts.nan or facts.infinite:
            return Constant(math.nan)  # no ceiling is known
        if less == 0:
            return Clipped(math.inf)
        if not (yield from survey.exceeds(less)):
            return Constant(0.0)
        return Clipped(rounded((yield from survey.threshold(less))))


@register("linf_norm")
@dataclass(frozen=True, slots=True)
class LinfNorm(VectorRegularizer):
    """Largest magnitude of the segment, ``strength * max(|x|)``: ``group_linf`` with one group.

    Cost: a few rounds over fewer and fewer elements, no sort. Source: Moreau (1965), Proximité et dualité
    dans un espace hilbertien.
    """

    strength: float = parameter(NOT_NEGATIVE, "units of loss per unit of x")

    scaled: ClassVar[bool] = True
    traits: ClassVar[Traits] = Traits(
        convex=True, positively_homogeneous=True, keeps_zeros=True, locality=Locality.REDUCTION
    )
    description: ClassVar[Description] = Description(
        title="equal peaks: the largest magnitudes of a segment brought down together",
        penalty="strength * max |x|",
        terms="max |x|, at the first element; scale: strength",
        gradient="strength * sign(x) / m on the m largest magnitudes, 0 elsewhere",
        prox="x - projection of x onto the L1 ball of radius step_size * strength",
        source="Moreau 1965",
    )

    def reduction_in(self, data_type: DataType) -> Reduction:
        """By the ceiling."""
        del data_type
        return _Reduction(self.strength)
