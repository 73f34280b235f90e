"""The sparse group lasso: whole groups to zero, and elements within the others."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, cast

import numpy as np

from ...arrays import Float64Array, StepSize
from ...expansions import Exponents, exponents_of, norm_exponents
from ...formulas.evaluation import evaluate
from ...reductions.group_rules import GroupLoweredTimes, GroupScaledAndSigns
from ...reductions.rules import Rule, SameWithMagnitudes
from ...regularizer import NOT_NEGATIVE, Description, Locality, Traits, parameter, register
from ..elements.thresholding import soft_threshold
from .base import GROUPS_WORDS, GroupRegularizer, Groups, PreparedGroups
from .compiled_loop import GroupFormulas
from .group_lasso import factors, lengthened, write_directions, write_shortened_by
from .partitions import Slices


def _term(norm: Any, size: Any, weight: Any, l1_strength: float, group_strength: float) -> Any:
    return group_strength * (norm * weight)


def _element(x: Any, l1_strength: float, group_strength: float) -> Any:
    return abs(x) * l1_strength


def _point(x: Any, step_size: float, l1_strength: float, group_strength: float) -> Any:
    return soft_threshold(x, step_size * l1_strength)


def _factors(
    norm: Any, size: Any, weight: Any, step_size: float, l1_strength: float, group_strength: float
) -> tuple[float, Any]:
    return factors(norm, size, weight, step_size, group_strength)


@register("sparse_group_lasso")
@dataclass(frozen=True, slots=True)
class SparseGroupLasso(GroupRegularizer):
    """L1 norm and groups' norms, ``l1_strength * sum(|x|) + group_strength * sum(weight_g * norm(x_g))``.

    Source: Simon, Friedman, Hastie and Tibshirani (2013), A sparse-group lasso.
    """

    l1_strength: float = parameter(NOT_NEGATIVE, "units of loss per unit of x")
    group_strength: float = parameter(NOT_NEGATIVE, "units of loss per unit of x")
    groups: Groups = parameter(None, GROUPS_WORDS)

    formulas: ClassVar[GroupFormulas] = GroupFormulas(_term, factors=_factors, point=_point, element=_element)
    takes_orthant: ClassVar[bool] = True
    steps_in_metric: ClassVar[bool] = True
    reduces_slices: ClassVar[bool] = True
    traits: ClassVar[Traits] = Traits(
        convex=True, positively_homogeneous=True, keeps_zeros=True, locality=Locality.GROUP
    )
    description: ClassVar[Description] = Description(
        title="sparse groups, and few of them: features within selected layers or factors",
        penalty="l1_strength * sum |x| + group_strength * sum over g of weight_g * norm(x_g)",
        terms="l1_strength * |x|, plus group_strength * (weight_g * norm(x_g)) at the group's first element, "
        "squares added pairwise, those of slices that interleave on a grid, with lanes of their own",
        gradient="l1_strength * sign(x) + group_strength * weight_g * x_g / norm(x_g), 0 at 0",
        prox="max(0, 1 - step_size * group_strength * weight_g / norm(s_g)) * s_g, "
        "s = sign(x) * max(|x| - step_size * l1_strength, 0); with a step size for each element "
        "s by these, and then as group_lasso's",
        source="Simon et al. 2013",
    )

    def workspace(self, elements: int) -> int:
        """The elements' terms, and the squares in the order of the groups."""
        return 3 * elements

    def group_exponents(self, x: Exponents, weights: Exponents) -> Exponents:
        """Magnitudes, and norms times the groups' weights, each times its strength."""
        norms = norm_exponents(x).times(weights).times(exponents_of(self.group_strength))
        return x.times(exponents_of(self.l1_strength)).plus(norms)

    def slope(self, ready: PreparedGroups, x: Float64Array, out: Float64Array) -> None:
        """Write the elements' signs and the groups' directions, times their strengths."""
        signs = np.sign(x)
        signs *= self.l1_strength
        write_directions(ready.partition, x, self.group_strength, out)
        out += signs

    def step(self, ready: PreparedGroups, x: Float64Array, step_size: StepSize, out: Float64Array) -> None:
        """Write the soft threshold's groups times their factors, or shortened, as ``group_lasso`` does."""
        if isinstance(step_size, np.ndarray):
            # No element changes its sign on the second way, so both steps together are that of the sum.
            evaluate(_point, out.reshape(-1), x.reshape(-1), step_size.reshape(-1), *ready.numbers)
            write_shortened_by(ready.partition, out, step_size, self.group_strength, out)
        else:
            ready.multiply(x, step_size, out)

    def rule_of_nothing(self) -> Rule:
        """Elements have terms of their own."""
        return SameWithMagnitudes(self.l1_strength)

    def rule_of_slope(self, ready: PreparedGroups, norms: Float64Array) -> Rule:
        """The elements' signs and the directions of slices, times their strengths."""
        rule = lengthened(ready.partition, norms, ready.partition.times(self.group_strength))
        return GroupScaledAndSigns(rule.inner, rule.divisors, rule.factors, self.l1_strength)

    def rule_of_step(
        self,
        ready: PreparedGroups,
        divisors: Float64Array | float,
        factors: Float64Array,
        step_size: float,
    ) -> Rule:
        """Elements nearer to 0, and then slices times their factors."""
        del divisors
        inner = cast("Slices", ready.partition).inner
        return GroupLoweredTimes(inner, factors, step_size * self.l1_strength, self.l1_strength)
