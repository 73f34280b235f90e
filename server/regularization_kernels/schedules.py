"""Schedules: numbers that change over the steps of training.

A value is a function of the schedule and of the step alone, with the same bits everywhere: it is computed in
exact or in decimal arithmetic and rounded once, and not by the C library, whose last bits differ.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from bisect import bisect_right
from dataclasses import dataclass
from decimal import MAX_EMAX, MIN_EMIN, Context, Decimal, localcontext
from fractions import Fraction

from .errors import FieldMissing, FieldOutOfRange

MAX_PIECES = 64
"""Pieces of a schedule."""

_CONTEXT = Context(prec=40, Emin=MIN_EMIN, Emax=MAX_EMAX)
"""Of binary64, whose numbers have 17 digits and exponents of three."""

_PI = Decimal("3.14159265358979323846264338327950288419716939937510582097494459230781640628620900")


class Schedule(ABC):
    """A number at every step of training."""

    __slots__ = ()

    @abstractmethod
    def at(self, step: int) -> float:
        """The value at a step, >= 0."""

    @property
    @abstractmethod
    def knots(self) -> tuple[int, ...]:
        """Steps between which the value goes one way, so that what holds at all of them holds everywhere."""


@dataclass(frozen=True, slots=True)
class Constant(Schedule):
    """The same value at every step.

    Args:
        value: Finite.

    Raises:
        FieldOutOfRange: If it is not.
    """

    value: float

    def __post_init__(self) -> None:
        """Check it."""
        _check_finite(self.value, "value")

    def at(self, step: int) -> float:
        """The value."""
        del step
        return self.value

    @property
    def knots(self) -> tuple[int, ...]:
        """One step stands for all."""
        return (0,)


@dataclass(frozen=True, slots=True)
class Ramp(Schedule):
    """From one value to another.

    Args:
        initial: The value up to ``begin``: finite.
        final: The value from ``end`` on: finite.
        begin: The last step with the initial value, >= 0.
        end: The first step with the final value, > ``begin``.

    Raises:
        FieldOutOfRange: If a number is out of its range.
    """

    initial: float
    final: float
    begin: int
    end: int

    def __post_init__(self) -> None:
        """Check the numbers."""
        _check_finite(self.initial, "initial")
        _check_finite(self.final, "final")
        if self.begin < 0:
            raise FieldOutOfRange(f"must be >= 0, got {self.begin}", field="begin")
        if self.end <= self.begin:
            raise FieldOutOfRange(f"must be > begin, which is {self.begin}, got {self.end}", field="end")

    def at(self, step: int) -> float:
        """The value at a step."""
        if step <= self.begin:
            return self.initial
        if step >= self.end:
            return self.final
        return self._between(Fraction(step - self.begin, self.end - self.begin))

    @property
    def knots(self) -> tuple[int, ...]:
        """Both ends."""
        return self.begin, self.end

    @abstractmethod
    def _between(self, share: Fraction) -> float:
        """The value where this share of the way is gone, above 0 and below 1."""

    def _mixed(self, weight: Fraction) -> float:
        """The mean of both values, the initial one with this weight, rounded once."""
        initial, final = Fraction(self.initial), Fraction(self.final)
        return float(final + (initial - final) * weight)


class Linear(Ramp):
    """``initial + (final - initial) * u``, where u is the share of the way that is gone; rounded once."""

    __slots__ = ()

    def _between(self, share: Fraction) -> float:
        return self._mixed(1 - share)


class Cubic(Ramp):
    """``final + (initial - final) * (1 - u)^3``, rounded once.

    Source: Zhu and Gupta (2017), To prune, or not to prune.
    """

    __slots__ = ()

    def _between(self, share: Fraction) -> float:
        return self._mixed((1 - share) ** 3)


class Cosine(Ramp):
    """``final + (initial - final) * (1 + cos(pi * u)) / 2``, within one unit in the last place.

    Source: Loshchilov and Hutter (2017), SGDR.
    """

    __slots__ = ()

    def _between(self, share: Fraction) -> float:
        # The same as the square of the sine, which near the end is small and still has all its digits.
        with localcontext(_CONTEXT):
            left = 1 - share
            sine = _sine(_PI * left.numerator / (2 * left.denominator))
            return self._mixed(Fraction(sine * sine))


class Exponential(Ramp):
    """``initial * (final / initial)^u``, within one unit in the last place; both values are > 0."""

    __slots__ = ()

    def __post_init__(self) -> None:
        """Check the numbers."""
        Ramp.__post_init__(self)
        for name, value in (("initial", self.initial), ("final", self.final)):
            if value <= 0:
                raise FieldOutOfRange(f"must be > 0, got {value!r}", field=name)

    def _between(self, share: Fraction) -> float:
        with localcontext(_CONTEXT):
            initial = Decimal(self.initial)
            logarithm = (Decimal(self.final) / initial).ln()
            return float(initial * (logarithm * share.numerator / share.denominator).exp())


@dataclass(frozen=True, slots=True)
class Piecewise(Schedule):
    """Constant from each step to the next one that is named.

    Args:
        pieces: First steps, ascending from 0, each with its value, which is finite; 1 to 64.

    Raises:
        FieldMissing: If there is none.
        FieldOutOfRange: If there are too many, or a number is out of its range.
    """

    pieces: tuple[tuple[int, float], ...]

    def __post_init__(self) -> None:
        """Check the pieces."""
        if not self.pieces:
            raise FieldMissing("must have a piece", field="pieces")
        if len(self.pieces) > MAX_PIECES:
            raise FieldOutOfRange(f"must be at most {MAX_PIECES}, got {len(self.pieces)}", field="pieces")
        before = -1
        for place, (begin, value) in enumerate(self.pieces):
            path = f"pieces[{place}]"
            _check_finite(value, f"{path}.value")
            if place == 0 and begin != 0:
                raise FieldOutOfRange(f"must be 0 for the first piece, got {begin}", field=f"{path}.begin")
            if begin <= before:
                text = f"must be > {before}, where the piece before begins, got {begin}"
                raise FieldOutOfRange(text, field=f"{path}.begin")
            before = begin

    def at(self, step: int) -> float:
        """The value of the last piece that has begun."""
        return self.pieces[bisect_right(self.pieces, step, key=lambda piece: piece[0]) - 1][1]

    @property
    def knots(self) -> tuple[int, ...]:
        """Where pieces begin."""
        return tuple(begin for begin, _ in self.pieces)


SCHEDULES: dict[str, type[Schedule]] = {
    "constant": Constant,
    "linear": Linear,
    "cosine": Cosine,
    "exponential": Exponential,
    "cubic": Cubic,
    "piecewise": Piecewise,
}
"""Every kind of schedule by its name."""


def nearest_whole(value: float) -> int:
    """The whole number nearest to a finite one, of two the larger."""
    return math.floor(Fraction(value) + Fraction(1, 2))


def _check_finite(value: float, name: str) -> None:
    if not math.isfinite(value):
        raise FieldOutOfRange(f"must be finite, got {value!r}", field=name)


def _sine(x: Decimal) -> Decimal:
    """The sine of a number from 0 to pi / 2, by its series, as exactly as the context is."""
    square, term, place = x * x, x, 1
    total, before = x, Decimal(0)
    while total != before:
        before = total
        term *= -square / ((place + 1) * (place + 2))
        place += 2
        total += term
    return total
