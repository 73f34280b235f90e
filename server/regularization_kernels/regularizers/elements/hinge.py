"""The hinge: elements below one are penalized."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from ...expansions import Exponents, exponents_of
from ...formulas.operations import maximum, minimum, where
from ...regularizer import NOT_NEGATIVE, Description, Traits, parameter, register
from .base import ElementRegularizer, Formulas


def _term(x: Any, strength: float) -> Any:
    return maximum(1.0 - x, 0.0)


def _step(x: Any, step_size: Any, strength: float) -> Any:
    return minimum(x + step_size * strength, maximum(x, 1.0))


def _slope(x: Any, strength: float) -> Any:
    return where(x != x, x, (x < 1.0) * (0.0 - strength) + 0.0)


@register("hinge")
@dataclass(frozen=True, slots=True)
class Hinge(ElementRegularizer):
    """What elements lack to 1, ``strength * sum(max(0, 1 - x))``.

    Source: Cortes and Vapnik (1995), Support-vector networks.
    """

    strength: float = parameter(NOT_NEGATIVE, "units of loss per unit of x")

    formulas: ClassVar[Formulas] = Formulas(_term, _step, _slope)
    scaled: ClassVar[bool] = True
    traits: ClassVar[Traits] = Traits(convex=True, separable=True)
    description: ClassVar[Description] = Description(
        title="margins: elements of at least one",
        penalty="strength * sum max(0, 1 - x)",
        terms="max(1 - x, 0); scale: strength",
        gradient="-strength if x < 1, else 0",
        prox="x + t if x < 1 - t, 1 if x <= 1, else x; t = step_size * strength",
        source="Cortes and Vapnik 1995",
    )

    def term_exponents(self, x: Exponents) -> Exponents:
        """Differences from 1."""
        return x.plus(exponents_of(1.0))
