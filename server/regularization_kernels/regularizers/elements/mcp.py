"""The minimax concave penalty: sparsity that leaves large elements alone."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from ...arrays import Float64Array, StepSize
from ...regularizer import Description, Locality, Traits, register, require_positive, require_strength
from .base import ElementRegularizer
from .compiled_loop import Scalars
from .thresholding import hard_threshold


def _term(x: float, strength: float, concavity: float) -> float:
    near = min(abs(x), concavity * strength)
    return near * (strength - near / (2.0 * concavity))


def _prox(x: float, step_size: float, strength: float, concavity: float) -> float:
    threshold = step_size * strength
    if threshold == 0.0:
        return x
    if step_size >= concavity:
        return 0.0 if abs(x) <= strength * math.sqrt(concavity * step_size) else x
    stretched = max(abs(x) - threshold, 0.0) / ((concavity - step_size) / concavity)
    return math.copysign(min(stretched, abs(x)), x) + 0.0


@register("mcp")
@dataclass(frozen=True, slots=True)
class Mcp(ElementRegularizer):
    """Absolute values that level off, with a = concavity.

    Each element adds ``strength * |x| - x**2 / (2 * a)`` where ``|x| <= a * strength``, and
    ``a * strength**2 / 2`` beyond. Prox: with step size g < a, 0 where ``|x| <= g * strength``,
    ``S(x, g * strength) / (1 - g / a)`` where ``|x| <= a * strength``, x beyond; with g >= a: x where
    ``|x| > strength * sqrt(a * g)``, else 0, at that magnitude too. Gradient:
    ``sign(x) * max(strength - |x| / a, 0)``, 0 at 0.

    Args:
        strength: Weight λ, the slope at 0, finite, >= 0; units of loss per unit of x.
        concavity: The penalty is level from ``a * strength`` on, finite, > 0; units of x per unit of
            strength.

    Raises:
        FieldOutOfRange: If strength is negative or not finite, or concavity is not positive or not finite.

    Source: Zhang (2010), Nearly unbiased variable selection under minimax concave penalty.
    """

    strength: float
    concavity: float

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
        title="sparsity that leaves large elements alone",
        penalty="sum of strength * |x| - x^2 / (2 * a) if |x| <= a * strength, a * strength^2 / 2 beyond; "
        "a = concavity",
        terms="m * (strength - m / (2 * a)), m = min(|x|, a * strength), a = concavity",
        gradient="sign(x) * max(strength - |x| / a, 0), 0 at 0",
        prox="step_size g < a: 0 if |x| <= g * strength, S(x, g * strength) / (1 - g / a) "
        "if |x| <= a * strength, x beyond; g >= a: x if |x| > strength * sqrt(a * g), else 0",
        parameters={
            "strength": "finite, >= 0; units of loss per unit of x",
            "concavity": "a, finite, > 0; units of x per unit of strength",
        },
        source="Zhang 2010",
    )

    def __post_init__(self) -> None:
        """Check the parameters."""
        require_strength(self.strength)
        require_positive(self.concavity, "concavity")

    @property
    def scale(self) -> float:
        """1: the strength is in the terms."""
        return 1.0

    def terms(self, x: Float64Array, out: Float64Array) -> None:
        """Write m·(strength − m/(2·a)), m = min(|x|, a·strength)."""
        near = np.abs(x)
        np.minimum(near, self.concavity * self.strength, out=near)
        np.divide(near, 2.0 * self.concavity, out=out)
        np.subtract(self.strength, out, out=out)
        out *= near

    def gradient(self, x: Float64Array, out: Float64Array) -> None:
        """Write sign(x)·max(strength − |x|/a, 0)."""
        slopes = np.abs(x)
        with np.errstate(over="ignore"):
            slopes /= self.concavity
        np.subtract(self.strength, slopes, out=slopes)
        np.maximum(slopes, 0.0, out=slopes)
        np.multiply(slopes, np.sign(x), out=out)
        out += 0.0  # no negative zeros

    def prox(self, x: Float64Array, step_size: StepSize, out: Float64Array) -> None:
        """Write the shrunk and stretched x where the objective is convex, else x or 0."""
        threshold = step_size * self.strength
        if threshold == 0.0:
            np.copyto(out, x)
            return
        if step_size >= self.concavity:
            hard_threshold(x, self.strength * math.sqrt(self.concavity * step_size), out)
            return
        magnitudes = np.abs(x)
        stretched = magnitudes - threshold
        np.maximum(stretched, 0.0, out=stretched)
        with np.errstate(over="ignore"):
            stretched /= (self.concavity - step_size) / self.concavity
        # Beyond a·strength the stretched one is larger than x, and x is the answer.
        np.minimum(stretched, magnitudes, out=stretched)
        np.copysign(stretched, x, out=out)
        out += 0.0  # no negative zeros
