"""What is asked of a whole vector, and answered by its parts: statistics that merge exactly."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar, Generic, Self, TypeVar

import numpy as np

from ..arrays import Float64Array


class Statistic(ABC):
    """A small figure of many numbers. Those of parts, merged in any order, are that of the whole."""

    __slots__ = ()

    @abstractmethod
    def add(self, x: Float64Array, position: int) -> None:
        """Take in an array of one axis, whose first number stands at ``position`` of its segment."""

    @abstractmethod
    def merge(self, other: Self) -> None:
        """Take in what another answer to the same question has."""


StatisticT = TypeVar("StatisticT", bound=Statistic)


class Question(ABC, Generic[StatisticT]):
    """What a statistic is to tell."""

    __slots__ = ()

    in_own_type: ClassVar[bool] = False
    """Whether the answer takes numbers of float32 as they are, and of memory that others may write to."""

    @abstractmethod
    def of_nothing(self) -> StatisticT:
        """The answer of a part without elements."""


@dataclass(slots=True)
class Peak(Statistic):
    """The largest magnitude."""

    largest: float = 0.0
    """NaN where a number is."""
    ties: int = 0
    """How many have it; unknown where it is NaN."""

    def add(self, x: Float64Array, position: int) -> None:
        """Take in numbers, wherever they stand."""
        del position
        magnitudes = np.abs(x)
        largest = float(np.max(magnitudes, initial=0.0))
        self.merge(Peak(largest, int(np.count_nonzero(magnitudes == largest))))

    def merge(self, other: Peak) -> None:
        """The larger one of two, or both together."""
        if other.largest == self.largest:
            self.ties += other.ties
        elif not other.largest < self.largest and self.largest == self.largest:  # NaN stays
            self.largest, self.ties = other.largest, other.ties


@dataclass(frozen=True, slots=True)
class PeakQuestion(Question[Peak]):
    """Which is the largest magnitude?"""

    def of_nothing(self) -> Peak:
        """None."""
        return Peak()
