"""The Euclidean norm of a whole segment: all of it to zero."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from ...arrays import Float64Array, StepSize
from ...regularizer import Description, Locality, Traits, register, require_strength
from ...summation import BlockSum
from ..groups.base import WholeRegularizer
from ..groups.norms import shrink_norms, write_directions


@register("l2_norm")
@dataclass(frozen=True, slots=True)
class L2Norm(WholeRegularizer):
    """Euclidean norm of the segment, not squared, ``strength * norm(x)``.

    Prox: ``max(0, 1 - step_size * strength / norm(x)) * x``, 0 for zero. Gradient:
    ``strength * x / norm(x)``, 0 for zero. It is group_lasso with one group.

    Args:
        strength: Weight λ, finite, >= 0; units of loss per unit of x.

    Raises:
        FieldOutOfRange: If strength is negative or not finite.

    Source: Yuan and Lin (2006), Model selection and estimation in regression with grouped variables.
    """

    strength: float

    traits: ClassVar[Traits] = Traits(
        convex=True,
        separable=False,
        smooth=False,
        positively_homogeneous=True,
        indicator=False,
        locality=Locality.SEGMENT,
    )
    description: ClassVar[Description] = Description(
        title="a whole segment exactly zero, or shrunk without a change of direction",
        penalty="strength * norm(x), not squared",
        terms="norm(x), squares added pairwise, at the first element; scale: strength",
        gradient="strength * x / norm(x), 0 for zero",
        prox="max(0, 1 - step_size * strength / norm(x)) * x, 0 for zero",
        parameters={"strength": "finite, >= 0; units of loss per unit of x"},
        source="Yuan and Lin 2006, with one group",
    )

    def __post_init__(self) -> None:
        """Check the parameters."""
        require_strength(self.strength)

    @property
    def scale(self) -> float:
        """The strength."""
        return self.strength

    def add_terms(self, x: Float64Array, sums: BlockSum, position: int = 0) -> None:
        """Add the norm, at the place of the first element."""
        sums.add_at(np.array([position]), self.partition_of(x).norms(x))

    def gradient(self, x: Float64Array, out: Float64Array) -> None:
        """Write strength·x / ‖x‖, 0 for zero."""
        write_directions(self.partition_of(x), x, np.array([self.strength]), out)

    def prox(self, x: Float64Array, step_size: StepSize, out: Float64Array) -> None:
        """Write max(0, 1 − step_size·strength / ‖x‖)·x."""
        shrink_norms(self.partition_of(x), x, np.array([step_size * self.strength]), out)
