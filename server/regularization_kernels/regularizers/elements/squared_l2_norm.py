"""The squared L2 norm with its ½: weight decay."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from ...regularizer import NOT_NEGATIVE, Description, Traits, parameter, register
from .base import ElementRegularizer, Formulas


def _term(x: Any, strength: float) -> Any:
    return 0.5 * (x * x)


def _step(x: Any, step_size: Any, strength: float) -> Any:
    return x / (1.0 + step_size * strength)


def _slope(x: Any, strength: float) -> Any:
    return x * strength + 0.0


@register("squared_l2_norm")
@dataclass(frozen=True, slots=True)
class SquaredL2Norm(ElementRegularizer):
    """Half the sum of squares, ``strength * 1/2 * sum(x**2)``.

    Source: Krogh and Hertz (1991), A simple weight decay can improve generalization.
    """

    strength: float = parameter(NOT_NEGATIVE, "units of loss per unit of x squared")

    formulas: ClassVar[Formulas] = Formulas(_term, _step, _slope)
    grows_with_magnitude: ClassVar[bool] = True
    scaled: ClassVar[bool] = True
    traits: ClassVar[Traits] = Traits(convex=True, separable=True, smooth=True, keeps_zeros=True)
    description: ClassVar[Description] = Description(
        title="small weights: weight decay, ridge",
        penalty="strength * 1/2 * sum x^2",
        terms="1/2 * (x * x); scale: strength",
        gradient="strength * x",
        prox="x / (1 + step_size * strength)",
        source="Krogh and Hertz 1991",
    )
