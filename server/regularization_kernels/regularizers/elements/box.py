"""Bounds on every element: weight clipping, non-negativity."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Self

import numpy as np

from ...arrays import FLOAT64, DataType, Float64Array
from ...errors import FieldMissing, FieldOutOfRange, GradientUndefined
from ...formats import Grid, rounded
from ...formulas.operations import clip, where
from ...regularizer import Description, Traits, register
from .base import ElementRegularizer, Formulas


def _term(x: Any, lower: float, upper: float) -> Any:
    return where(x == clip(x, lower, upper), 0.0, abs(x) + np.inf)  # which keeps NaN


def _step(x: Any, step_size: Any, lower: float, upper: float) -> Any:
    return clip(x, lower, upper) + 0.0  # a tie of zeros is the processor's choice


def _slope(x: Any, lower: float, upper: float) -> Any:
    return where(x != x, x, 0.0)


@register("box")
@dataclass(frozen=True, slots=True)
class Box(ElementRegularizer):
    """0 where ``lower <= x <= upper`` everywhere, infinite otherwise; None is no bound.

    Source: Arjovsky, Chintala and Bottou (2017), Wasserstein GAN (weight clipping).
    """

    lower: float | None = None
    upper: float | None = None

    formulas: ClassVar[Formulas] = Formulas(_term, _step, _slope)
    traits: ClassVar[Traits] = Traits(convex=True, separable=True, indicator=True)
    description: ClassVar[Description] = Description(
        title="bounds: weight clipping, non-negativity",
        penalty="0 if lower <= x <= upper everywhere, infinity otherwise",
        terms="0 inside, infinity outside",
        gradient="0 inside, undefined outside",
        prox="min(max(x, lower), upper)",
        parameters={
            "lower": "finite, at least one bound is required; units of x",
            "upper": "finite, >= lower; units of x",
        },
        source="Arjovsky et al. 2017",
    )

    def __post_init__(self) -> None:
        """Check the parameters."""
        if self.lower is None and self.upper is None:
            raise FieldMissing("must have lower or upper")
        for field, bound in (("lower", self.lower), ("upper", self.upper)):
            if bound is not None and not math.isfinite(bound):
                raise FieldOutOfRange(f"must be finite, got {bound!r}", field=field)
        if self.lower is not None and self.upper is not None and self.lower > self.upper:
            raise FieldOutOfRange(f"must be <= upper {self.upper!r}, got {self.lower!r}", field="lower")

    @property
    def numbers(self) -> tuple[float, ...]:
        """The bounds, infinite where there is none."""
        return (
            -math.inf if self.lower is None else self.lower,
            math.inf if self.upper is None else self.upper,
        )

    def on(self, shape: tuple[int, ...], data_type: DataType = FLOAT64) -> Self:
        """The box whose bounds are the data type's nearest numbers, so that a clipped element is inside."""
        del shape
        lower, upper = (
            None if bound is None else rounded(bound, data_type) for bound in (self.lower, self.upper)
        )
        return replace(self, lower=lower, upper=upper)

    def gradient(self, x: Float64Array, out: Float64Array) -> None:
        """Write 0, or NaN where x is NaN.

        Raises:
            GradientUndefined: If an element is outside, naming the first.
        """
        lower, upper = self.numbers
        outside = (x < lower) | (x > upper)
        if outside.any():
            first = int(np.argmax(outside))
            text = f"must be within [{lower}, {upper}] to have a gradient, got {x[first]!s}"
            raise GradientUndefined(text, element=first)
        super(Box, self).gradient(x, out)

    def rounds_outside(self, grid: Grid, *, at_random: bool) -> bool:
        """Where a reference is added; a bound by itself is a number of the data type."""
        del at_random
        return grid.reference is not None

    def settled(self, exact: Float64Array, numbers: Float64Array, grid: Grid) -> Float64Array | None:
        """Elements outside moved to the next number inwards."""
        points = grid.points(numbers)
        lower, upper = self.numbers
        falls, rises = points > upper, points < lower
        outside = np.flatnonzero((falls | rises) & np.isfinite(exact))
        if not outside.size:
            return None
        numbers = numbers.copy()
        numbers[outside] = grid.part(outside).neighbours(numbers[outside], rises[outside])
        return numbers
