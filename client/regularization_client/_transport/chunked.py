"""A call whose elements travel in chunks, over one stream, from its start again where a server goes away.

The request goes out in a thread of grpc's while the caller's thread takes in the answer.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator
from itertools import chain
from typing import Any, Generic, TypeVar

from regularization import wire

from .._errors import RegularizationError
from .._request.call import Call
from .._request.chunks import Cut, chunks, payloads
from .._results import Summary, summary_from
from .answers import AnswerReader, Reader, Results
from .base import Conditions
from .connection import Connection
from .lane import Lane
from .replay import Cancellation, replayed
from .replicas import Watched
from .statistics import StatisticsReader

T = TypeVar("T")


class Chunked:
    """Carries out calls in chunks.

    Args:
        connection: To where.
        lane: On which of the connection's channels.
        cancellation: What may end a call early.
    """

    def __init__(
        self, connection: Connection, lane: int = 0, cancellation: Cancellation | None = None
    ) -> None:
        self._connection = connection
        self._lane = lane
        self._cancellation = cancellation

    def carry_out(self, call: Call, conditions: Conditions) -> Summary:
        """See ``Transport``."""
        results = Results(call, conditions.progress)
        sent = None if call.method.has_results else results.reach
        return summary_from(
            self._answered(
                call, conditions, lambda: AnswerReader(call, conditions.chunk_bytes, results), sent
            )
        )

    def measure(self, call: Call, conditions: Conditions) -> bytes:
        """Return the statistics of a call's elements, for the method of the call."""
        return self._answered(call.measuring(), conditions, StatisticsReader)

    def _answered(
        self,
        call: Call,
        conditions: Conditions,
        reader: Callable[[], Reader[T]],
        sent: Callable[[int], None] | None = None,
    ) -> T:
        """Return the answer to a call, as the reader reads it; ``sent`` is told how far sending has come."""
        header = call.header_bytes()

        def attempt(lane: Lane, timeout: float | None) -> T:
            return _Attempt(call, header, conditions.chunk_bytes, reader(), sent, self._cancellation).run(
                lane, timeout
            )

        return replayed(
            lambda timeout: self._connection.in_turn(self._lane, lambda lane: attempt(lane, timeout)),
            conditions,
            self._cancellation,
            harmless=lambda error: not self._connection.closed,
        )


class _Attempt(Generic[T]):
    """The call, made once."""

    def __init__(
        self,
        call: Call,
        header: bytes,
        chunk_bytes: int,
        answer: Reader[T],
        sent: Callable[[int], None] | None,
        cancellation: Cancellation | None,
    ) -> None:
        self._call = call
        self._header = header
        self._chunk_bytes = chunk_bytes
        self._cancellation = cancellation
        self._answer = answer
        self._report = sent
        self._failure: Exception | None = None
        self._watched: Watched | None = None
        self._over = False
        # Held while sources are read: once run returns, nothing touches them any more.
        self._reading = threading.Lock()

    def run(self, lane: Lane, timeout: float | None) -> T:
        """Make the call and return the answer."""
        cuts = chunks(self._call, self._chunk_bytes)
        first, second = next(cuts, None), next(cuts, None)
        method = self._call.method
        if second is not None or (first is not None and not self._header_rides()):
            requests = self._requests(filter(None, chain([first, second], cuts)))
            self._receive(lane, lane.stream(method.name, requests, timeout), timeout)
        else:
            message = _message(self._header, first or [])
            if not method.has_results and self._cancellation is None:
                self._answer.take(lane.ask(method.name, message, timeout))
            else:
                self._receive(lane, lane.send(method.name, message, timeout), timeout)
        return self._answer.answer()

    def _receive(self, lane: Lane, answer: Any, timeout: float | None) -> None:
        if self._cancellation is not None:
            self._cancellation.covers(answer)
        try:
            lane.receive(answer, timeout, self._answer.take, self._watch_sending)
        except RegularizationError as error:
            if self._failure is not None:
                raise self._failure from error
            raise
        finally:
            with self._reading:
                self._over = True
            answer.cancel()
            del answer
        if self._failure is not None:
            raise self._failure

    def _watch_sending(self, watched: Watched) -> None:
        self._watched = watched

    def _header_rides(self) -> bool:
        """Whether the header is in one message with the first chunk, so as not to outgrow gRPC's limit."""
        return len(self._header) <= self._chunk_bytes

    def _requests(self, cuts: Iterable[list[Cut]]) -> Iterator[bytes]:
        """Yield the messages. Runs in a thread of grpc's, where an exception would only be logged."""
        try:
            yield from self._messages(cuts)
        except Exception as error:
            # Raised again in the caller's thread.
            self._failure = error

    def _messages(self, cuts: Iterable[list[Cut]]) -> Iterator[bytes]:
        header = self._header
        if not self._header_rides():
            yield _message(header, [])
            header = b""
        for chunk in cuts:
            with self._reading:
                if self._over:
                    return
                message = _message(header, chunk)
            yield message
            header = b""
            self._sent(chunk)

    def _sent(self, chunk: list[Cut]) -> None:
        if self._watched is not None:
            self._watched.moved()
        if self._report is not None:
            self._report(chunk[-1].end)


def _message(header: bytes, chunk: list[Cut]) -> bytes:
    return wire.encode_request(header, chunk[0].begin if chunk else 0, payloads(chunk))
