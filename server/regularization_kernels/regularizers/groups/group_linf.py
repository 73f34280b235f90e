"""The L1,infinity norm: whole groups to zero, and equal peaks within groups."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from ...arrays import Float64Array, StepSize
from ...expansions import Exponents
from ...regularizer import Description, Locality, Traits, register, require_strength
from ...summation import BlockSum
from .base import GroupRegularizer, Groups
from .compiled_loop import GroupScalars
from .norms import clip_peaks, write_peaks
from .selections import Measure, Selection


def _term(peak: float, size: int, weight: float, strength: float) -> float:
    return peak * weight


@register("group_linf")
@dataclass(frozen=True, slots=True)
class GroupLinf(GroupRegularizer):
    """Sum of the groups' largest magnitudes, ``strength * sum(weight_g * max(|x_g|))``.

    Prox: ``x_g - P(x_g)``, P the projection onto the L1 ball of radius ``step_size * strength * weight_g``:
    no magnitude above a ceiling. Gradient: ``strength * weight_g * sign(x) / m`` on the m elements of a
    group that have the largest magnitude, 0 elsewhere.

    Args:
        strength: Weight λ, finite, >= 0; units of loss per unit of x.
        groups: Which elements form a group, and the groups' weights.

    Raises:
        FieldOutOfRange: If strength is negative or not finite.

    Cost: a few rounds over fewer and fewer elements of each group, no sort. Source: Quattoni, Carreras,
    Collins and Darrell (2009), An efficient projection for L1,infinity regularization.
    """

    strength: float
    groups: Groups

    scalars: ClassVar[GroupScalars | None] = GroupScalars(
        term=_term, measure=Measure.PEAK, selection=Selection.CLIP_PEAKS
    )
    traits: ClassVar[Traits] = Traits(
        convex=True,
        separable=False,
        smooth=False,
        positively_homogeneous=True,
        indicator=False,
        locality=Locality.GROUP,
    )
    description: ClassVar[Description] = Description(
        title="whole groups exactly zero, and equal peaks within the others",
        penalty="strength * sum over g of weight_g * max |x_g|",
        terms="weight_g * max |x_g|, at the group's first element; scale: strength",
        gradient="strength * weight_g * sign(x) / m on the m largest magnitudes of a group, 0 elsewhere",
        prox="x_g - projection of x_g onto the L1 ball of radius step_size * strength * weight_g",
        parameters={
            "strength": "finite, >= 0; units of loss per unit of x",
            "groups": "which elements form a group, and the groups' weights",
        },
        source="Quattoni et al. 2009",
    )

    def __post_init__(self) -> None:
        """Check the parameters."""
        require_strength(self.strength)

    @property
    def scale(self) -> float:
        """The strength."""
        return self.strength

    def workspace(self, elements: int) -> int:
        """Magnitudes, distances from the largest, those still looked at, and what it takes to add them."""
        return 7 * elements

    def term_exponents(self, x: Exponents) -> Exponents:
        """Magnitudes of elements, times the groups' weights."""
        return x.times(self.weight_exponents)

    def add_terms(self, x: Float64Array, sums: BlockSum, position: int = 0) -> None:
        """Add each group's weighted largest magnitude, at the place of the group's first element."""
        partition = self.partition_of(x)
        sums.add_at(position + partition.starts(), partition.times_weights(partition.maxima(np.abs(x))))

    def gradient(self, x: Float64Array, out: Float64Array) -> None:
        """Write strength·weight_g·sign(x) / m on the m largest magnitudes of each group."""
        partition = self.partition_of(x)
        strengths = partition.times_weights(np.full(partition.count, self.strength))
        write_peaks(partition, x, strengths, out)

    def prox(self, x: Float64Array, step_size: StepSize, out: Float64Array) -> None:
        """Write x_g less its projection onto the L1 ball of radius step_size·strength·weight_g."""
        partition = self.partition_of(x)
        radii = partition.times_weights(np.full(partition.count, step_size * self.strength))
        clip_peaks(partition, x, radii, out)
