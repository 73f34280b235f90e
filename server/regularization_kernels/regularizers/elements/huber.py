"""The Huber penalty: squares near zero, absolute values beyond."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from ...formulas.operations import clip, copysign, maximum, minimum
from ...regularizer import NOT_NEGATIVE, POSITIVE, Description, Traits, parameter, register
from .base import ElementRegularizer, Formulas


def _term(x: Any, strength: float, delta: float) -> Any:
    near = minimum(abs(x), delta)
    return near / delta * (abs(x) - 0.5 * near)


def _step(x: Any, step_size: Any, strength: float, delta: float) -> Any:
    threshold = step_size * strength
    return copysign(maximum(abs(x) / (threshold / delta + 1.0), abs(x) - threshold), x)


def _slope(x: Any, strength: float, delta: float) -> Any:
    return clip(x / delta, -1.0, 1.0) * strength + 0.0


@register("huber")
@dataclass(frozen=True, slots=True)
class Huber(ElementRegularizer):
    """Squares near zero, absolute values beyond, ``strength * sum(h(x))``.

    Source: Huber (1964), Robust estimation of a location parameter; here divided by delta, so that the
    slope beyond delta is the strength.
    """

    strength: float = parameter(NOT_NEGATIVE, "units of loss per unit of x")
    delta: float = parameter(POSITIVE, "units of x")

    formulas: ClassVar[Formulas] = Formulas(_term, _step, _slope)
    grows_with_magnitude: ClassVar[bool] = True
    scaled: ClassVar[bool] = True
    traits: ClassVar[Traits] = Traits(convex=True, separable=True, smooth=True, keeps_zeros=True)
    description: ClassVar[Description] = Description(
        title="small weights that large ones do not dominate",
        penalty="strength * sum h(x), h(x) = x^2 / (2 * delta) if |x| <= delta, |x| - delta / 2 beyond",
        terms="(m / delta) * (|x| - 1/2 * m), m = min(|x|, delta); scale: strength",
        gradient="strength * min(max(x / delta, -1), 1)",
        prox="x * delta / (delta + t) if |x| <= delta + t, x - t * sign(x) beyond; t = step_size * strength",
        source="Huber 1964",
    )
