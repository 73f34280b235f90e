"""What must be known of a whole vector before its parts are computed: measured and combined in rounds.

A client does no arithmetic: it carries what the server gave from one call to the next.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from .._errors import InvalidRequestError, ProtocolError
from .._request.call import Call
from .base import Conditions
from .connection import Connection
from .statistics import Combined, combined

Measure = Callable[[Call, Combined], Sequence[bytes]]
"""Returns the statistics of all parts: given the call with what is known so far, and what is missing."""


class Rounds:
    """The rounds of one call.

    Args:
        connection: To where.
        call: What is asked; of all of the vector, or of a part.
        left: Gives the conditions with the time that is left.

    Raises:
        RegularizationError: If the server cannot say what the first round is about.
    """

    def __init__(self, connection: Connection, call: Call, left: Callable[[], Conditions]) -> None:
        self._connection = connection
        self._call = call
        self._left = left
        self._size = sum(call.header.layout.sizes.values())
        self._first = self._combined(call, ())

    @property
    def asked(self) -> frozenset[str]:
        """Names of the segments that are measured."""
        names, begin = set(), 0
        ranges = iter(self._first.measured)
        current = next(ranges, None)
        for name, size in self._call.header.layout.sizes.items():
            while current is not None and current[1] <= begin:
                current = next(ranges, None)
            if current is not None and size and current[0] <= begin and begin + size <= current[1]:
                names.add(name)
            begin += size
        return frozenset(names)

    def measured(self, measure: Measure) -> Call:
        """Return the call once all is known that its segments need of the whole vector.

        Raises:
            InvalidRequestError: If the parts leave out what must be measured.
            RegularizationError: If a call fails, at last.
        """
        known, call, segments = self._first, self._call, self.asked
        while not known.complete:
            after = self._combined(call, measure(call, known))
            if not after.measurement:
                begin, end = after.missing[0]
                text = f"the parts must have all elements of the whole, and {begin} to {end} are in none"
                raise InvalidRequestError(text, element=begin)
            if after.measurement == known.measurement:
                raise ProtocolError("the answer to statistics of all elements is what was known before")
            known, call = after, call.with_measurement(after.measurement, segments)
        return call

    def _combined(self, call: Call, statistics: Sequence[bytes]) -> Combined:
        return combined(self._connection, call.header, statistics, self._size, self._left())
