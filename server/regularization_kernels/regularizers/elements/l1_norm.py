"""The L1 norm: sparsity, element by element."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from ...arrays import Float64Array, StepSize
from ...expansions import Exponents
from ...regularizer import Description, Locality, Traits, register, require_strength
from .base import ElementRegularizer
from .compiled_loop import Scalars
from .thresholding import soft_threshold


def _term(x: float, strength: float) -> float:
    return abs(x)


def _prox(x: float, step_size: float, strength: float) -> float:
    threshold = step_size * strength
    if threshold == 0.0:
        return x
    return x - min(max(x, -threshold), threshold)


@register("l1_norm")
@dataclass(frozen=True, slots=True)
class L1Norm(ElementRegularizer):
    """Sum of absolute values, ``strength * sum(|x|)``.

    Prox: ``sign(x) * max(|x| - step_size * strength, 0)``. Gradient: ``strength * sign(x)``, 0 at 0.

    Args:
        strength: Weight λ, finite, >= 0; units of loss per unit of x.

    Raises:
        FieldOutOfRange: If strength is negative or not finite.

    Source: Tibshirani (1996), Regression shrinkage and selection via the lasso.
    """

    strength: float

    scalars: ClassVar[Scalars | None] = Scalars(term=_term, prox=_prox)
    traits: ClassVar[Traits] = Traits(
        convex=True,
        separable=True,
        smooth=False,
        positively_homogeneous=True,
        indicator=False,
        locality=Locality.ELEMENT,
    )
    description: ClassVar[Description] = Description(
        title="sparsity: many elements exactly zero",
        penalty="strength * sum |x|",
        terms="|x|; scale: strength",
        gradient="strength * sign(x), 0 at 0",
        prox="sign(x) * max(|x| - step_size * strength, 0)",
        parameters={"strength": "finite, >= 0; units of loss per unit of x"},
        source="Tibshirani 1996",
    )

    def __post_init__(self) -> None:
        """Check the parameters."""
        require_strength(self.strength)

    @property
    def scale(self) -> float:
        """The strength."""
        return self.strength

    def term_exponents(self, x: Exponents) -> Exponents:
        """Magnitudes lie where the elements do."""
        return x

    def terms(self, x: Float64Array, out: Float64Array) -> None:
        """Write |x|."""
        np.abs(x, out=out)

    def gradient(self, x: Float64Array, out: Float64Array) -> None:
        """Write strength·sign(x)."""
        np.sign(x, out=out)
        out *= self.strength
        out += 0.0  # no negative zeros

    def prox(self, x: Float64Array, step_size: StepSize, out: Float64Array) -> None:
        """Write S(x, step_size·strength)."""
        soft_threshold(x, step_size * self.strength, out)
