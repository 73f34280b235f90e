"""Statistics of parts of a vector: read, and combined by the server, which alone knows what they mean."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from dataclasses import dataclass

from google.protobuf.message import DecodeError
from regularization import wire
from regularization.v1 import regularization_service_pb2 as service
from regularization.v1.layout_pb2 import ElementRange

from .._errors import ProtocolError, TruncatedStreamError
from .._request.header import Header
from .base import Conditions
from .connection import Connection
from .lane import COMBINE, Lane
from .replay import replayed

Ends = tuple[int, int]
"""Begin and end of a range of elements."""

_LARGEST = 1 << 20
_MOST_RANGES = 10_000


class StatisticsReader:
    """Reads the answer to a call that measures: one message. See ``Reader``."""

    def __init__(self) -> None:
        self._statistics: bytes | None = None

    def take(self, message: bytes) -> None:
        """See ``Reader.take``."""
        if self._statistics is not None:
            raise ProtocolError("the answer goes on after its statistics")
        try:
            statistics = service.MeasureResponse.FromString(message).statistics
        except DecodeError as error:
            raise ProtocolError("the answer has no statistics of the schema") from error
        self._statistics = _checked(statistics, "statistics")

    def answer(self) -> bytes:
        """See ``Reader.answer``."""
        if self._statistics is None:
            raise TruncatedStreamError("the answer ended without its statistics")
        return self._statistics


@dataclass(frozen=True, slots=True)
class Combined:
    """What the statistics of parts give together."""

    statistics: bytes
    """Those of all parts together, where elements are missing; else empty."""

    measurement: bytes
    """What is known of the whole vector by now; empty where elements are missing."""

    complete: bool
    """Whether that is all that must be known."""

    missing: tuple[Ends, ...]
    """What is to be measured: in this round where elements are missing, else in the next."""

    measured: tuple[Ends, ...]
    """What is measured in some round, told at the first: its segments may then be cut anywhere."""

    def hull(self, begin: int, end: int) -> tuple[int, int]:
        """Return the least range that has what is missing between two elements; empty where nothing is."""
        first = bisect_right(self.missing, begin, key=lambda ends: ends[1])
        behind = bisect_left(self.missing, end, key=lambda ends: ends[0])
        if first == behind:
            return begin, begin
        return max(begin, self.missing[first][0]), min(end, self.missing[behind - 1][1])


def combined(
    connection: Connection, header: Header, statistics: Sequence[bytes], size: int, conditions: Conditions
) -> Combined:
    """Let the server combine statistics of parts.

    Args:
        connection: To where.
        header: That of the call which they are for.
        statistics: Of parts, in any order; none to be told what a first round is about.
        size: Elements of the whole vector.
        conditions: How to ask.

    Raises:
        RegularizationError: If the call fails, at last.
    """
    requests = [
        wire.encode_request(header.combining()),
        *(service.CombineRequest(statistics=each).SerializeToString() for each in statistics),
    ]

    def attempt(lane: Lane, timeout: float | None) -> Combined:
        if len(requests) == 1:
            return _read(lane.ask(COMBINE, requests[0], timeout), size)
        answers: list[bytes] = []
        lane.receive(lane.stream(COMBINE, iter(requests), timeout), timeout, answers.append)
        if len(answers) != 1:
            raise TruncatedStreamError(f"the answer has {len(answers)} messages, where one is due")
        return _read(answers[0], size)

    return replayed(
        lambda timeout: connection.in_turn(0, lambda lane: attempt(lane, timeout)),
        conditions,
        harmless=lambda error: not connection.closed,
    )


def _read(message: bytes, size: int) -> Combined:
    try:
        response = service.CombineResponse.FromString(message)
    except DecodeError as error:
        raise ProtocolError("the answer is nothing of the schema that combines statistics") from error
    result = response.WhichOneof("result")
    if result is None:
        raise ProtocolError("the answer has neither statistics nor a measurement")
    measurement = _checked(response.measurement, "measurement")
    _checked(response.statistics, "statistics")
    missing, measured = (_ranges(each, size) for each in (response.missing, response.measured))
    if response.complete is bool(missing) or bool(measurement) is (result == "statistics"):
        raise ProtocolError("the answer must have a measurement that is complete, or say what is missing")
    if response.complete and not measurement:
        raise ProtocolError("the answer is complete, and has no measurement")
    return Combined(response.statistics, measurement, response.complete, missing, measured)


def _ranges(ranges: Sequence[ElementRange], size: int) -> tuple[Ends, ...]:
    """Return begin and end of ranges that lie one after the other in a vector of so many elements."""
    ends = [end for each in ranges for end in (each.begin, each.end)]
    if len(ranges) > _MOST_RANGES or any(each.begin >= each.end for each in ranges) or sorted(ends) != ends:
        raise ProtocolError("the answer says that elements are missing, and not which in order")
    if ends and not 0 <= ends[0] <= ends[-1] <= size:
        raise ProtocolError(f"the answer misses elements {ends[0]} to {ends[-1]} of {size}")
    return tuple((each.begin, each.end) for each in ranges)


def _checked(content: bytes, what: str) -> bytes:
    if len(content) >= _LARGEST:
        raise ProtocolError(f"the answer's {what} must be below {_LARGEST} bytes, got {len(content)}")
    return content
