"""The number of nonzero elements: hard thresholding."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from ...arrays import Float64Array, StepSize
from ...expansions import Exponents, exponents_of
from ...regularizer import Description, Locality, Traits, register, require_strength
from .base import ElementRegularizer
from .compiled_loop import Scalars
from .thresholding import hard_threshold


def _term(x: float, strength: float) -> float:
    if x != x:
        return x
    return 1.0 if x != 0.0 else 0.0


def _prox(x: float, step_size: float, strength: float) -> float:
    threshold = math.sqrt(2.0 * (step_size * strength))
    return 0.0 if abs(x) <= threshold and threshold != 0.0 else x


@register("l0_norm")
@dataclass(frozen=True, slots=True)
class L0Norm(ElementRegularizer):
    """Number of nonzero elements, ``strength * count(x != 0)``.

    Prox: ``x`` where ``|x| > sqrt(2 * step_size * strength)``, else 0; at that magnitude both are
    minimizers, and the answer is 0. Gradient: 0.

    Args:
        strength: Weight λ, finite, >= 0; units of loss.

    Raises:
        FieldOutOfRange: If strength is negative or not finite.

    Source: Blumensath and Davies (2008), Iterative thresholding for sparse approximations.
    """

    strength: float

    scalars: ClassVar[Scalars | None] = Scalars(term=_term, prox=_prox)
    traits: ClassVar[Traits] = Traits(
        convex=False,
        separable=True,
        smooth=False,
        positively_homogeneous=False,
        indicator=False,
        locality=Locality.ELEMENT,
    )
    description: ClassVar[Description] = Description(
        title="hard thresholding: small elements to zero, the others as they are",
        penalty="strength * number of elements that are not 0",
        terms="1 if x is not 0, else 0; scale: strength",
        gradient="0",
        prox="x if |x| > sqrt(2 * step_size * strength), else 0",
        parameters={"strength": "finite, >= 0; units of loss"},
        source="Blumensath and Davies 2008",
    )

    def __post_init__(self) -> None:
        """Check the parameters."""
        require_strength(self.strength)

    @property
    def scale(self) -> float:
        """The strength."""
        return self.strength

    def term_exponents(self, x: Exponents) -> Exponents:
        """Zeros and ones."""
        del x
        return exponents_of(1.0)

    def terms(self, x: Float64Array, out: Float64Array) -> None:
        """Write 1 where x is not 0, and NaN where it is NaN."""
        np.sign(x, out=out)
        np.abs(out, out=out)

    def gradient(self, x: Float64Array, out: Float64Array) -> None:
        """Write 0, or NaN where x is NaN."""
        np.copyto(out, np.where(np.isnan(x), np.nan, 0.0))

    def prox(self, x: Float64Array, step_size: StepSize, out: Float64Array) -> None:
        """Write x above √(2·step_size·strength), else 0."""
        hard_threshold(x, math.sqrt(2.0 * (step_size * self.strength)), out)
