"""The group lasso: whole groups to zero."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, cast

import numpy as np

from ...arrays import Float64Array, StepSize
from ...expansions import Exponents, norm_exponents
from ...formulas.operations import where
from ...reductions.group_rules import GroupScaled
from ...reductions.rules import Rule
from ...regularizer import NOT_NEGATIVE, Description, Locality, Traits, parameter, register
from .base import GROUPS_WORDS, GroupRegularizer, Groups, PreparedGroups
from .compiled_loop import GroupFormulas
from .metric import write_shortened
from .partitions import Partition, Slices


def _term(norm: Any, size: Any, weight: Any, strength: float) -> Any:
    return norm * weight


def factors(norm: Any, size: Any, weight: Any, step_size: float, strength: float) -> tuple[float, Any]:
    """By what a group is multiplied: ``max(0, 1 - threshold / norm)``, with nothing divided first."""
    threshold = step_size * strength * weight
    return 1.0, where(norm <= threshold, 0.0, (norm - threshold) / norm)


@register("group_lasso")
@dataclass(frozen=True, slots=True)
class GroupLasso(GroupRegularizer):
    """Sum of the groups' norms, ``strength * sum(weight_g * norm(x_g))``.

    Source: Yuan and Lin (2006), Model selection and estimation in regression with grouped variables.
    """

    strength: float = parameter(NOT_NEGATIVE, "units of loss per unit of x")
    groups: Groups = parameter(None, GROUPS_WORDS)

    formulas: ClassVar[GroupFormulas] = GroupFormulas(_term, factors=factors)
    scaled: ClassVar[bool] = True
    takes_orthant: ClassVar[bool] = True
    steps_in_metric: ClassVar[bool] = True
    reduces_slices: ClassVar[bool] = True
    traits: ClassVar[Traits] = Traits(
        convex=True, positively_homogeneous=True, keeps_zeros=True, locality=Locality.GROUP
    )
    description: ClassVar[Description] = Description(
        title="group sparsity: whole neurons, inputs or channels exactly zero",
        penalty="strength * sum over g of weight_g * norm(x_g)",
        terms="weight_g * norm(x_g), squares added pairwise, those of slices that interleave on a grid, "
        "at the group's first element; scale: strength",
        gradient="strength * weight_g * x_g / norm(x_g), 0 for a zero group",
        prox="max(0, 1 - step_size * strength * weight_g / norm(x_g)) * x_g, 0 for a zero group; "
        "with a step size for each element x_i / (1 + t_i / r), t_i = step_size_i * strength * weight_g, "
        "r the root of sum over i of (x_i / (r + t_i))^2 = 1, 0 where there is none",
        source="Yuan and Lin 2006",
    )

    def group_exponents(self, x: Exponents, weights: Exponents) -> Exponents:
        """Norms, times the groups' weights."""
        return norm_exponents(x).times(weights)

    def slope(self, ready: PreparedGroups, x: Float64Array, out: Float64Array) -> None:
        """Write each group's direction, times its strength."""
        write_directions(ready.partition, x, self.strength, out)

    def step(self, ready: PreparedGroups, x: Float64Array, step_size: StepSize, out: Float64Array) -> None:
        """Write the groups times their factors, or shortened where each element has its step size."""
        if isinstance(step_size, np.ndarray):
            write_shortened_by(ready.partition, x, step_size, self.strength, out)
        else:
            ready.multiply(x, step_size, out)

    def rule_of_slope(self, ready: PreparedGroups, norms: Float64Array) -> Rule:
        """The same of slices."""
        return lengthened(ready.partition, norms, ready.partition.times(self.strength))


def write_directions(partition: Partition, x: Float64Array, strength: float, out: Float64Array) -> None:
    """Write ``strength * weight_g * x_g / norm(x_g)``, 0 for a zero group."""
    write_lengthened(partition, x, partition.norms(x), partition.times(strength), out)


def write_shortened_by(
    groups: Partition, x: Float64Array, step_sizes: Float64Array, strength: float, out: Float64Array
) -> None:
    """Write the step with a step size for each element; ``out`` may be x."""
    thresholds = step_sizes * strength
    groups.apply(np.multiply, thresholds, groups.times(1.0), thresholds)
    write_shortened(groups, x, thresholds, out)


def lengthened(groups: Partition, norms: Float64Array, lengths: Float64Array) -> GroupScaled:
    """The rule by which slices become ``length_g * x_g / norm(x_g)``, 0 for a zero group."""
    return GroupScaled(cast("Slices", groups).inner, np.where(norms == 0, 1.0, norms), lengths)


def write_lengthened(
    groups: Partition, x: Float64Array, norms: Float64Array, lengths: Float64Array, out: Float64Array
) -> None:
    """Write ``length_g * x_g / norm(x_g)``, 0 for a zero group."""
    with np.errstate(invalid="ignore"):
        groups.apply(np.divide, x, np.where(norms == 0, 1.0, norms), out)
    groups.apply(np.multiply, out, lengths, out)
    out += 0.0  # no negative zeros
