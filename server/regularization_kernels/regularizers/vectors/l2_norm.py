"""The Euclidean norm of a whole segment: all of it to zero."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from ...arrays import DataType
from ...reductions.reduction import Reduction
from ...reductions.rules import Constant, Rule, Times
from ...reductions.survey import Search, Survey
from ...regularizer import NOT_NEGATIVE, Description, Locality, Traits, parameter, register
from .base import VectorRegularizer


@dataclass(frozen=True, slots=True)
class _Reduction(Reduction):
    strength: float

    def term(self, survey: Survey) -> Search[float]:
        """The norm."""
        return (yield from survey.squares()).root()

    def slope(self, survey: Survey) -> Search[Rule]:
        """The direction, times the strength."""
        norm = (yield from survey.squares()).root()
        return Times(self.strength, norm) if norm != 0 else Constant(0.0)

    def step(self, survey: Survey, step_size: float) -> Search[Rule]:
        """Shorter by what the step takes off, or 0."""
        norm, less = (yield from survey.squares()).root(), step_size * self.strength
        return Constant(0.0) if norm <= less else Times((norm - less) / norm)


@register("l2_norm")
@dataclass(frozen=True, slots=True)
class L2Norm(VectorRegularizer):
    """Euclidean norm of the segment, not squared, ``strength * norm(x)``: ``group_lasso`` with one group.

    Source: Yuan and Lin (2006), Model selection and estimation in regression with grouped variables.
    """

    strength: float = parameter(NOT_NEGATIVE, "units of loss per unit of x")

    scaled: ClassVar[bool] = True
    traits: ClassVar[Traits] = Traits(
        convex=True, positively_homogeneous=True, keeps_zeros=True, locality=Locality.REDUCTION
    )
    description: ClassVar[Description] = Description(
        title="a whole segment exactly zero, or shrunk without a change of direction",
        penalty="strength * norm(x), not squared",
        terms="norm(x), squares added exactly, at the first element; scale: strength",
        gradient="strength * x / norm(x), 0 for zero",
        prox="max(0, 1 - step_size * strength / norm(x)) * x, 0 for zero",
        source="Yuan and Lin 2006, with one group",
    )

    def reduction_in(self, data_type: DataType) -> Reduction:
        """By the norm."""
        del data_type
        return _Reduction(self.strength)
