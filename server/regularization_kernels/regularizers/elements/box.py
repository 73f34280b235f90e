"""Bounds on every element: weight clipping, non-negativity."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import ClassVar, Self

import numpy as np

from ...arrays import FLOAT64, DataType, Float64Array, StepSize
from ...errors import FieldMissing, FieldOutOfRange, GradientUndefined
from ...formats import Grid, rounded
from ...regularizer import Description, Locality, Traits, register
from .base import ElementRegularizer
from .compiled_loop import Scalars


def _term(x: float, lower: float, upper: float) -> float:
    if x != x:
        return x
    return 0.0 if lower <= x <= upper else np.inf


def _prox(x: float, step_size: float, lower: float, upper: float) -> float:
    return x if x != x else min(max(x, lower), upper) + 0.0


@register("box")
@dataclass(frozen=True, slots=True)
class Box(ElementRegularizer):
    """0 where ``lower <= x <= upper`` everywhere, infinite otherwise.

    Prox: ``clip(x, lower, upper)``, whatever the step size. Gradient: 0 inside, undefined outside. The
    bounds are rounded to the layout's data type, so that a clipped element is always inside.

    Args:
        lower: Lower bound, finite; None for none.
        upper: Upper bound, finite, >= lower; None for none.

    Raises:
        FieldMissing: If there is neither bound.
        FieldOutOfRange: If a bound is not finite, or lower > upper.

    Source: Arjovsky, Chintala and Bottou (2017), Wasserstein GAN (weight clipping).
    """

    lower: float | None = None
    upper: float | None = None

    scalars: ClassVar[Scalars | None] = Scalars(term=_term, prox=_prox)
    traits: ClassVar[Traits] = Traits(
        convex=True,
        separable=True,
        smooth=False,
        positively_homogeneous=False,
        indicator=True,
        locality=Locality.ELEMENT,
    )
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
    def scalar_parameters(self) -> tuple[float, ...]:
        """The bounds, infinite where there is none."""
        return (
            -math.inf if self.lower is None else self.lower,
            math.inf if self.upper is None else self.upper,
        )

    @property
    def scale(self) -> float:
        """1: a set has no strength."""
        return 1.0

    def on(self, shape: tuple[int, ...], data_type: DataType = FLOAT64) -> Self:
        """The box whose bounds are the data type's nearest numbers, so that a clipped element is inside."""
        del shape
        lower, upper = (
            None if bound is None else rounded(bound, data_type) for bound in (self.lower, self.upper)
        )
        return replace(self, lower=lower, upper=upper)

    def terms(self, x: Float64Array, out: Float64Array) -> None:
        """Write 0 inside, infinity outside, NaN where x is NaN."""
        outside = np.clip(x, self.lower, self.upper) != x
        np.copyto(out, np.where(outside, np.where(np.isnan(x), np.nan, np.inf), 0.0))

    def gradient(self, x: Float64Array, out: Float64Array) -> None:
        """Write 0, or NaN where x is NaN.

        Raises:
            GradientUndefined: If an element is outside, naming the first.
        """
        outside = (np.clip(x, self.lower, self.upper) != x) & ~np.isnan(x)
        if outside.any():
            first = int(np.argmax(outside))
            lower = -math.inf if self.lower is None else self.lower
            upper = math.inf if self.upper is None else self.upper
            text = f"must be within [{lower}, {upper}] to have a gradient, got {x[first]!s}"
            raise GradientUndefined(text, element=first)
        np.copyto(out, np.where(np.isnan(x), np.nan, 0.0))

    def prox(self, x: Float64Array, step_size: StepSize, out: Float64Array) -> None:
        """Write x clipped to the bounds, and no negative zero: a tie of zeros is the processor's choice."""
        del step_size
        np.clip(x, self.lower, self.upper, out=out)
        out += 0.0

    def rounds_outside(self, grid: Grid, *, at_random: bool) -> bool:
        """Where a reference is added; a bound by itself is a number of the data type."""
        del at_random
        return grid.reference is not None

    def settled(self, exact: Float64Array, numbers: Float64Array, grid: Grid) -> Float64Array | None:
        """Elements outside moved to the next number inwards."""
        points = grid.points(numbers)
        falls = points > (math.inf if self.upper is None else self.upper)
        rises = points < (-math.inf if self.lower is None else self.lower)
        outside = np.flatnonzero((falls | rises) & np.isfinite(exact))
        if not outside.size:
            return None
        numbers = numbers.copy()
        numbers[outside] = grid.part(outside).neighbours(numbers[outside], rises[outside])
        return numbers
