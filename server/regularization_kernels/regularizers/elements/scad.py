"""The smoothly clipped absolute deviation: sparsity that leaves large elements alone."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from ...arrays import Float64Array, StepSize
from ...errors import FieldOutOfRange
from ...regularizer import Description, Locality, Traits, register, require_strength
from .base import ElementRegularizer
from .compiled_loop import Scalars


def _largest_that_shrinks(step_size: float, strength: float, concavity: float) -> float:
    """The magnitude where x and S(x, g * l) have one objective, where the step size makes it not convex."""
    if step_size > concavity + 1.0:  # S is 0 there
        return strength * math.sqrt(step_size * (concavity + 1.0))
    return 0.5 * strength * (concavity + 1.0 + step_size)


def _term(x: float, strength: float, concavity: float) -> float:
    near = min(abs(x), concavity * strength)
    over = max(near - strength, 0.0)
    return strength * near - over * over / (2.0 * (concavity - 1.0))


def _prox(x: float, step_size: float, strength: float, concavity: float) -> float:
    threshold = step_size * strength
    if threshold == 0.0:
        return x
    if step_size >= concavity - 1.0:
        shrunk = x - min(max(x, -threshold), threshold)
        return shrunk if abs(x) <= _largest_that_shrinks(step_size, strength, concavity) else x
    rate = step_size / (concavity - 1.0 - step_size)
    taken = min(max((concavity * strength - abs(x)) * rate, 0.0), threshold)
    return x - math.copysign(min(taken, abs(x)), x)


@register("scad")
@dataclass(frozen=True, slots=True)
class Scad(ElementRegularizer):
    """Absolute values that bend and then level off, with l = strength and a = concavity.

    Each element adds ``l * |x|`` where ``|x| <= l``, ``(2 * a * l * |x| - x**2 - l**2) / (2 * (a - 1))``
    where ``|x| <= a * l``, and ``l**2 * (a + 1) / 2`` beyond. Prox: with step size g < a - 1, ``S(x, g * l)``
    where ``|x| <= l * (1 + g)``, ``((a - 1) * x - sign(x) * a * g * l) / (a - 1 - g)`` where
    ``|x| <= a * l``, x beyond; with g >= a - 1: x where ``|x| > b``, else ``S(x, g * l)``, at b too, with
    ``b = l * (a + 1 + g) / 2`` up to g = a + 1 and ``b = l * sqrt(g * (a + 1))`` from there on. Gradient:
    ``sign(x)`` times l, ``(a * l - |x|) / (a - 1)``, 0 there; 0 at 0.

    Args:
        strength: Weight λ, the slope at 0, finite, >= 0; units of loss per unit of x.
        concavity: The penalty is level from ``a * strength`` on, finite, > 2, 3.7 is usual; units of x per
            unit of strength.

    Raises:
        FieldOutOfRange: If strength is negative or not finite, or concavity is not above 2 or not finite.

    Source: Fan and Li (2001), Variable selection via nonconcave penalized likelihood; for g >= a - 1 by
    comparison of the two objectives.
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
        title="sparsity that leaves large elements alone, and shrinks small ones as l1_norm does",
        penalty="sum of l * |x| if |x| <= l, (2 * a * l * |x| - x^2 - l^2) / (2 * (a - 1)) if |x| <= a * l, "
        "l^2 * (a + 1) / 2 beyond; l = strength, a = concavity",
        terms="l * m - (e * e) / (2 * (a - 1)), m = min(|x|, a * l), e = max(m - l, 0)",
        gradient="sign(x) times l if |x| <= l, (a * l - |x|) / (a - 1) if |x| <= a * l, 0 beyond; 0 at 0",
        prox="step_size g < a - 1: S(x, g * l) if |x| <= l * (1 + g), "
        "((a - 1) * x - sign(x) * a * g * l) / (a - 1 - g) if |x| <= a * l, x beyond; "
        "g >= a - 1: x if |x| > b, else S(x, g * l), b = l * (a + 1 + g) / 2 if g <= a + 1, "
        "l * sqrt(g * (a + 1)) beyond",
        parameters={
            "strength": "l, finite, >= 0; units of loss per unit of x",
            "concavity": "a, finite, > 2, 3.7 is usual; units of x per unit of strength",
        },
        source="Fan and Li 2001",
    )

    def __post_init__(self) -> None:
        """Check the parameters."""
        require_strength(self.strength)
        if not (math.isfinite(self.concavity) and self.concavity > 2):
            raise FieldOutOfRange(f"must be finite and > 2, got {self.concavity!r}", field="concavity")

    @property
    def scale(self) -> float:
        """1: the strength is in the terms."""
        return 1.0

    def terms(self, x: Float64Array, out: Float64Array) -> None:
        """Write l·m − e²/(2·(a − 1)), m = min(|x|, a·l), e = max(m − l, 0)."""
        near = np.abs(x)
        np.minimum(near, self.concavity * self.strength, out=near)
        over = near - self.strength
        np.maximum(over, 0.0, out=over)
        over *= over
        over /= 2.0 * (self.concavity - 1.0)
        near *= self.strength
        np.subtract(near, over, out=out)

    def gradient(self, x: Float64Array, out: Float64Array) -> None:
        """Write sign(x)·clip((a·l − |x|)/(a − 1), 0, l)."""
        slopes = np.abs(x)
        np.subtract(self.concavity * self.strength, slopes, out=slopes)
        slopes /= self.concavity - 1.0
        np.clip(slopes, 0.0, self.strength, out=slopes)
        np.multiply(slopes, np.sign(x), out=out)
        out += 0.0  # no negative zeros

    def prox(self, x: Float64Array, step_size: StepSize, out: Float64Array) -> None:
        """Take off what the slope at the answer asks for, or write the better of two where there are two."""
        threshold = step_size * self.strength
        if threshold == 0.0:
            np.copyto(out, x)
            return
        magnitudes = np.abs(x)
        if step_size >= self.concavity - 1.0:
            shrinks = magnitudes <= _largest_that_shrinks(float(step_size), self.strength, self.concavity)
            taken = np.multiply(shrinks, threshold)
        else:
            # Below the parabola's beginning its branch asks for more than the threshold, beyond its end for
            # less than 0.
            taken = self.concavity * self.strength - magnitudes
            with np.errstate(over="ignore"):
                taken *= step_size / (self.concavity - 1.0 - step_size)
            np.clip(taken, 0.0, threshold, out=taken)
        np.minimum(taken, magnitudes, out=taken)
        np.copysign(taken, x, out=taken)
        np.subtract(x, taken, out=out)
