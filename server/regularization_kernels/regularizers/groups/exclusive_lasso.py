"""The exclusive lasso: few elements within each group."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from ...arrays import Float64Array, StepSize
from ...regularizer import Description, Locality, Traits, register, require_strength
from ...summation import BlockSum
from .base import GroupRegularizer, Groups
from .compiled_loop import GroupScalars
from .norms import exclusive_thresholds
from .selections import Measure, Selection


def _term(total: float, size: int, weight: float, strength: float) -> float:
    return 0.5 * (total * total) * weight


@register("exclusive_lasso")
@dataclass(frozen=True, slots=True)
class ExclusiveLasso(GroupRegularizer):
    """Half the groups' squared L1 norms, ``strength * 1/2 * sum(weight_g * sum(|x_g|)**2)``.

    Prox: ``sign(x) * max(|x| - tau, 0)`` in each group, with ``u = step_size * strength * weight_g`` and
    ``tau = u * (sum of the k largest |x|) / (1 + k * u)`` for the largest k whose k-th largest |x| is above
    tau. Gradient: ``strength * weight_g * sum(|x_g|) * sign(x)``, 0 at 0.

    Args:
        strength: Weight λ, finite, >= 0; units of loss per squared unit of x.
        groups: Which elements form a group, and the groups' weights.

    Raises:
        FieldOutOfRange: If strength is negative or not finite.

    Cost: a few rounds over fewer and fewer elements of each group, no sort. Source: Zhou, Jin and Hoi (2010),
    Exclusive lasso for multi-task feature selection.
    """

    strength: float
    groups: Groups

    scalars: ClassVar[GroupScalars | None] = GroupScalars(
        term=_term, measure=Measure.MAGNITUDE, selection=Selection.SUBTRACT_SHARE
    )
    traits: ClassVar[Traits] = Traits(
        convex=True,
        separable=False,
        smooth=False,
        positively_homogeneous=False,
        indicator=False,
        locality=Locality.GROUP,
    )
    description: ClassVar[Description] = Description(
        title="few elements within each group: features that compete",
        penalty="strength * 1/2 * sum over g of weight_g * (sum |x_g|)^2",
        terms="weight_g * (1/2 * (s * s)), s = sum |x_g| added pairwise, at the group's first element; "
        "scale: strength",
        gradient="strength * weight_g * (sum |x_g|) * sign(x), 0 at 0",
        prox="sign(x) * max(|x| - tau, 0), tau = u * (sum of the k largest |x|) / (1 + k u) with "
        "u = step_size * strength * weight_g and the largest k whose k-th largest |x| is above tau",
        parameters={
            "strength": "finite, >= 0; units of loss per squared unit of x",
            "groups": "which elements form a group, and the groups' weights",
        },
        source="Zhou, Jin and Hoi 2010",
    )

    def __post_init__(self) -> None:
        """Check the parameters."""
        require_strength(self.strength)

    @property
    def scale(self) -> float:
        """The strength."""
        return self.strength

    def workspace(self, elements: int) -> int:
        """Magnitudes, those that are still looked at, and what it takes to add them."""
        return 6 * elements

    def add_terms(self, x: Float64Array, sums: BlockSum, position: int = 0) -> None:
        """Add half of each group's weighted squared sum, at the place of the group's first element."""
        partition = self.partition_of(x)
        totals = partition.sums(np.abs(x))
        sums.add_at(position + partition.starts(), partition.times_weights(0.5 * (totals * totals)))

    def gradient(self, x: Float64Array, out: Float64Array) -> None:
        """Write strength·weight_g·(Σ|x_g|)·sign(x)."""
        partition = self.partition_of(x)
        strengths = partition.times_weights(np.full(partition.count, self.strength))
        slopes = strengths * partition.sums(np.abs(x))
        np.sign(x, out=out)
        partition.apply(np.multiply, out, slopes, out)
        out += 0.0  # no negative zeros

    def prox(self, x: Float64Array, step_size: StepSize, out: Float64Array) -> None:
        """Write S(x_g, τ_g)."""
        partition = self.partition_of(x)
        magnitudes = np.abs(x)
        strengths = partition.times_weights(np.full(partition.count, step_size * self.strength))
        thresholds = exclusive_thresholds(partition, magnitudes, strengths)
        partition.apply(np.minimum, magnitudes, thresholds, magnitudes)
        np.copysign(magnitudes, x, out=magnitudes)
        np.subtract(x, magnitudes, out=out)
