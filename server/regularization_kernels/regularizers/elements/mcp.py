"""The minimax concave penalty: sparsity that leaves large elements alone."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from ...formulas.operations import copysign, maximum, minimum, sign, sqrt, where
from ...regularizer import NOT_NEGATIVE, POSITIVE, Description, Traits, parameter, register
from .base import ElementRegularizer, Formulas
from .thresholding import hard_threshold


def term(x: Any, strength: float, concavity: float) -> Any:
    """The penalty of one number."""
    near = minimum(abs(x), concavity * strength)
    return near * (strength - near / (2.0 * concavity))


def step(x: Any, step_size: Any, strength: float, concavity: float) -> Any:
    """The proximal step from one number."""
    threshold = step_size * strength
    # Beyond a·strength the stretched one is larger than x, and x is the answer.
    stretched = maximum(abs(x) - threshold, 0.0) / ((concavity - step_size) / concavity)
    firm = copysign(minimum(stretched, abs(x)), x) + 0.0
    hard = hard_threshold(x, strength * sqrt(concavity * step_size))
    return where(threshold == 0.0, x, where(step_size >= concavity, hard, firm))


def _slope(x: Any, strength: float, concavity: float) -> Any:
    return maximum(strength - abs(x) / concavity, 0.0) * sign(x) + 0.0


@register("mcp")
@dataclass(frozen=True, slots=True)
class Mcp(ElementRegularizer):
    """Absolute values that level off, with a = concavity.

    Source: Zhang (2010), Nearly unbiased variable selection under minimax concave penalty.
    """

    strength: float = parameter(NOT_NEGATIVE, "units of loss per unit of x")
    concavity: float = parameter(POSITIVE, "units of x per unit of strength", symbol="a")

    formulas: ClassVar[Formulas] = Formulas(term, step, _slope)
    grows_with_magnitude: ClassVar[bool] = True
    traits: ClassVar[Traits] = Traits(separable=True, keeps_zeros=True)
    description: ClassVar[Description] = Description(
        title="sparsity that leaves large elements alone",
        penalty="sum of strength * |x| - x^2 / (2 * a) if |x| <= a * strength, a * strength^2 / 2 beyond; "
        "a = concavity",
        terms="m * (strength - m / (2 * a)), m = min(|x|, a * strength), a = concavity",
        gradient="sign(x) * max(strength - |x| / a, 0), 0 at 0",
        prox="step_size g < a: 0 if |x| <= g * strength, S(x, g * strength) / (1 - g / a) "
        "if |x| <= a * strength, x beyond; g >= a: x if |x| > strength * sqrt(a * g), else 0; "
        "with a weight w, g is step_size * w",
        source="Zhang 2010",
    )
