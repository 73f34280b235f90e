"""The number of nonzero elements: hard thresholding."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from ...expansions import Exponents, exponents_of
from ...formulas.operations import sign, sqrt, where
from ...regularizer import NOT_NEGATIVE, Description, Traits, parameter, register
from .base import ElementRegularizer, Formulas
from .thresholding import hard_threshold


def _term(x: Any, strength: float) -> Any:
    return abs(sign(x))


def _step(x: Any, step_size: Any, strength: float) -> Any:
    return hard_threshold(x, sqrt(2.0 * (step_size * strength)))


def _slope(x: Any, strength: float) -> Any:
    return where(x != x, x, 0.0)


@register("l0_norm")
@dataclass(frozen=True, slots=True)
class L0Norm(ElementRegularizer):
    """Number of nonzero elements, ``strength * count(x != 0)``.

    Source: Blumensath and Davies (2008), Iterative thresholding for sparse approximations.
    """

    strength: float = parameter(NOT_NEGATIVE, "units of loss")

    formulas: ClassVar[Formulas] = Formulas(_term, _step, _slope)
    scaled: ClassVar[bool] = True
    traits: ClassVar[Traits] = Traits(separable=True, keeps_zeros=True)
    description: ClassVar[Description] = Description(
        title="hard thresholding: small elements to zero, the others as they are",
        penalty="strength * number of elements that are not 0",
        terms="1 if x is not 0, else 0; scale: strength",
        gradient="0",
        prox="x if |x| > sqrt(2 * step_size * strength), else 0",
        source="Blumensath and Davies 2008",
    )

    def term_exponents(self, x: Exponents) -> Exponents:
        """Zeros and ones."""
        del x
        return exponents_of(1.0)
