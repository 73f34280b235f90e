"""Elements on levels: binary, ternary and other fixed grids."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, ClassVar, Self

import numpy as np

from ... import formats
from ...arrays import FLOAT64, DataType, Float64Array
from ...errors import GradientUndefined
from ...formulas.operations import clip, minimum, where
from ...regularizer import Description, Traits, register
from .base import ElementRegularizer, Formulas
from .levels import Levels, nearest_even, nearest_explicit


def _term_of_explicit(x: Any, *table: float) -> Any:
    return where(x != x, x, where(x == nearest_explicit(x, *table), 0.0, np.inf))


def _step_of_explicit(x: Any, step_size: Any, *table: float) -> Any:
    return nearest_explicit(x, *table) + 0.0


def _term_of_even(x: Any, lowest: float, highest: float, relative: float, least: float, *table: float) -> Any:
    level = clip(nearest_even(x, *table), lowest, highest)
    inside = abs(x - level) <= relative * minimum(abs(x), highest) + least  # an infinity is on no level
    return where(x != x, x, where(inside, 0.0, np.inf))


def _step_of_even(
    x: Any, step_size: Any, lowest: float, highest: float, relative: float, least: float, *table: float
) -> Any:
    # What is out of range is nearest to what its end is nearest to, for that is on a level then.
    return clip(nearest_even(clip(x, lowest, highest), *table), lowest, highest) + 0.0


def _slope(x: Any, *numbers: float) -> Any:
    return where(x != x, x, 0.0)


_EXPLICIT = Formulas(_term_of_explicit, _step_of_explicit, _slope, compiled=False)
_EVEN = Formulas(_term_of_even, _step_of_even, _slope)


@register("grid")
@dataclass(frozen=True, slots=True)
class Grid(ElementRegularizer):
    """0 where every element is on a level, infinite otherwise.

    Source: Courbariaux, Bengio and David (2015), BinaryConnect (levels -1 and 1).
    """

    levels: Levels

    traits: ClassVar[Traits] = Traits(separable=True, indicator=True)
    description: ClassVar[Description] = Description(
        title="binary, ternary and other fixed grids: every element on a level",
        penalty="0 if every element is on a level, infinity otherwise",
        terms="0 on a level, infinity elsewhere",
        gradient="0 on the levels, undefined elsewhere",
        prox="the nearest level; of two the one of smaller magnitude, of -a and a the latter",
        parameters={
            "levels": "1 to 256 explicit ones, rounded to the data type, or all at offset + k * step; "
            "units of x"
        },
        source="Courbariaux et al. 2015",
    )

    @property
    def formulas(self) -> Formulas:  # type: ignore[override] # of an instance: there are two kinds
        """Those of explicit levels, or of even ones."""
        return _EVEN if self.levels.explicit is None else _EXPLICIT

    @property
    def numbers(self) -> tuple[float, ...]:
        """The levels, and before even ones what they are rounded by."""
        return self.levels.table if self.levels.explicit is not None else self.levels.rounded_table

    def on(self, shape: tuple[int, ...], data_type: DataType = FLOAT64) -> Self:
        """The grid of those numbers of a data type that are nearest to the levels."""
        del shape
        return replace(self, levels=self.levels.on(data_type))

    def gradient(self, x: Float64Array, out: Float64Array) -> None:
        """Write 0, or NaN where x is NaN.

        Raises:
            GradientUndefined: If an element is on no level, naming the first.
        """
        terms = np.empty_like(x)
        self.terms(x, terms)
        outside = terms == np.inf
        if outside.any():
            first = int(np.argmax(outside))
            raise GradientUndefined(f"must be on a level to have a gradient, got {x[first]!s}", element=first)
        super(Grid, self).gradient(x, out)

    def rounds_outside(self, grid: formats.Grid, *, at_random: bool) -> bool:
        """Where a level is rounded at random; explicit ones are numbers of the data type."""
        return at_random and (self.levels.explicit is None or grid.reference is not None)

    def settled(self, exact: Float64Array, numbers: Float64Array, grid: formats.Grid) -> Float64Array | None:
        """The numbers nearest to the levels, plus the reference."""
        nearest = np.where(np.isfinite(exact), grid.nearest(exact), numbers)
        return None if np.array_equal(nearest, numbers, equal_nan=True) else nearest
