"""A call on a part of a vector whose rest others have, who make the same call at the same time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from .._config import Gather
from .._errors import ArgumentError, PartFailedError, RegularizationError
from .._request.call import Call
from .._results import Summary
from .base import Conditions, Measurer
from .connection import Connection
from .rounds import Rounds
from .statistics import Combined

# What is gathered begins with one of these, so that nobody waits for a part that has nothing to give.
_MEASURED, _NOTHING, _FAILED = b"m", b"n", b"f"


class Gathered:
    """Carries out calls on parts, measuring the whole with those who have the others.

    Args:
        connection: To where.
        transport: Carries out the calls themselves, and measures parts.
    """

    def __init__(self, connection: Connection, transport: Measurer) -> None:
        self._connection = connection
        self._transport = transport

    def carry_out(self, call: Call, conditions: Conditions) -> Summary:
        """See ``Transport``."""
        gather = conditions.gather
        if gather is None:
            return self._transport.carry_out(call, conditions)
        left = replace(conditions, gather=None).timed()

        def measure(call: Call, known: Combined) -> Sequence[bytes]:
            try:
                begin, end = known.hull(call.begin, call.end)
                own = _NOTHING
                if begin < end:
                    own = _MEASURED + self._transport.measure(call.part(begin, end), left())
            except RegularizationError:
                _gathered(gather, _FAILED)
                raise
            parts = _gathered(gather, own)
            if any(part[:1] == _FAILED for part in parts):
                raise PartFailedError("another part could not be measured: whoever has it knows why")
            return [part[1:] for part in parts if part[:1] == _MEASURED]

        rounds = Rounds(self._connection, call, left)
        return self._transport.carry_out(rounds.measured(measure), left())


def _gathered(gather: Gather, own: bytes) -> list[bytes]:
    parts = [bytes(part) for part in gather(own)]
    if own not in parts:
        raise ArgumentError("gather must return what each part gave it, that of this one among them")
    return parts
