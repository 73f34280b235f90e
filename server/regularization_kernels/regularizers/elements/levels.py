"""Levels that elements are moved to, and which is the nearest: of two, the one of smaller magnitude."""

from __future__ import annotations

import math
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property, lru_cache
from itertools import pairwise
from typing import Any

from ...arrays import FLOAT64, DataType
from ...errors import FieldMissing, FieldOutOfRange
from ...expansions import Exponents, exponents_of
from ...formats import limits, rounded
from ...formulas.operations import floor, look_up, where

MAX_LEVELS = 256
"""Explicit levels: as many as eight bits tell apart."""

_WHOLE = 2.0**52
"""From so many steps on, numbers are no closer to each other than levels are."""

_LISTS_KEPT = 64


@dataclass(frozen=True)
class Levels:
    """The numbers that elements are to be: explicit ones, or all that are equally far apart.

    Args:
        explicit: 1 to 256 of them, finite, each above the one before.
        step: Their distance, finite, > 0; level k is ``offset + k * step`` for every integer k.
        offset: Where one of them is, finite; 0 if None. Only its remainder by the step matters.

    Raises:
        FieldMissing: If neither explicit levels nor a step is given.
        FieldOutOfRange: If both are, or a number is not in its range.
    """

    explicit: tuple[float, ...] | None = None
    step: float | None = None
    offset: float | None = None

    def __post_init__(self) -> None:
        """Check the numbers."""
        if self.explicit is None:
            if self.step is None:
                raise FieldMissing("must have explicit or step")
            if not (math.isfinite(self.step) and self.step > 0):
                raise FieldOutOfRange(f"must be finite and > 0, got {self.step!r}", field="step")
            if self.offset is not None and not math.isfinite(self.offset):
                raise FieldOutOfRange(f"must be finite, got {self.offset!r}", field="offset")
            return
        for name, value in (("step", self.step), ("offset", self.offset)):
            if value is not None:
                raise FieldOutOfRange(f"must be unset beside explicit, got {value!r}", field=name)
        _check(self.explicit)

    @cached_property
    def table(self) -> tuple[float, ...]:
        """What the formulas take: step and offset, or levels and, after them, thresholds between them."""
        if self.explicit is not None:
            return (*(level + 0.0 for level in self.explicit), *_thresholds(self.explicit))
        step = self.step or 0.0
        return (step, math.remainder(self.offset or 0.0, step))

    @property
    def rounded_table(self) -> tuple[float, ...]:
        """Of even levels: range of a data type, by what it rounds, relative and at least, and the table."""
        return (*_rounding(FLOAT64), *self.table)

    def on(self, data_type: DataType) -> Levels:
        """The levels for a data type: explicit ones are rounded, and those that become equal are one."""
        if self.explicit is None:
            return _LevelsOf(step=self.step, offset=self.offset, data_type=data_type)
        numbers = sorted({rounded(level, data_type) for level in self.explicit})
        return Levels(explicit=tuple(numbers))

    def distance_exponents(self, x: Exponents) -> Exponents:
        """Where distances to the nearest level lie."""
        if self.explicit is not None:
            levels = [exponents_of(level) for level in self.explicit]
            lowest, highest = min(e.lowest for e in levels), max(e.highest for e in levels)
            return x.plus(Exponents(lowest, highest))
        step, offset = (exponents_of(number) for number in self.table)
        return Exponents(min(x.lowest, step.lowest, offset.lowest), step.highest)


@dataclass(frozen=True)
class _LevelsOf(Levels):
    """Even levels for a data type."""

    data_type: DataType = FLOAT64

    @property
    def rounded_table(self) -> tuple[float, ...]:
        """Of even levels: range of a data type, by what it rounds, relative and at least, and the table."""
        return (*_rounding(self.data_type), *self.table)


def _rounding(data_type: DataType) -> tuple[float, ...]:
    of = limits(data_type)
    return of.min, of.max, 0.5 * of.eps, 0.5 * (of.spacing or of.smallest_subnormal)


def nearest_explicit(x: Any, *table: float) -> Any:
    """The nearest of explicit levels."""
    count = (len(table) + 1) // 2
    return where(x != x, x, look_up(x, table[:count], table[count:]))


def nearest_even(x: Any, step: float, offset: float) -> Any:
    """The nearest of even levels; x where numbers are no closer to each other than these."""
    steps = (x - offset) / step
    whole = floor(steps)
    low, high = offset + whole * step, offset + (whole + 1.0) * step
    below, above = x - low, high - x
    upwards = (above < below) | ((above == below) & (abs(high) <= abs(low)))
    return where(abs(steps) < _WHOLE, where(upwards, high, low), x)


def _check(levels: tuple[float, ...]) -> None:
    if not 1 <= len(levels) <= MAX_LEVELS:
        raise FieldOutOfRange(f"must be 1 to {MAX_LEVELS}, got {len(levels)}", field="explicit")
    for index, level in enumerate(levels):
        if not math.isfinite(level):
            raise FieldOutOfRange(f"must be finite, got {level!r}", field=f"explicit[{index}]")
        if index and level <= levels[index - 1]:
            text = f"must be above the level before, {levels[index - 1]!r}, got {level!r}"
            raise FieldOutOfRange(text, field=f"explicit[{index}]")


@lru_cache(_LISTS_KEPT)
def _thresholds(levels: tuple[float, ...]) -> tuple[float, ...]:
    """For each level but the last, the largest number to which it is nearer than the next one is."""
    return tuple(_last_of_lower(lower, upper) for lower, upper in pairwise(levels))


def _last_of_lower(lower: float, upper: float) -> float:
    middle = (Fraction(lower) + Fraction(upper)) / 2
    number = float(middle)
    lower_at_middle = abs(lower) < abs(upper)
    if number < middle or (number == middle and lower_at_middle):
        return number
    return math.nextafter(number, -math.inf)
