"""A call whose elements go to the server several times, so that none of them waits there for others."""

from __future__ import annotations

from collections.abc import Sequence

from .._request.call import Call
from .._results import Summary
from .base import Conditions
from .chunked import Chunked
from .connection import Connection
from .rounds import Rounds
from .statistics import Combined


class Measured:
    """Carries out calls over one stream, once all is measured that their segments need of the whole vector.

    The server then holds a chunk, whatever the size of what is computed as one.

    Args:
        connection: To where.
    """

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def carry_out(self, call: Call, conditions: Conditions) -> Summary:
        """See ``Transport``."""
        chunked, left = Chunked(self._connection), conditions.timed()

        def measure(call: Call, known: Combined) -> Sequence[bytes]:
            begin, end = known.hull(call.begin, call.end)
            return [chunked.measure(call.part(begin, end), left())] if begin < end else []

        call = Rounds(self._connection, call, left).measured(measure)
        return chunked.carry_out(call, left())
