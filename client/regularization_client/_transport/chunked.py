"""Carry out a job: send the chunks, put the result together, and replay the whole where a server goes away.

The request goes out in a thread of grpc's while the caller's thread takes in the answer. A replay repeats the
request from its start. Its answer has the same bits, so what was already stored is not stored again: a sink
sees every element once, and in order.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator
from itertools import chain
from typing import Any, TypeVar

import grpc
from regularization import wire
from regularization.v1 import catalogue_pb2, summary_pb2

from .._errors import (
    DeadlineExceededError,
    ProtocolError,
    RegularizationError,
    TruncatedStreamError,
    UnavailableError,
)
from .._request.job import PENALTY, Cut, Job, SharedJob, chunks
from .._request.stores import Elements
from . import status
from .answers import ResultReader, read_catalogue, read_penalty_response, read_response
from .connection import LIST_REGULARIZERS, Connection, Lane
from .replay import Cancellation, Conditions, Progress, broke_off, replayed
from .replicas import Watch, Watched

T = TypeVar("T")


def exchange(
    connection: Connection,
    job: Job,
    conditions: Conditions,
    lane: int = 0,
    cancellation: Cancellation | None = None,
) -> summary_pb2.Summary:
    """Carry out a job and return the summary of its answer.

    Args:
        connection: To where.
        job: What.
        conditions: How.
        lane: On which of the connection's channels.
        cancellation: What may end it early.

    Raises:
        RegularizationError: If the call fails, at last.
    """
    result = _Result(job, conditions.progress)

    def attempt(lane: Lane, timeout: float | None) -> summary_pb2.Summary:
        return _Attempt(job, conditions.chunk_bytes, result, cancellation).run(
            lane, connection.watch, timeout
        )

    return replayed(
        lambda timeout: _in_turn(connection, lane, lambda channel: attempt(channel, timeout)),
        conditions,
        cancellation,
        harmless=lambda error: not connection.closed,
    )


def exchange_shared(
    connection: Connection, job: SharedJob, conditions: Conditions, server_gone: Callable[[], bool]
) -> summary_pb2.Summary:
    """Carry out a job on shared memory and return the summary of its answer.

    Of a call that broke nobody knows how far it came, nor whether it goes on: a server that is still there
    may write to the result after a replay has returned. So there is a replay only where that server refused
    the call, or is gone and has not written over what the call began with.

    Args:
        connection: To where.
        job: What.
        conditions: How.
        server_gone: Whether the server that shares the memory is no more.

    Raises:
        SharedMemoryError: If the server does not know the memory.
        RegularizationError: If the call fails in another way, at last.
    """

    def harmless(error: RegularizationError) -> bool:
        if connection.closed:
            return False
        if error.reason == status.SHUTTING_DOWN or job.method == PENALTY:
            return True
        return not job.in_place and server_gone()

    try:
        summary = replayed(
            lambda timeout: _shared(connection.lane(0), job, timeout), conditions, harmless=harmless
        )
    except UnavailableError as error:
        if error.reason == status.SHUTTING_DOWN or job.method == PENALTY:
            raise
        text = f"{error.message}; shared out may hold old elements, new ones, or some of each"
        raise UnavailableError(text, code=error.code, reason=error.reason) from error
    if conditions.progress is not None:
        conditions.progress(job.elements, job.elements)
    return summary


def list_regularizers(
    connection: Connection, conditions: Conditions
) -> tuple[catalogue_pb2.RegularizerDescription, ...]:
    """Return the server's catalogue.

    Raises:
        RegularizationError: If the call fails, at last.
    """

    def attempt(timeout: float | None) -> tuple[catalogue_pb2.RegularizerDescription, ...]:
        return _in_turn(
            connection,
            0,
            lambda lane: read_catalogue(_asked(lane, LIST_REGULARIZERS, b"", timeout, connection.watch)),
        )

    return replayed(attempt, conditions, harmless=lambda error: not connection.closed)


def _in_turn(connection: Connection, index: int, attempt: Callable[[Lane], T]) -> T:
    """Make an attempt at whichever replica is next, and remember how it went."""
    lane = connection.lane(index)
    try:
        answer = attempt(lane)
    except RegularizationError as error:
        if lane.replica is not None and (broke_off(error) or isinstance(error, DeadlineExceededError)):
            lane.replica.doubt()
        raise
    if lane.replica is not None:
        lane.replica.trust()
    return answer


def _shared(lane: Lane, job: SharedJob, timeout: float | None) -> summary_pb2.Summary:
    message = _asked(lane, job.method, wire.encode_request(job.header, 0, {}), timeout)
    if job.method == PENALTY:
        summary = read_penalty_response(message)
    else:
        response = read_response(message)
        summary = response.summary
        if response.chunk is not None:
            raise ProtocolError("the answer has a chunk, where its elements are in shared memory")
    return job.expected.check(summary)


def _asked(
    lane: Lane, method: str, message: bytes, timeout: float | None, watch: Watch | None = None
) -> bytes:
    if watch is not None and lane.replica is not None:
        answers: list[bytes] = []
        _take_all(lane, watch, lane.send(method, message, timeout), timeout, answers.append)
        if len(answers) > 1:
            raise ProtocolError(f"the answer has {len(answers)} messages, where one is due")
        answer = answers[0] if answers else None
    else:
        try:
            answer = lane.ask(method, message, timeout)
        except grpc.RpcError as error:
            raise status.from_call(error) from error
    if answer is None:
        raise TruncatedStreamError("the answer ended without a message")
    return answer


def _take_all(
    lane: Lane,
    watch: Watch,
    answer: Any,
    timeout: float | None,
    take: Callable[[bytes], None],
    started: Callable[[Watched], None] = lambda watched: None,
) -> None:
    """Take every message of an answer, as long as its server gives a sign of life."""
    if lane.replica is None:
        try:
            for message in answer:
                take(message)
        except grpc.RpcError as error:
            raise _failure_of(error) from error
        return
    with watch.over(lane.replica, lane.ask_health, answer, timeout) as watched:
        started(watched)
        try:
            for message in answer:
                watched.moved()
                take(message)
        except grpc.RpcError as error:
            if watched.silent:
                text = f"the server gave no sign of life for {watched.patience:.3g} s"
                error.__traceback__ = None
                raise UnavailableError(text, code=grpc.StatusCode.UNAVAILABLE) from error
            raise _failure_of(error) from error


def _failure_of(error: grpc.RpcError) -> RegularizationError:
    """What a call's error is for callers."""
    # It is the call itself, and its traceback knows frames that know it: all of this would stay, the caller's
    # arrays with it, until a search for cycles.
    error.__traceback__ = None
    return status.from_call(error)


