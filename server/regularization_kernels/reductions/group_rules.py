"""What becomes of each element of a vector whose groups interleave, by a figure or two of its group."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any, ClassVar

from ..arrays import Float64Array
from ..formulas.evaluation import SHORT, evaluate
from ..formulas.operations import copysign, maximum, sign
from .group_loop import of_each_group
from .rules import Formula, Rule


def _number(x: Any, step_size: float, number: Any) -> Any:
    return number


def _times(x: Any, step_size: float, factor: Any) -> Any:
    return x * factor + 0.0  # no negative zeros


def _scaled(x: Any, step_size: float, divisor: Any, factor: Any) -> Any:
    return x / divisor * factor + 0.0


def _lowered_times(x: Any, step_size: float, factor: Any, threshold: float, strength: float) -> Any:
    return copysign(maximum(abs(x) - threshold, 0.0), x) * factor + 0.0


def _scaled_and_signs(x: Any, step_size: float, divisor: Any, factor: Any, strength: float) -> Any:
    return x / divisor * factor + 0.0 + sign(x) * strength


def _magnitude(x: Any, threshold: float, strength: float) -> Any:
    return abs(x) * strength


def _magnitude_alone(x: Any, strength: float) -> Any:
    return abs(x) * strength


@dataclass(frozen=True, slots=True, eq=False)
class GroupRule(Rule):
    """A rule with figures of each group, before the numbers of all in its formula.

    Args:
        inner: How many consecutive elements a group has before the next group's follow, >= 1.
    """

    inner: int

    @property
    def tables(self) -> tuple[Float64Array, ...]:
        """The figures: one or more for each group, ``(count,)`` each."""
        return tuple(value for value in self._values if not isinstance(value, float))

    @property
    def numbers(self) -> tuple[float, ...]:
        """The numbers of all groups."""
        return tuple(value for value in self._values if isinstance(value, float))

    @property
    def geometry(self) -> tuple[int, int]:
        """How many groups there are, and the consecutive elements of one."""
        return self.tables[0].size, self.inner

    @property
    def _values(self) -> tuple[Any, ...]:
        return tuple(getattr(self, each.name) for each in fields(self) if each.name != "inner")

    def write(self, x: Float64Array, position: int, out: Float64Array) -> None:
        """Write what becomes of elements, the first of which stands at ``position``; out may be x."""
        for begin in range(0, x.size, SHORT):
            part = x[begin : begin + SHORT]
            tables = (of_each_group(table, self.inner, position + begin, part.size) for table in self.tables)
            evaluate(self.formulas[0], out[begin : begin + SHORT], part, 0.0, *tables, *self.numbers)


@dataclass(frozen=True, slots=True, eq=False)
class GroupConstant(GroupRule):
    """Every element of a group becomes one number."""

    group_numbers: Float64Array

    formulas: ClassVar[tuple[Formula, ...]] = (_number,)


@dataclass(frozen=True, slots=True, eq=False)
class GroupTimes(GroupRule):
    """Groups are multiplied."""

    factors: Float64Array

    formulas: ClassVar[tuple[Formula, ...]] = (_times,)


@dataclass(frozen=True, slots=True, eq=False)
class GroupScaled(GroupRule):
    """Groups are divided by one number each, and multiplied by another."""

    divisors: Float64Array
    factors: Float64Array

    formulas: ClassVar[tuple[Formula, ...]] = (_scaled,)


@dataclass(frozen=True, slots=True, eq=False)
class GroupLoweredTimes(GroupRule):
    """Magnitudes come down by a threshold, but not below 0, and then groups are multiplied.

    Each element then has its magnitude times a strength for a term.
    """

    factors: Float64Array
    threshold: float
    strength: float

    formulas: ClassVar[tuple[Formula, ...]] = (_lowered_times,)
    term: ClassVar[Formula] = staticmethod(_magnitude)


@dataclass(frozen=True, slots=True, eq=False)
class GroupScaledAndSigns(GroupRule):
    """Groups are divided and multiplied, and the elements' signs times a strength are added.

    Each element has its magnitude times the strength for a term.
    """

    divisors: Float64Array
    factors: Float64Array
    strength: float

    formulas: ClassVar[tuple[Formula, ...]] = (_scaled_and_signs,)
    term: ClassVar[Formula] = staticmethod(_magnitude_alone)
