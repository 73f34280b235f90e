"""The Huber penalty: squares near zero, absolute values beyond."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from ...arrays import Float64Array, StepSize
from ...regularizer import Description, Locality, Traits, register, require_positive, require_strength
from .base import ElementRegularizer
from .compiled_loop import Scalars


def _term(x: float, strength: float, delta: float) -> float:
    near = min(abs(x), delta)
    return near / delta * (abs(x) - 0.5 * near)


def _prox(x: float, step_size: float, strength: float, delta: float) -> float:
    threshold = step_size * strength
    return math.copysign(max(abs(x) / (threshold / delta + 1.0), abs(x) - threshold), x)


@register("huber")
@dataclass(frozen=True, slots=True)
class Huber(ElementRegularizer):
    """Squares near zero, absolute values beyond, ``strength * sum(h(x))``.

    ``h(x) = x**2 / (2 * delta)`` where ``|x| <= delta``, ``|x| - delta / 2`` beyond; mind that it is divided
    by delta. Prox: with t = step_size * strength, ``x * delta / (delta + t)`` where ``|x| <= delta + t``,
    ``x - t * sign(x)`` beyond, which is the larger of the two magnitudes everywhere. Gradient:
    ``strength * clip(x / delta, -1, 1)``.

    Args:
        strength: Weight λ, finite, >= 0; units of loss per unit of x.
        delta: Where the parabola ends, finite, > 0; units of x.

    Raises:
        FieldOutOfRange: If strength is negative or not finite, or delta is not positive or not finite.

    Source: Huber (1964), Robust estimation of a location parameter; here divided by delta, so that the
    slope beyond delta is the strength.
    """

    strength: float
    delta: float

    scalars: ClassVar[Scalars | None] = Scalars(term=_term, prox=_prox)
    grows_with_magnitude: ClassVar[bool] = True
    traits: ClassVar[Traits] = Traits(
        convex=True,
        separable=True,
        smooth=True,
        positively_homogeneous=False,
        indicator=False,
        locality=Locality.ELEMENT,
    )
    description: ClassVar[Description] = Description(
        title="small weights that large ones do not dominate",
        penalty="strength * sum h(x), h(x) = x^2 / (2 * delta) if |x| <= delta, |x| - delta / 2 beyond",
        terms="(m / delta) * (|x| - 1/2 * m), m = min(|x|, delta); scale: strength",
        gradient="strength * min(max(x / delta, -1), 1)",
        prox="x * delta / (delta + t) if |x| <= delta + t, x - t * sign(x) beyond; t = step_size * strength",
        parameters={
            "strength": "finite, >= 0; units of loss per unit of x",
            "delta": "finite, > 0; units of x",
        },
        source="Huber 1964",
    )

    def __post_init__(self) -> None:
        """Check the parameters."""
        require_strength(self.strength)
        require_positive(self.delta, "delta")

    @property
    def scale(self) -> float:
        """The strength."""
        return self.strength

    def terms(self, x: Float64Array, out: Float64Array) -> None:
        """Write (m/delta)·(|x| − ½·m), m = min(|x|, delta)."""
        magnitudes = np.abs(x)
        near = np.minimum(magnitudes, self.delta)
        np.divide(near, self.delta, out=out)
        near *= 0.5
        magnitudes -= near
        out *= magnitudes

    def gradient(self, x: Float64Array, out: Float64Array) -> None:
        """Write strength·clip(x/delta, −1, 1)."""
        with np.errstate(over="ignore"):
            np.divide(x, self.delta, out=out)
        np.clip(out, -1.0, 1.0, out=out)
        out *= self.strength
        out += 0.0  # no negative zeros

    def prox(self, x: Float64Array, step_size: StepSize, out: Float64Array) -> None:
        """Write the larger of |x|/(1 + t/delta) and |x| − t, with the sign of x."""
        threshold = step_size * self.strength
        magnitudes = np.abs(x)
        near = magnitudes / (threshold / self.delta + 1.0)
        magnitudes -= threshold
        np.maximum(near, magnitudes, out=near)
        np.copysign(near, x, out=out)
