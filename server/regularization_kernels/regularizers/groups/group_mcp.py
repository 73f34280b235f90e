"""The group MCP: whole groups to zero, and large groups left alone."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from ...regularizer import NOT_NEGATIVE, POSITIVE, Description, Locality, Traits, parameter, register
from ..elements.mcp import Mcp
from ..elements.mcp import step as step_of_norm
from ..elements.mcp import term as term_of_norm
from .base import GROUPS_WORDS, Groups
from .compiled_loop import GroupFormulas
from .radial import RadialRegularizer, factors


def _term(norm: Any, size: Any, weight: Any, strength: float, concavity: float) -> Any:
    return term_of_norm(norm, strength, concavity) * weight


def _factors(
    norm: Any, size: Any, weight: Any, step_size: float, strength: float, concavity: float
) -> tuple[float, Any]:
    return factors(norm, step_of_norm(norm, step_size * weight, strength, concavity))


@register("group_mcp")
@dataclass(frozen=True, slots=True)
class GroupMcp(RadialRegularizer):
    """Groups' norms that level off, with a = concavity.

    Source: Huang, Breheny and Ma (2012), A selective review of group selection in high-dimensional models;
    Zhang (2010), Nearly unbiased variable selection under minimax concave penalty.
    """

    strength: float = parameter(NOT_NEGATIVE, "units of loss per unit of x")
    concavity: float = parameter(POSITIVE, "units of x per unit of strength", symbol="a")
    groups: Groups = parameter(None, GROUPS_WORDS)

    formulas: ClassVar[GroupFormulas] = GroupFormulas(_term, factors=_factors)
    traits: ClassVar[Traits] = Traits(keeps_zeros=True, locality=Locality.GROUP)
    description: ClassVar[Description] = Description(
        title="whole groups exactly zero, and large groups left alone",
        penalty="sum over g of weight_g * (strength * r - r^2 / (2 * a) if r <= a * strength, "
        "a * strength^2 / 2 beyond); r = norm(x_g), a = concavity",
        terms="weight_g * (m * (strength - m / (2 * a))), m = min(norm(x_g), a * strength), squares added "
        "as those of group_lasso, at the group's first element; a = concavity",
        gradient="weight_g * max(strength - r / a, 0) * x_g / r, 0 for a zero group",
        prox="x_g * (s / r) with the step s of mcp from r, of step size step_size * weight_g; 0 for a zero "
        "group",
        source="Huang, Breheny and Ma 2012; Zhang 2010",
    )

    @property
    def of_norm(self) -> Mcp:
        """Absolute values that level off."""
        return Mcp(self.strength, self.concavity)
