"""Distances to levels: elements are drawn to the nearest."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from ...expansions import Exponents
from ...formulas.operations import copysign, sign, where
from ...regularizer import NOT_NEGATIVE, Description, Traits, parameter, register
from .base import ElementRegularizer, Formulas
from .levels import Levels, nearest_even, nearest_explicit


def _drawn(x: Any, level: Any, t: Any) -> Any:
    away = x - level
    return where(abs(away) <= t, level, x - copysign(t, away)) + 0.0


def _term_of_explicit(x: Any, strength: float, *table: float) -> Any:
    return abs(x - nearest_explicit(x, *table))


def _step_of_explicit(x: Any, step_size: Any, strength: float, *table: float) -> Any:
    return _drawn(x, nearest_explicit(x, *table), step_size * strength)


def _slope_of_explicit(x: Any, strength: float, *table: float) -> Any:
    return strength * sign(x - nearest_explicit(x, *table)) + 0.0


def _term_of_even(x: Any, strength: float, *table: float) -> Any:
    return abs(x - nearest_even(x, *table))


def _step_of_even(x: Any, step_size: Any, strength: float, *table: float) -> Any:
    return _drawn(x, nearest_even(x, *table), step_size * strength)


def _slope_of_even(x: Any, strength: float, *table: float) -> Any:
    return strength * sign(x - nearest_even(x, *table)) + 0.0


_EXPLICIT = Formulas(_term_of_explicit, _step_of_explicit, _slope_of_explicit, compiled=False)
_EVEN = Formulas(_term_of_even, _step_of_even, _slope_of_even)


@register("quantization")
@dataclass(frozen=True, slots=True, kw_only=True)
class Quantization(ElementRegularizer):
    """Sum of distances to the nearest level, ``strength * sum(|x - q(x)|)``.

    Source: Bai, Wang and Liberty (2019), ProxQuant: quantized neural networks via proximal operators.
    """

    strength: float = parameter(NOT_NEGATIVE, "units of loss per unit of x")
    levels: Levels

    scaled: ClassVar[bool] = True
    traits: ClassVar[Traits] = Traits(separable=True)
    description: ClassVar[Description] = Description(
        title="elements drawn to levels: quantization while training",
        penalty="strength * sum |x - q|, q the level nearest to x",
        terms="|x - q|, q the nearest level; scale: strength",
        gradient="strength * sign(x - q), 0 on a level",
        prox="q + S(x - q, t), q the level nearest to x, of two the one of smaller magnitude, of -a and a "
        "the latter; t = step_size * strength",
        parameters={"levels": "1 to 256 explicit ones, or all at offset + k * step; units of x"},
        source="Bai et al. 2019",
    )

    @property
    def formulas(self) -> Formulas:  # type: ignore[override] # of an instance: there are two kinds
        """Those of explicit levels, or of even ones."""
        return _EVEN if self.levels.explicit is None else _EXPLICIT

    @property
    def numbers(self) -> tuple[float, ...]:
        """The strength and the levels."""
        return (self.strength, *self.levels.table)

    def term_exponents(self, x: Exponents) -> Exponents:
        """Distances to levels."""
        return self.levels.distance_exponents(x)
