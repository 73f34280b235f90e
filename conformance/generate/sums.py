"""Exact sums by the schema's rule: blocks of 2^18 elements, 256 lanes, exact addition, expansions."""

from __future__ import annotations

import math
import operator
from dataclasses import dataclass
from fractions import Fraction
from functools import reduce
from itertools import pairwise

from regularization.v1.summary_pb2 import ExactSum

BLOCK = 2**18
LANES = 256


@dataclass(frozen=True)
class Terms:
    """Terms with one scale, in lanes of their own.

    Attributes:
        scale: What each lane's sum is multiplied by.
        values: One for each element, 0 where it has none.
        first: Index of the first of them in its segment.
        error: What they may be off by, relatively, where the schema leaves the order of operations open.
    """

    scale: float
    values: list[float]
    first: int = 0
    error: float = 0.0

    def products(self) -> list[float]:
        """The lanes' sums times the scale, of all blocks."""
        ends = [*range(BLOCK - self.first % BLOCK, len(self.values), BLOCK), len(self.values)]
        products: list[float] = []
        for begin, end in pairwise([0, *ends]):
            block = self.values[begin:end]
            # Not by sum, which compensates for rounding in newer versions of Python.
            lanes = (reduce(operator.add, block[lane::LANES], 0.0) for lane in range(min(LANES, len(block))))
            products += [lane * self.scale for lane in lanes]
        return products


@dataclass(frozen=True)
class Sum:
    """An exact sum of binary64 numbers, infinite or NaN where one is."""

    total: Fraction = Fraction(0)
    other: float | None = None

    def __add__(self, other: Sum) -> Sum:
        """The sum of both."""
        others = [each.other for each in (self, other) if each.other is not None]
        return Sum(self.total + other.total, sum(others) if others else None)

    @property
    def message(self) -> ExactSum:
        """The sum as the schema has it."""
        if self.other is not None:
            return ExactSum(value=self.other, expansion=[self.other])
        expansion: list[float] = []
        rest = self.total
        while rest:
            expansion.append(float(rest))
            rest -= Fraction(expansion[-1])
        return ExactSum(value=expansion[0] if expansion else 0.0, expansion=expansion)


def exact_sum(terms: list[Terms]) -> Sum:
    """The exact sum of all products."""
    total = Fraction(0)
    other: list[float] = []
    for products in (each.products() for each in terms):
        total += sum((Fraction(value) for value in products if math.isfinite(value)), Fraction(0))
        other += [value for value in products if not math.isfinite(value)]
    return Sum(total, sum(other) if other else None)
