"""The group lasso: whole groups to zero."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from ...arrays import Float64Array, StepSize
from ...expansions import Exponents, norm_exponents
from ...regularizer import Description, Locality, Traits, register, require_strength
from ...summation import BlockSum
from .base import GroupRegularizer, Groups
from .compiled_loop import GroupScalars
from .norms import shrink_norms, write_directions


def _factors(norm: float, size: int, weight: float, step_size: float, strength: float) -> tuple[float, float]:
    threshold = step_size * strength * weight
    return 1.0, 0.0 if norm <= threshold else (norm - threshold) / norm


def _term(norm: float, size: int, weight: float, strength: float) -> float:
    return norm * weight


@register("group_lasso")
@dataclass(frozen=True, slots=True)
class GroupLasso(GroupRegularizer):
    """Sum of the groups' norms, ``strength * sum(weight_g * norm(x_g))``.

    Prox: ``max(0, 1 - step_size * strength * weight_g / norm(x_g)) * x_g``, 0 for a zero group. Gradient:
    ``strength * weight_g * x_g / norm(x_g)``, 0 for a zero group.

    Args:
        strength: Weight λ, finite, >= 0; units of loss per unit of x.
        groups: Which elements form a group, and the groups' weights.

    Raises:
        FieldOutOfRange: If strength is negative or not finite.

    Source: Yuan and Lin (2006), Model selection and estimation in regression with grouped variables.
    """

    strength: float
    groups: Groups

    scalars: ClassVar[GroupScalars | None] = GroupScalars(factors=_factors, term=_term)
    traits: ClassVar[Traits] = Traits(
        convex=True,
        separable=False,
        smooth=False,
        positively_homogeneous=True,
        indicator=False,
        locality=Locality.GROUP,
    )
    description: ClassVar[Description] = Description(
        title="group sparsity: whole neurons, inputs or channels exactly zero",
        penalty="strength * sum over g of weight_g * norm(x_g)",
        terms="weight_g * norm(x_g), squares added pairwise, at the group's first element; scale: strength",
        gradient="strength * weight_g * x_g / norm(x_g), 0 for a zero group",
        prox="max(0, 1 - step_size * strength * weight_g / norm(x_g)) * x_g, 0 for a zero group",
        parameters={
            "strength": "finite, >= 0; units of loss per unit of x",
            "groups": "which elements form a group, and the groups' weights",
        },
        source="Yuan and Lin 2006",
    )

    def __post_init__(self) -> None:
        """Check the parameters."""
        require_strength(self.strength)

    @property
    def scale(self) -> float:
        """The strength."""
        return self.strength

    def term_exponents(self, x: Exponents) -> Exponents:
        """Norms, times the groups' weights."""
        return norm_exponents(x).times(self.weight_exponents)

    def add_terms(self, x: Float64Array, sums: BlockSum, position: int = 0) -> None:
        """Add each group's weighted norm, at the place of the group's first element."""
        partition = self.partition_of(x)
        sums.add_at(position + partition.starts(), partition.times_weights(partition.norms(x)))

    def gradient(self, x: Float64Array, out: Float64Array) -> None:
        """Write strength·weight_g·x_g / ‖x_g‖, 0 for a zero group."""
        partition = self.partition_of(x)
        strengths = partition.times_weights(np.full(partition.count, self.strength))
        write_directions(partition, x, strengths, out)

    def prox(self, x: Float64Array, step_size: StepSize, out: Float64Array) -> None:
        """Write max(0, 1 − step_size·strength·weight_g / ‖x_g‖)·x_g."""
        partition = self.partition_of(x)
        thresholds = partition.times_weights(np.full(partition.count, step_size * self.strength))
        shrink_norms(partition, x, thresholds, out)
