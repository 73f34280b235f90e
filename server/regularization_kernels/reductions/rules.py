"""What becomes of each element of a vector, once the figures of the whole are known."""

from __future__ import annotations

from abc import ABC
from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields
from typing import Any, ClassVar

from ..arrays import Float64Array
from ..formulas.evaluation import evaluate
from ..formulas.operations import clip, copysign, maximum, sign

Formula = Callable[..., Any]
"""Of an element, the step size, and the rule's numbers; a rule has the step size in its numbers already."""


def no_term(x: Any, *numbers: float) -> Any:
    """The term of an element, where the penalty has none but of the whole."""
    return 0.0


def _magnitude(x: Any, strength: float) -> Any:
    return abs(x) * strength


def _number(x: Any, step_size: float, number: float) -> Any:
    return number


def _same(x: Any, step_size: float, *numbers: float) -> Any:
    return x


def _times(x: Any, step_size: float, factor: float, divisor: float) -> Any:
    return x / divisor * factor + 0.0  # no negative zeros


def _lowered(x: Any, step_size: float, threshold: float, rest: float) -> Any:
    return maximum(x - threshold - rest, 0.0) + 0.0


def _lowered_magnitudes(x: Any, step_size: float, threshold: float, rest: float) -> Any:
    return copysign(maximum(abs(x) - threshold - rest, 0.0), x) + 0.0


def _clipped(x: Any, step_size: float, ceiling: float) -> Any:
    return clip(x, -ceiling, ceiling) + 0.0


def _from(x: Any, step_size: float, least: float) -> Any:
    return x * (abs(x) >= least) + 0.0  # several times as fast as to choose


def _above(x: Any, step_size: float, least: float) -> Any:
    return x * (abs(x) > least) + 0.0


def _peaks(x: Any, step_size: float, largest: float, share: float) -> Any:
    return sign(x) * (abs(x) == largest) * share + 0.0


@dataclass(frozen=True, slots=True)
class Rule(ABC):
    """What becomes of each element. Its fields are its formula's numbers, unless it says otherwise."""

    formulas: ClassVar[tuple[Formula, ...]]
    """The formulas that stretches may have."""

    term: ClassVar[Formula] = staticmethod(no_term)
    """An element's own term of the penalty, before scale: from what became of it, and the rule's numbers."""

    @property
    def numbers(self) -> tuple[float, ...]:
        """What the formulas are told."""
        return tuple(getattr(self, each.name) for each in fields(self))

    @property
    def geometry(self) -> tuple[int, int] | None:
        """Of groups, how many it has figures of, and the consecutive elements of one; None of none."""
        return None

    def stretches(self, position: int, size: int) -> Iterator[tuple[int, int, Formula]]:
        """Which formula which elements have: of ``size`` elements, the first of which stands at ``position``.

        Yields:
            Begin and end of a stretch, from 0 on, and its formula.
        """
        del position
        yield 0, size, self.formulas[0]

    def write(self, x: Float64Array, position: int, out: Float64Array) -> None:
        """Write what becomes of elements, the first of which stands at ``position``; out may be x."""
        for begin, end, formula in self.stretches(position, x.size):
            evaluate(formula, out[begin:end], x[begin:end], 0.0, *self.numbers)


@dataclass(frozen=True, slots=True)
class Constant(Rule):
    """Everything becomes one number."""

    number: float

    formulas: ClassVar[tuple[Formula, ...]] = (_number,)


@dataclass(frozen=True, slots=True)
class Same(Rule):
    """Everything stays."""

    formulas: ClassVar[tuple[Formula, ...]] = (_same,)


@dataclass(frozen=True, slots=True)
class SameWithMagnitudes(Rule):
    """Everything stays, and has its magnitude times a strength for a term."""

    strength: float

    formulas: ClassVar[tuple[Formula, ...]] = (_same,)
    term: ClassVar[Formula] = staticmethod(_magnitude)


@dataclass(frozen=True, slots=True)
class Times(Rule):
    """Everything is divided by one number, and multiplied by another."""

    factor: float
    divisor: float = 1.0

    formulas: ClassVar[tuple[Formula, ...]] = (_times,)


@dataclass(frozen=True, slots=True)
class Lowered(Rule):
    """The elements come down by a threshold, and are not below 0; or their magnitudes do."""

    threshold: float
    rest: float
    """What of the threshold float64 does not have: it is taken off afterwards."""
    magnitudes: bool

    formulas: ClassVar[tuple[Formula, ...]] = (_lowered, _lowered_magnitudes)

    @property
    def numbers(self) -> tuple[float, ...]:
        """The threshold, in two parts."""
        return self.threshold, self.rest

    def stretches(self, position: int, size: int) -> Iterator[tuple[int, int, Formula]]:
        """All have one formula."""
        del position
        yield 0, size, self.formulas[self.magnitudes]


@dataclass(frozen=True, slots=True)
class Clipped(Rule):
    """No magnitude is above a ceiling."""

    ceiling: float

    formulas: ClassVar[tuple[Formula, ...]] = (_clipped,)


@dataclass(frozen=True, slots=True)
class Kept(Rule):
    """Magnitudes stay that are above the least, or at it up to a position; the others become 0.

    The least is above 0, and all elements are finite.
    """

    least: float
    last: int

    formulas: ClassVar[tuple[Formula, ...]] = (_from, _above)

    @property
    def numbers(self) -> tuple[float, ...]:
        """The least magnitude."""
        return (self.least,)

    def stretches(self, position: int, size: int) -> Iterator[tuple[int, int, Formula]]:
        """Those up to the last one that stays with the least magnitude, and those after it."""
        ties = min(max(self.last + 1 - position, 0), size)
        if ties:
            yield 0, ties, _from
        if ties < size:
            yield ties, size, _above


@dataclass(frozen=True, slots=True)
class Peaks(Rule):
    """The largest magnitudes become a number with their signs, the others 0."""

    largest: float
    share: float

    formulas: ClassVar[tuple[Formula, ...]] = (_peaks,)
