"""Penalties of a long vector by a few figures of the whole, then one step for each element.

Where a segment is too long to be held in float64, its statistics are gathered in passes over its elements
(``survey``), and what they give is a rule that is applied to any stretch.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from fractions import Fraction
from typing import ClassVar

from ..arrays import DataType, Float64Array
from ..errors import GradientUndefined
from ..formats import share_left_alone, slack
from ..summation import ExactSum
from .census import Order
from .encoding import MOST_RULE_BYTES
from .rules import Constant, Rule, Same
from .survey import Search, Survey


class Reduction(ABC):
    """How a regularizer asks for what it needs of a whole segment.

    Each search is of the penalty that the segment's regularizer is, on one vector's survey.
    """

    __slots__ = ()

    order: ClassVar[Order] = Order.MAGNITUDES
    """What thresholds are of."""

    @property
    def unchanged(self) -> Rule:
        """The rule of a method that changes nothing."""
        return Same()

    @property
    def geometry(self) -> tuple[int, int] | None:
        """Of groups, how many there are, and the consecutive elements of one; None of what has none."""
        return None

    @property
    def most_bytes(self) -> int:
        """At least the bytes of a rule, and of what is recorded on the way to it."""
        return MOST_RULE_BYTES

    @abstractmethod
    def term(self, survey: Survey) -> Search[float | Float64Array]:
        """The penalty's one term, before scale, at the vector that is asked about; or one for each group."""

    def penalty(self, terms: float | Float64Array, scale: float) -> tuple[float, ...]:
        """The doubles whose exact sum the penalty is, but for elements' own terms."""
        return ExactSum.of([float(terms) * scale]).expansion

    @abstractmethod
    def slope(self, survey: Survey) -> Search[Rule]:
        """The rule of the minimum-norm subgradient.

        Raises:
            GradientUndefined: If there is none.
        """

    @abstractmethod
    def step(self, survey: Survey, step_size: float) -> Search[Rule]:
        """The rule of the proximal step."""

    def term_of_step(self, rule: Rule) -> float | Float64Array | None:
        """The term at what a step gave, where that is known without another look; else None."""
        del rule
        return None


class SetReduction(Reduction):
    """0 on a set, infinite off it. NaN makes everything NaN, and so does an infinity outside the set."""

    __slots__ = ()

    data_type: DataType

    @abstractmethod
    def breach(self, survey: Survey, share: float) -> Search[tuple[str, float] | None]:
        """What a point without NaN would have to be, and what it is; None where it is inside.

        Args:
            survey: Of the point.
            share: Of what a sum or a norm may miss its bound by.
        """

    def is_outside(self, survey: Survey, share: float) -> Search[bool]:
        """Whether there is a ``breach``; more than that need not be known."""
        return (yield from self.breach(survey, share)) is not None

    @abstractmethod
    def projection(self, survey: Survey) -> Search[Rule]:
        """The rule of the nearest point; the point asked about is finite and outside."""

    def specials(self, survey: Survey) -> Search[tuple[int, int]]:
        """How many numbers are NaN, and how many infinite."""
        facts = yield from survey.facts()
        return facts.nan, facts.infinite

    def first_outside(self, survey: Survey) -> Search[int]:
        """The element that is named where there is no gradient."""
        return 0
        yield  # a search that asks nothing

    def term(self, survey: Survey) -> Search[float]:
        """0 inside, infinity outside, NaN where there is one."""
        if (yield from self.specials(survey))[0]:
            return math.nan
        return math.inf if (yield from self.is_outside(survey, 1.0)) else 0.0

    def slope(self, survey: Survey) -> Search[Rule]:
        """0 inside, NaN where there is one."""
        if (yield from self.specials(survey))[0]:
            return Constant(math.nan)
        breach = yield from self.breach(survey, 1.0)
        if breach is not None:
            text = f"{breach[0]} to have a gradient, got {breach[1]!r}"
            raise GradientUndefined(text, element=(yield from self.first_outside(survey)))
        return Constant(0.0)

    def expect(self, survey: Survey) -> None:
        """Tell the survey what a step may look for."""

    def step(self, survey: Survey, step_size: float) -> Search[Rule]:
        """The point itself inside, the nearest one outside."""
        del step_size
        self.expect(survey)
        nan, infinite = yield from self.specials(survey)
        if nan:
            return Constant(math.nan)
        if not (yield from self.is_outside(survey, share_left_alone(self.data_type))):
            return Same()
        if infinite:
            return Constant(math.nan)
        return (yield from self.projection(survey))

    def term_of_step(self, rule: Rule) -> float | None:
        """0, for a step ends inside, or NaN."""
        return rule.number if isinstance(rule, Constant) else 0.0  # a constant is 0 or NaN

    def allowed(self, elements: int, bound: float) -> float:
        """By how much a sum or norm may miss its bound and still count as on it."""
        return slack(self.data_type, elements, bound)


def rounded(number: float | Fraction) -> float:
    """The float64 nearest to a number; an infinity beyond them."""
    try:
        return float(number)
    except OverflowError:
        return math.inf if number > 0 else -math.inf


def in_two(number: Fraction) -> tuple[float, float]:
    """A number as a float64, and what that misses."""
    first = rounded(number)
    return first, rounded(number - Fraction(first)) if math.isfinite(first) else 0.0
