"""The largest magnitude of a whole segment: equal peaks."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from ...arrays import Float64Array, StepSize
from ...regularizer import Description, Locality, Traits, register, require_strength
from ...summation import BlockSum
from ..groups.base import WholeRegularizer
from ..groups.norms import clip_peaks, write_peaks


@register("linf_norm")
@dataclass(frozen=True, slots=True)
class LinfNorm(WholeRegularizer):
    """Largest magnitude of the segment, ``strength * max(|x|)``.

    Prox: ``x - P(x)``, P the projection onto the L1 ball of radius ``step_size * strength``: no magnitude
    above a ceiling. Gradient: ``strength * sign(x) / m`` on the m elements that have the largest magnitude, 0
    elsewhere. It is group_linf with one group.

    Args:
        strength: Weight λ, finite, >= 0; units of loss per unit of x.

    Raises:
        FieldOutOfRange: If strength is negative or not finite.

    Cost: a few rounds over fewer and fewer elements, no sort. Source: Moreau (1965), Proximité et dualité
    dans un espace hilbertien.
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
        title="equal peaks: the largest magnitudes of a segment brought down together",
        penalty="strength * max |x|",
        terms="max |x|, at the first element; scale: strength",
        gradient="strength * sign(x) / m on the m largest magnitudes, 0 elsewhere",
        prox="x - projection of x onto the L1 ball of radius step_size * strength",
        parameters={"strength": "finite, >= 0; units of loss per unit of x"},
        source="Moreau 1965",
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

    def add_terms(self, x: Float64Array, sums: BlockSum, position: int = 0) -> None:
        """Add the largest magnitude, at the place of the first element."""
        sums.add_at(np.array([position]), self.partition_of(x).maxima(np.abs(x)))

    def gradient(self, x: Float64Array, out: Float64Array) -> None:
        """Write strength·sign(x) / m on the m largest magnitudes."""
        write_peaks(self.partition_of(x), x, np.array([self.strength]), out)

    def prox(self, x: Float64Array, step_size: StepSize, out: Float64Array) -> None:
        """Write x less its projection onto the L1 ball of radius step_size·strength."""
        clip_peaks(self.partition_of(x), x, np.array([step_size * self.strength]), out)
