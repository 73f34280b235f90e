"""The sparse group lasso: whole groups to zero, and elements within the others."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from ...arrays import Float64Array, StepSize
from ...expansions import Exponents, exponents_of, norm_exponents
from ...regularizer import Description, Locality, Traits, register, require_strength
from ...summation import BlockSum
from ..elements.evaluation import evaluate
from ..elements.thresholding import soft_threshold
from .base import GroupRegularizer, Groups
from .compiled_loop import GroupScalars
from .norms import shrink_norms, write_directions


def _point(x: float, step_size: float, l1_strength: float, group_strength: float) -> float:
    threshold = step_size * l1_strength
    if threshold == 0.0:
        return x
    return x - min(max(x, -threshold), threshold)


def _factors(
    norm: float, size: int, weight: float, step_size: float, l1_strength: float, group_strength: float
) -> tuple[float, float]:
    threshold = step_size * group_strength * weight
    return 1.0, 0.0 if norm <= threshold else (norm - threshold) / norm


def _term(norm: float, size: int, weight: float, l1_strength: float, group_strength: float) -> float:
    return group_strength * (norm * weight)


def _element(x: float, l1_strength: float, group_strength: float) -> float:
    return abs(x) * l1_strength


@register("sparse_group_lasso")
@dataclass(frozen=True, slots=True)
class SparseGroupLasso(GroupRegularizer):
    """L1 norm and groups' norms, ``l1_strength * sum(|x|) + group_strength * sum(weight_g * norm(x_g))``.

    Prox: group_lasso's of l1_norm's: ``max(0, 1 - step_size * group_strength * weight_g / norm(s_g)) * s_g``
    with ``s = S(x, step_size * l1_strength)``. Gradient: ``l1_strength * sign(x) + group_strength *
    weight_g * x_g / norm(x_g)``, 0 for a zero group and at 0.

    Args:
        l1_strength: Weight of the absolute values, finite, >= 0; units of loss per unit of x.
        group_strength: Weight of the norms, finite, >= 0; units of loss per unit of x.
        groups: Which elements form a group, and the groups' weights.

    Raises:
        FieldOutOfRange: If a strength is negative or not finite.

    Source: Simon, Friedman, Hastie and Tibshirani (2013), A sparse-group lasso.
    """

    l1_strength: float
    group_strength: float
    groups: Groups

    scalars: ClassVar[GroupScalars | None] = GroupScalars(
        factors=_factors, term=_term, point=_point, element=_element
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
        title="sparse groups, and few of them: features within selected layers or factors",
        penalty="l1_strength * sum |x| + group_strength * sum over g of weight_g * norm(x_g)",
        terms="l1_strength * |x|, plus group_strength * (weight_g * norm(x_g)) at the group's first element, "
        "squares added pairwise",
        gradient="l1_strength * sign(x) + group_strength * weight_g * x_g / norm(x_g), 0 at 0",
        prox="max(0, 1 - step_size * group_strength * weight_g / norm(s_g)) * s_g, "
        "s = sign(x) * max(|x| - step_size * l1_strength, 0)",
        parameters={
            "l1_strength": "finite, >= 0; units of loss per unit of x",
            "group_strength": "finite, >= 0; units of loss per unit of x",
            "groups": "which elements form a group, and the groups' weights",
        },
        source="Simon et al. 2013",
    )

    def __post_init__(self) -> None:
        """Check the parameters."""
        require_strength(self.l1_strength, "l1_strength")
        require_strength(self.group_strength, "group_strength")

    @property
    def scale(self) -> float:
        """1: the terms have their strengths."""
        return 1.0

    def workspace(self, elements: int) -> int:
        """The elements' terms, and the squares in the order of the groups."""
        return 3 * elements

    def term_exponents(self, x: Exponents) -> Exponents:
        """Magnitudes, and norms times the groups' weights, each times its strength."""
        norms = norm_exponents(x).times(self.weight_exponents).times(exponents_of(self.group_strength))
        return x.times(exponents_of(self.l1_strength)).plus(norms)

    def add_terms(self, x: Float64Array, sums: BlockSum, position: int = 0) -> None:
        """Add l1_strength·|x|, and each group's weighted norm at the place of its first element."""
        partition = self.partition_of(x)
        terms = np.abs(x).reshape(-1)
        terms *= self.l1_strength
        if terms.size:  # slices of an empty segment are groups without a first element
            terms[partition.starts()] += self.group_strength * partition.times_weights(partition.norms(x))
        sums.add(terms, position)

    def gradient(self, x: Float64Array, out: Float64Array) -> None:
        """Write l1_strength·sign(x) + group_strength·weight_g·x_g / ‖x_g‖, 0 for a zero group."""
        partition = self.partition_of(x)
        signs = np.sign(x)
        signs *= self.l1_strength
        strengths = partition.times_weights(np.full(partition.count, self.group_strength))
        write_directions(partition, x, strengths, out)
        out += signs

    def prox(self, x: Float64Array, step_size: StepSize, out: Float64Array) -> None:
        """Write the group lasso's step of S(x, step_size·l1_strength)."""
        partition = self.partition_of(x)
        evaluate(soft_threshold, out.reshape(-1), x.reshape(-1), step_size * self.l1_strength)
        thresholds = partition.times_weights(np.full(partition.count, step_size * self.group_strength))
        shrink_norms(partition, out, thresholds, out)