class _Result:
    """The result so far, over all attempts."""

    def __init__(self, job: Job, progress: Progress | None) -> None:
        self._job = job
        self._progress = progress
        self._done = job.begin
        self._stored = job.begin
        self._stretch = 0

    def reach(self, position: int) -> None:
        """Report that the call has come as far as a position, unless an earlier attempt has."""
        if position > self._done:
            self._done = position
            if self._progress is not None:
                self._progress(position - self._job.begin, self._job.end - self._job.begin)

    def store(self, begin: int, values: Elements) -> None:
        """Hand the elements from begin on to their sinks, but for those that are there already."""
        values, begin = values[max(self._stored - begin, 0) :], max(self._stored, begin)
        while values.size:
            stretch = self._job.stretches[self._stretch]
            here = values[: stretch.end - begin]
            if stretch.sink is not None:
                stretch.sink.write(begin - stretch.begin, here)
            values, begin = values[here.size :], begin + here.size
            self._stored = begin
            if begin == stretch.end:
                self._stretch += 1


class _Attempt:
    """The call, made once."""

    def __init__(
        self, job: Job, chunk_bytes: int, result: _Result, cancellation: Cancellation | None
    ) -> None:
        self._job = job
        self._chunk_bytes = chunk_bytes
        self._result = result
        self._cancellation = cancellation
        self._results = ResultReader(job, chunk_bytes)
        self._position = job.begin
        self._summary: summary_pb2.Summary | None = None
        self._failure: Exception | None = None
        self._watched: Watched | None = None
        self._over = False
        # Held while sources are read: once run returns, nothing touches them any more.
        self._reading = threading.Lock()

    def run(self, lane: Lane, watch: Watch, timeout: float | None) -> summary_pb2.Summary:
        """Make the call and return the summary."""
        cuts = chunks(self._job, self._chunk_bytes)
        first, second = next(cuts, None), next(cuts, None)
        method = self._job.method
        if second is not None or (first is not None and not self._header_rides()):
            requests = self._requests(filter(None, chain([first, second], cuts)))
            self._receive(lane, watch, lane.stream(method, requests, timeout), timeout)
        else:
            message = self._message(self._job.header, first or [])
            if method == PENALTY and self._cancellation is None and lane.replica is None:
                self._take(_asked(lane, method, message, timeout))
            else:
                self._receive(lane, watch, lane.send(method, message, timeout), timeout)
        return self._whole()

    def _receive(self, lane: Lane, watch: Watch, answer: Any, timeout: float | None) -> None:
        if self._cancellation is not None:
            self._cancellation.covers(answer)
        try:
            _take_all(lane, watch, answer, timeout, self._take, self._watch_sending)
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
        return len(self._job.header) <= self._chunk_bytes

    def _requests(self, cuts: Iterable[list[Cut]]) -> Iterator[bytes]:
        """Yield the messages. Runs in a thread of grpc's, where an exception would only be logged."""
        try:
            yield from self._messages(cuts)
        except Exception as error:
            # Raised again in the caller's thread.
            self._failure = error

    def _messages(self, cuts: Iterable[list[Cut]]) -> Iterator[bytes]:
        header = self._job.header
        if not self._header_rides():
            yield self._message(header, [])
            header = b""
        for chunk in cuts:
            with self._reading:
                if self._over:
                    return
                message = self._message(header, chunk)
            yield message
            header = b""
            self._sent(chunk)

    def _message(self, header: bytes, chunk: list[Cut]) -> bytes:
        return wire.encode_request(header, chunk[0].begin if chunk else 0, _operands(chunk))

    def _sent(self, chunk: list[Cut]) -> None:
        if self._watched is not None:
            self._watched.moved()
        if self._job.method == PENALTY:
            self._result.reach(chunk[-1].end)

    def _take(self, message: bytes) -> None:
        if self._summary is not None:
            raise ProtocolError("the answer goes on after its summary")
        if self._job.method == PENALTY:
            self._summary = read_penalty_response(message)
            self._position = self._job.end
            self._result.reach(self._position)
            return
        response = read_response(message)
        if response.chunk is not None:
            self._take_elements(response.chunk.element_offset, self._results.elements(response.chunk))
        self._summary = response.summary

    def _take_elements(self, offset: int, elements: Elements) -> None:
        if elements.size and (offset != self._position or elements.size > self._job.end - self._position):
            raise ProtocolError(
                f"the answer has {elements.size} elements from {offset} on, "
                f"where at most {self._job.end - self._position} from {self._position} on are due"
            )
        self._result.store(offset, elements)
        self._position += elements.size
        self._result.reach(self._position)

    def _whole(self) -> summary_pb2.Summary:
        expected, received = self._job.end - self._job.begin, self._position - self._job.begin
        if self._summary is None:
            raise TruncatedStreamError(
                f"the answer ended without its summary, after {received} of {expected} elements"
            )
        if received != expected:
            raise ProtocolError(f"the answer has {received} elements, where {expected} were sent")
        return self._job.expected.check(self._summary)


def _operands(chunk: Iterable[Cut]) -> dict[str, list[wire.Buffer]]:
    operands: dict[str, list[wire.Buffer]] = {}
    for cut in chunk:
        begin, end = cut.begin - cut.stretch.begin, cut.end - cut.stretch.begin
        for name, source in cut.stretch.sources.items():
            operands.setdefault(name, []).append(source.read(begin, end))
    return operands
