"""The smoothly clipped absolute deviation: sparsity that leaves large elements alone."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from ...formulas.operations import clip, copysign, maximum, minimum, sign, sqrt, where
from ...regularizer import NOT_NEGATIVE, Description, Range, Traits, parameter, register
from .base import ElementRegularizer, Formulas

_SMALLEST = 5e-324  # so that nothing is divided by 0 where the other branch is taken
ABOVE_TWO = Range("> 2", lambda value: value > 2)
CONCAVITY_WORDS = "3.7 is usual; units of x per unit of strength"


def _largest_that_shrinks(step_size: Any, strength: float, concavity: float) -> Any:
    """The magnitude where x and S(x, g * l) have one objective, where the step size makes it not convex."""
    vanishing = strength * sqrt(step_size * (concavity + 1.0))
    soft = 0.5 * strength * (concavity + 1.0 + step_size)
    return where(step_size > concavity + 1.0, vanishing, soft)


def term(x: Any, strength: float, concavity: float) -> Any:
    """The penalty of one number."""
    near = minimum(abs(x), concavity * strength)
    over = maximum(near - strength, 0.0)
    return strength * near - over * over / (2.0 * (concavity - 1.0))


def step(x: Any, step_size: Any, strength: float, concavity: float) -> Any:
    """The proximal step from one number."""
    threshold = step_size * strength
    jumping = (abs(x) <= _largest_that_shrinks(step_size, strength, concavity)) * threshold
    # Below the parabola's beginning its branch asks for more than the threshold, beyond its end for less
    # than 0.
    rate = step_size / maximum(concavity - 1.0 - step_size, _SMALLEST)
    bending = clip((concavity * strength - abs(x)) * rate, 0.0, threshold)
    taken = where(step_size >= concavity - 1.0, jumping, bending)
    return where(threshold == 0.0, x, x - copysign(minimum(taken, abs(x)), x))


def _slope(x: Any, strength: float, concavity: float) -> Any:
    return clip((concavity * strength - abs(x)) / (concavity - 1.0), 0.0, strength) * sign(x) + 0.0


@register("scad")
@dataclass(frozen=True, slots=True)
class Scad(ElementRegularizer):
    """Absolute values that bend and then level off, with l = strength and a = concavity.

    Source: Fan and Li (2001), Variable selection via nonconcave penalized likelihood; for g >= a - 1 by
    comparison of the two objectives.
    """

    strength: float = parameter(NOT_NEGATIVE, "units of loss per unit of x", symbol="l")
    concavity: float = parameter(ABOVE_TWO, CONCAVITY_WORDS, symbol="a")

    formulas: ClassVar[Formulas] = Formulas(term, step, _slope)
    grows_with_magnitude: ClassVar[bool] = True
    traits: ClassVar[Traits] = Traits(separable=True, keeps_zeros=True)
    description: ClassVar[Description] = Description(
        title="sparsity that leaves large elements alone, and shrinks small ones as l1_norm does",
        penalty="sum of l * |x| if |x| <= l, (2 * a * l * |x| - x^2 - l^2) / (2 * (a - 1)) if |x| <= a * l, "
        "l^2 * (a + 1) / 2 beyond; l = strength, a = concavity",
        terms="l * m - (e * e) / (2 * (a - 1)), m = min(|x|, a * l), e = max(m - l, 0)",
        gradient="sign(x) times l if |x| <= l, (a * l - |x|) / (a - 1) if |x| <= a * l, 0 beyond; 0 at 0",
        prox="step_size g < a - 1: S(x, g * l) if |x| <= l * (1 + g), "
        "((a - 1) * x - sign(x) * a * g * l) / (a - 1 - g) if |x| <= a * l, x beyond; "
        "g >= a - 1: x if |x| > b, else S(x, g * l), b = l * (a + 1 + g) / 2 if g <= a + 1, "
        "l * sqrt(g * (a + 1)) beyond; with a weight w, g is step_size * w",
        source="Fan and Li 2001",
    )
