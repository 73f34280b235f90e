"""The hinge: elements below one are penalized."""

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
    return max(1.0 - x, 0.0)


def _prox(x: float, step_size: float, strength: float) -> float:
    return min(x + step_size * strength, max(x, 1.0))


@register("hinge")
@dataclass(frozen=True, slots=True)
class Hinge(ElementRegularizer):
    """What elements lack to 1, ``strength * sum(max(0, 1 - x))``.

    Prox: with t = step_size * strength, ``x + t`` where ``x < 1 - t``, 1 where ``x <= 1``, else x. Gradient:
    ``-strength`` where ``x < 1``, else 0, at 1 too.

    Args:
        strength: Weight λ, finite, >= 0; units of loss per unit of x.

    Raises:
        FieldOutOfRange: If strength is negative or not finite.

    Source: Cortes and Vapnik (1995), Support-vector networks.
    """

    strength: float

    scalars: ClassVar[Scalars | None] = Scalars(term=_term, prox=_prox)
    traits: ClassVar[Traits] = Traits(
        convex=True,
        separable=True,
        smooth=False,
        positively_homogeneous=False,
        indicator=False,
        locality=Locality.ELEMENT,
    )
    description: ClassVar[Description] = Description(
        title="margins: elements of at least one",
        penalty="strength * sum max(0, 1 - x)",
        terms="max(1 - x, 0); scale: strength",
        gradient="-strength if x < 1, else 0",
        prox="x + t if x < 1 - t, 1 if x <= 1, else x; t = step_size * strength",
        parameters={"strength": "finite, >= 0; units of loss per unit of x"},
        source="Cortes and Vapnik 1995",
    )

    def __post_init__(self) -> None:
        """Check the parameters."""
        require_strength(self.strength)

    @property
    def scale(self) -> float:
        """The strength."""
        return self.strength

    def term_exponents(self, x: Exponents) -> Exponents:
        """Differences from 1."""
        return x.plus(exponents_of(1.0))

    def terms(self, x: Float64Array, out: Float64Array) -> None:
        """Write max(1 − x, 0)."""
        np.subtract(1.0, x, out=out)
        np.maximum(out, 0.0, out=out)

    def gradient(self, x: Float64Array, out: Float64Array) -> None:
        """Write −strength below 1, 0 from 1 on, and NaN where x is NaN."""
        slopes = np.where(x < 1.0, 0.0 - self.strength, 0.0)
        slopes[np.isnan(x)] = np.nan
        np.copyto(out, slopes)

    def prox(self, x: Float64Array, step_size: StepSize, out: Float64Array) -> None:
        """Write min(x + t, max(x, 1))."""
        highest = np.maximum(x, 1.0)
        np.add(x, step_size * self.strength, out=out)
        np.minimum(out, highest, out=out)
