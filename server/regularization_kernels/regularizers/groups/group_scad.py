"""The group SCAD: whole groups to zero, and large groups left alone."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from ...regularizer import NOT_NEGATIVE, Description, Locality, Traits, parameter, register
from ..elements.scad import ABOVE_TWO, CONCAVITY_WORDS, Scad
from ..elements.scad import step as step_of_norm
from ..elements.scad import term as term_of_norm
from .base import GROUPS_WORDS, Groups
from .compiled_loop import GroupFormulas
from .radial import RadialRegularizer, factors


def _term(norm: Any, size: Any, weight: Any, strength: float, concavity: float) -> Any:
    return term_of_norm(norm, strength, concavity) * weight


def _factors(
    norm: Any, size: Any, weight: Any, step_size: float, strength: float, concavity: float
) -> tuple[float, Any]:
    return factors(norm, step_of_norm(norm, step_size * weight, strength, concavity))


@register("group_scad")
@dataclass(frozen=True, slots=True)
class GroupScad(RadialRegularizer):
    """Groups' norms that bend and then level off, with l = strength and a = concavity.

    Source: Wang, Chen and Li (2007), Group SCAD regression analysis for microarray time course gene
    expression data; Fan and Li (2001), Variable selection via nonconcave penalized likelihood.
    """

    strength: float = parameter(NOT_NEGATIVE, "units of loss per unit of x", symbol="l")
    concavity: float = parameter(ABOVE_TWO, CONCAVITY_WORDS, symbol="a")
    groups: Groups = parameter(None, GROUPS_WORDS)

    formulas: ClassVar[GroupFormulas] = GroupFormulas(_term, factors=_factors)
    traits: ClassVar[Traits] = Traits(keeps_zeros=True, locality=Locality.GROUP)
    description: ClassVar[Description] = Description(
        title="whole groups exactly zero, large groups left alone, and small ones shrunk as group_lasso does",
        penalty="sum over g of weight_g * (l * r if r <= l, (2 * a * l * r - r^2 - l^2) / (2 * (a - 1)) "
        "if r <= a * l, l^2 * (a + 1) / 2 beyond); r = norm(x_g), l = strength, a = concavity",
        terms="weight_g * (l * m - (e * e) / (2 * (a - 1))), m = min(norm(x_g), a * l), e = max(m - l, 0), "
        "squares added as those of group_lasso, at the group's first element",
        gradient="weight_g * x_g / r times l if r <= l, (a * l - r) / (a - 1) if r <= a * l, 0 beyond; "
        "0 for a zero group",
        prox="x_g * (s / r) with the step s of scad from r, of step size step_size * weight_g; 0 for a zero "
        "group",
        source="Wang, Chen and Li 2007; Fan and Li 2001",
    )

    @property
    def of_norm(self) -> Scad:
        """Absolute values that bend and level off."""
        return Scad(self.strength, self.concavity)
