"""How many of something may stay: a count, or a fraction of all."""

from __future__ import annotations

import math
from fractions import Fraction

from ...errors import FieldMissing, FieldOutOfRange
from ...regularizer import COUNT


class CountOrFraction:
    """A regularizer with a ``count`` or a ``fraction``: exactly one of them is given.

    Raises:
        FieldMissing: If neither is.
        FieldOutOfRange: If both are, the count is negative, or the fraction not from 0 to 1.
    """

    __slots__ = ()

    count: int | None
    fraction: float | None

    def __post_init__(self) -> None:
        """Check the parameters."""
        if self.fraction is None:
            if self.count is None:
                raise FieldMissing("must have count or fraction")
            COUNT.check(self.count, "count")
        elif self.count is not None:
            raise FieldOutOfRange("must be unset where there is a count", field="fraction")
        elif not 0 <= self.fraction <= 1:
            raise FieldOutOfRange(f"must be from 0 to 1, got {self.fraction!r}", field="fraction")

    def most(self, total: int) -> int:
        """How many of so many may stay: the fraction of them is rounded once, a half to the larger number."""
        if self.count is not None:
            return self.count
        return math.floor(Fraction(self.fraction or 0) * total + Fraction(1, 2))

    def check_total(self, total: int, words: str, whose: str = "the segment's") -> None:
        """Check that there are as many as may stay.

        Args:
            total: How many there are.
            words: Of what.
            whose: They are.

        Raises:
            FieldOutOfRange: If there are fewer.
        """
        if self.count is not None and self.count > total:
            raise FieldOutOfRange(f"must be at most {whose} {total} {words}, got {self.count}", field="count")
