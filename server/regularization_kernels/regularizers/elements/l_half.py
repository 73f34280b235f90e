"""The half norm: square roots of absolute values."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from ...arrays import Float64Array, StepSize
from ...regularizer import Description, Locality, Traits, register, require_strength
from .base import ElementRegularizer
from .compiled_loop import Scalars
from .logarithm import by_slices

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
    c = 0.5 / np.sqrt(cube)
    w = 1.0 - c * (0.5 + 0.64 * c)
    w = _closer(_closer(_closer(w, c), c), c)
    return magnitude * (1.0 - c / w)


def _closer(w: Any, c: Any) -> Any:
    square = w * w
    return (2.0 * (square * w) - c) / (3.0 * square - 1.0)


def _term(x: float, strength: float) -> float:
    return math.sqrt(abs(x))


def _prox(x: float, step_size: float, strength: float) -> float:
    t = step_size * strength
    cube = _cube(abs(x), t)
    shrunk = math.copysign(_shrunk(abs(x), cube), x)
    shrunk = 0.0 if cube <= _LARGEST_THAT_VANISHES else shrunk
    return x if t == 0.0 else shrunk


def _steps(x: Float64Array, t: float) -> Float64Array:
    magnitudes = np.abs(x)
    cube = _cube(magnitudes, t)
    steps: Float64Array = np.copysign(_shrunk(magnitudes, cube), x)
    steps[cube <= _LARGEST_THAT_VANISHES] = 0.0
    return steps


@register("l_half")
@dataclass(frozen=True, slots=True)
class LHalf(ElementRegularizer):
    """Sum of square roots of absolute values, ``strength * sum(sqrt(|x|))``.

    Prox: with t = step_size * strength, 0 where ``|x| <= 3/2 * t**(2/3)``, else
    ``2/3 * x * (1 + cos(2/3 * arccos(-(3**(3/2) / 4) * t * |x|**(-3/2))))``. Gradient:
    ``strength * sign(x) / (2 * sqrt(|x|))``, 0 at 0.

    Args:
        strength: Weight λ, finite, >= 0; units of loss per square root of the unit of x.

    Raises:
        FieldOutOfRange: If strength is negative or not finite.

    Source: Xu, Chang, Xu and Zhang (2012), L1/2 regularization: a thresholding representation theory.
    """

    strength: float

    scalars: ClassVar[Scalars | None] = Scalars(term=_term, prox=_prox)
    grows_with_magnitude: ClassVar[bool] = True
    traits: ClassVar[Traits] = Traits(
        convex=False,
        separable=True,
        smooth=False,
        positively_homogeneous=False,
        indicator=False,
        locality=Locality.ELEMENT,
    )
    description: ClassVar[Description] = Description(
        title="sparser than l1_norm, and easier on large elements",
        penalty="strength * sum sqrt |x|",
        terms="sqrt |x|; scale: strength",
        gradient="strength * sign(x) / (2 * sqrt |x|), 0 at 0",
        prox="0 if |x| <= 3/2 * t^(2/3), "
        "else 2/3 * x * (1 + cos(2/3 * arccos(-(3^(3/2) / 4) * t * |x|^(-3/2)))); t = step_size * strength",
        parameters={"strength": "finite, >= 0; units of loss per square root of the unit of x"},
        source="Xu et al. 2012",
    )

    def __post_init__(self) -> None:
        """Check the parameters."""
        require_strength(self.strength)

    @property
    def scale(self) -> float:
        """The strength."""
        return self.strength

    def terms(self, x: Float64Array, out: Float64Array) -> None:
        """Write √|x|."""
        np.abs(x, out=out)
        np.sqrt(out, out=out)

    def gradient(self, x: Float64Array, out: Float64Array) -> None:
        """Write ½·strength·sign(x)/√|x|, 0 at 0."""
        roots = np.sqrt(np.abs(x))
        np.sign(x, out=out)
        out *= 0.5 * self.strength
        np.divide(out, roots, out=out, where=roots != 0.0)
        out += 0.0  # no negative zeros

    def prox(self, x: Float64Array, step_size: StepSize, out: Float64Array) -> None:
        """Write 0 up to 3/2·t^⅔, and beyond |x|·w² with the sign of x."""
        t = step_size * self.strength
        if t == 0.0:
            np.copyto(out, x)
            return
        with np.errstate(all="ignore"):  # elements that are 0 in the end may be anything before
            by_slices(_steps, out, x, t)
