"""The squared L2 norm with its ½: weight decay."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from ...arrays import Float64Array, StepSize
from ...expansions import Exponents, exponents_of
from ...regularizer import Description, Locality, Traits, register, require_strength
from .base import ElementRegularizer
from .compiled_loop import Scalars


def _term(x: float, strength: float) -> float:
    return 0.5 * (x * x)


def _prox(x: float, step_size: float, strength: float) -> float:
    return x / (1.0 + step_size * strength)


@register("squared_l2_norm")
@dataclass(frozen=True, slots=True)
class SquaredL2Norm(ElementRegularizer):
    """Half the sum of squares, ``strength * 1/2 * sum(x**2)``.

    Prox: ``x / (1 + step_size * strength)``. Gradient: ``strength * x``.

    Args:
        strength: Weight λ, finite, >= 0; units of loss per unit of x squared.

    Raises:
        FieldOutOfRange: If strength is negative or not finite.

    Source: Krogh and Hertz (1991), A simple weight decay can improve generalization.
    """

    strength: float

    scalars: ClassVar[Scalars | None] = Scalars(term=_term, prox=_prox)
    traits: ClassVar[Traits] = Traits(
        convex=True,
        separable=True,
        smooth=True,
        positively_homogeneous=False,
        indicator=False,
        locality=Locality.ELEMENT,
    )
    description: ClassVar[Description] = Description(
        title="small weights: weight decay, ridge",
        penalty="strength * 1/2 * sum x^2",
        terms="1/2 * (x * x); scale: strength",
        gradient="strength * x",
        prox="x / (1 + step_size * strength)",
        parameters={"strength": "finite, >= 0; units of loss per unit of x squared"},
        source="Krogh and Hertz 1991",
    )

    def __post_init__(self) -> None:
        """Check the parameters."""
        require_strength(self.strength)

    @property
    def scale(self) -> float:
        """The strength."""
        return self.strength

    def term_exponents(self, x: Exponents) -> Exponents:
        """Half the squares."""
        return x.times(x).times(exponents_of(0.5))

    def terms(self, x: Float64Array, out: Float64Array) -> None:
        """Write ½·x²."""
        np.multiply(x, x, out=out)
        out *= 0.5

    def gradient(self, x: Float64Array, out: Float64Array) -> None:
        """Write strength·x."""
        np.multiply(x, self.strength, out=out)
        out += 0.0  # no negative zeros

    def prox(self, x: Float64Array, step_size: StepSize, out: Float64Array) -> None:
        """Write x / (1 + step_size·strength)."""
        np.divide(x, 1.0 + step_size * self.strength, out=out)
