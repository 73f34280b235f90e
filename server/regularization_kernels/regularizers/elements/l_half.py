"""The half norm: square roots of absolute values."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from ...formulas.operations import copysign, sign, sqrt, where
from ...regularizer import NOT_NEGATIVE, Description, Traits, parameter, register
from .base import ElementRegularizer, Formulas

_LARGEST_THAT_VANISHES = 3.375  # (3/2)^3: |x| <= 3/2 * t^(2/3), without a root


def _cube(magnitude: Any, t: Any) -> Any:
    """``|x|^3 / t^2``, in an order that goes beyond the range of numbers only where it may."""
    ratio = magnitude / t
    return ratio * ratio * magnitude


def _shrunk(magnitude: Any, cube: Any) -> Any:
    """``|x| * w^2`` with the largest root of ``w^3 - w + c = 0``, where ``c = t / (2 * |x|^(3/2))``.

    It is the root that the arccosine gives, by Newton's steps: the start is off by half a percent at most,
    and each step squares that.
    """
    c = 0.5 / sqrt(cube)
    w = 1.0 - c * (0.5 + 0.64 * c)
    w = _closer(_closer(_closer(w, c), c), c)
    return magnitude * (1.0 - c / w)


def _closer(w: Any, c: Any) -> Any:
    square = w * w
    return (2.0 * (square * w) - c) / (3.0 * square - 1.0)


def _term(x: Any, strength: float) -> Any:
    return sqrt(abs(x))


def _step(x: Any, step_size: Any, strength: float) -> Any:
    t = step_size * strength
    cube = _cube(abs(x), t)
    shrunk = where(cube <= _LARGEST_THAT_VANISHES, 0.0, copysign(_shrunk(abs(x), cube), x))
    return where(t == 0.0, x, shrunk)


def _slope(x: Any, strength: float) -> Any:
    root = sqrt(abs(x))
    return where(root == 0.0, 0.0, sign(x) * (0.5 * strength) / root) + 0.0


@register("l_half")
@dataclass(frozen=True, slots=True)
class LHalf(ElementRegularizer):
    """Sum of square roots of absolute values, ``strength * sum(sqrt(|x|))``.

    Source: Xu, Chang, Xu and Zhang (2012), L1/2 regularization: a thresholding representation theory.
    """

    strength: float = parameter(NOT_NEGATIVE, "units of loss per square root of the unit of x")

    formulas: ClassVar[Formulas] = Formulas(_term, _step, _slope)
    grows_with_magnitude: ClassVar[bool] = True
    scaled: ClassVar[bool] = True
    traits: ClassVar[Traits] = Traits(separable=True, keeps_zeros=True)
    description: ClassVar[Description] = Description(
        title="sparser than l1_norm, and easier on large elements",
        penalty="strength * sum sqrt |x|",
        terms="sqrt |x|; scale: strength",
        gradient="strength * sign(x) / (2 * sqrt |x|), 0 at 0",
        prox="0 if |x| <= 3/2 * t^(2/3), "
        "else 2/3 * x * (1 + cos(2/3 * arccos(-(3^(3/2) / 4) * t * |x|^(-3/2)))); t = step_size * strength",
        source="Xu et al. 2012",
    )
