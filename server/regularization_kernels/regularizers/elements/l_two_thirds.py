"""The two-thirds norm: cube roots of squares."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from ...formulas.operations import copysign, minimum, sign, where
from ...regularizer import NOT_NEGATIVE, Description, Traits, parameter, register
from .base import ElementRegularizer, Formulas
from .cube_root import cube_root

_ALMOST_INFINITE = 1e300


def _fourth_power(magnitude: Any, t: Any) -> Any:
    """``(|x| / 2)^4 / (2 * t / 3)^3``: up to 1 the answer is 0, without a root."""
    half = 0.5 * magnitude
    ratio = half / (t / 1.5)
    return (ratio * ratio) * (ratio * half)


def _shrunk(magnitude: Any, fourth_power: Any) -> Any:
    """``|x| * s^3`` with the largest root of ``s^4 - s + c = 0``, where ``c = 2/3 * t / |x|^(4/3)``.

    It is the root that the hyperbolic cosine gives, by Newton's steps: the start is off by a thousandth at
    most, and each step squares that.
    """
    c = 0.5 / cube_root(2.0 * minimum(fourth_power, _ALMOST_INFINITE))
    s = 1.0 - c * (0.369 + c * (1.442 * c - 0.199))
    s = _closer(_closer(_closer(s, c), c), c)
    return magnitude * (1.0 - c / s)


def _closer(s: Any, c: Any) -> Any:
    cube = s * s * s
    return (3.0 * (cube * s) - c) / (4.0 * cube - 1.0)


def _term(x: Any, strength: float) -> Any:
    root = cube_root(abs(x))
    return root * root


def _step(x: Any, step_size: Any, strength: float) -> Any:
    t = step_size * strength
    fourth_power = _fourth_power(abs(x), t)
    shrunk = where(fourth_power <= 1.0, 0.0, copysign(_shrunk(abs(x), fourth_power), x))
    return where(t == 0.0, x, shrunk)


def _slope(x: Any, strength: float) -> Any:
    root = cube_root(abs(x))
    return where(root == 0.0, 0.0, sign(x) * (strength / 1.5) / root) + 0.0


@register("l_two_thirds")
@dataclass(frozen=True, slots=True)
class LTwoThirds(ElementRegularizer):
    """Sum of cube roots of squares, ``strength * sum(|x|^(2/3))``.

    Source: Cao, Sun and Xu (2013), Fast image deconvolution using closed-form thresholding formulas of Lq
    (q = 1/2, 2/3) regularization.
    """

    strength: float = parameter(NOT_NEGATIVE, "units of loss per unit of x to the power of 2/3")

    formulas: ClassVar[Formulas] = Formulas(_term, _step, _slope)
    grows_with_magnitude: ClassVar[bool] = True
    scaled: ClassVar[bool] = True
    traits: ClassVar[Traits] = Traits(separable=True, keeps_zeros=True)
    description: ClassVar[Description] = Description(
        title="between l1_norm and l_half: sparser than the one, milder on small elements than the other",
        penalty="strength * sum |x|^(2/3)",
        terms="c * c, c the cube root of |x| by FreeBSD's s_cbrt; scale: strength",
        gradient="strength * 2/3 * sign(x) / |x|^(1/3), 0 at 0",
        prox="0 if |x| <= 2 * (2/3 * t)^(3/4), else sign(x) * ((a + sqrt(2 * |x| / a - a^2)) / 2)^3, "
        "a = 2 / sqrt(3) * (2 * t)^(1/4) * sqrt(cosh(arccosh(27/16 * x^2 * (2 * t)^(-3/2)) / 3)); "
        "t = step_size * strength",
        source="Cao, Sun and Xu 2013",
    )
