"""A call on a part of a vector whose rest others have, who make the same call at the same time."""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence
from dataclasses import replace

from .._config import Gather
from .._errors import ArgumentError, PartFailedError
from .._request.call import Call
from .._results import Summary
from .base import Conditions, Measurer
from .connection import Connection
from .rounds import Rounds
from .statistics import Combined, combined

# What is gathered begins with one of these, so that nobody waits for a part that has nothing to give.
_MEASURED, _FAILED = b"m", b"f"
_LENGTH = struct.Struct("<I")


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
                own = _joined(self._measured(call, known, left))
            except Exception:  # whatever it is, the others wait
                _gathered(gather, _FAILED)
                raise
            return [each for part in _gathered(gather, own) for each in _split(part)]

        rounds = Rounds(self._connection, call, left)
        return self._transport.carry_out(rounds.measured(measure), left())

    def _measured(self, call: Call, known: Combined, left: Callable[[], Conditions]) -> list[bytes]:
        """Return the statistics of what is missing in the call, two at most."""
        inside = ((run, known.hull(run.begin, run.end)) for run in call.runs())
        statistics = [
            self._transport.measure(run.part(begin, end), left())
            for run, (begin, end) in inside
            if begin < end
        ]
        if len(statistics) < 3:
            return statistics
        # One is left out, so that elements are missing in any case, and statistics come of the others.
        size = call.header.layout.size
        others = combined(self._connection, call.header, statistics[1:], size, left())
        return [statistics[0], others.statistics]


def _gathered(gather: Gather, own: bytes) -> list[bytes]:
    parts = [bytes(part) for part in gather(own)]
    if own not in parts:
        raise ArgumentError("gather must return what each part gave it, that of this one among them")
    return parts


def _joined(statistics: Sequence[bytes]) -> bytes:
    """Return the statistics of a part as one piece."""
    return _MEASURED + b"".join(_LENGTH.pack(len(each)) + each for each in statistics)


def _split(part: bytes) -> list[bytes]:
    """Return the statistics that a part has joined."""
    if part[:1] == _FAILED:
        raise PartFailedError("another part could not be measured: whoever has it knows why")
    statistics, at = [], 1
    while at < len(part):
        end = at + _LENGTH.size
        (length,) = _LENGTH.unpack(part[at:end].ljust(_LENGTH.size, b"\0"))
        at = end + length
        statistics.append(part[end:at])
    if part[:1] != _MEASURED or at != len(part):
        raise ArgumentError("gather must return what each part gave it, as it gave it")
    return statistics
