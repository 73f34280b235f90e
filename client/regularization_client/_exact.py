"""Exact sums: what the schema's ExactSum is, and how partial ones combine."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise

from regularization.v1 import summary_pb2

from ._errors import ProtocolError


@dataclass(frozen=True, slots=True)
class ExactSum:
    """A sum that no order of addition has touched: rounded once, with the remainder kept.

    Two exact sums of the same terms are equal, to the bit, however the terms were shared out.
    """

    value: float
    """The exact sum, rounded once to nearest-even; an infinity or NaN where a term is."""

    expansion: tuple[float, ...]
    """Numbers whose exact sum it is: ``value``, then each remainder rounded in turn. Empty for 0."""

    @classmethod
    def from_message(cls, message: summary_pb2.ExactSum) -> ExactSum:
        """Return the sum that a message of the schema states.

        Raises:
            ProtocolError: If its expansion is not one of its value.
        """
        value, expansion = message.value, tuple(message.expansion)
        _check(value, expansion)
        return cls(value, expansion)

    @classmethod
    def combined(cls, parts: Iterable[ExactSum]) -> ExactSum:
        """Return the sum of sums, with the bits that one sum over all their terms would have."""
        terms = [term for part in parts for term in part.expansion]
        special = [term for term in terms if not math.isfinite(term)]
        if special:
            total = sum(special)
            return cls(total, (total,))
        expansion = []
        remainder = sum(map(Fraction, terms), Fraction())
        while remainder:
            try:
                expansion.append(float(remainder))
            except OverflowError:
                total = math.inf if remainder > 0 else -math.inf
                return cls(total, (total,))
            remainder -= Fraction(expansion[-1])
        return cls(expansion[0] if expansion else 0.0, tuple(expansion))


def _check(value: float, expansion: tuple[float, ...]) -> None:
    """See ``ExactSum`` in the schema: each number is what the ones before it leave, rounded."""
    if not expansion:
        if value != 0:
            raise ProtocolError(f"the summary has a sum of {value} without its expansion")
        return
    first = expansion[0]
    if value != first and not (math.isnan(value) and math.isnan(first)):
        raise ProtocolError(f"the summary has a sum of {value} whose expansion begins with {first}")
    for last, number in pairwise(expansion):
        # Of an infinity or NaN nothing remains, and a remainder is at most half a unit in the last place.
        if not (math.isfinite(last) and 0 < abs(number) <= math.ulp(last) / 2):
            raise ProtocolError(f"the summary has a sum of {value} with {number} in its expansion")
