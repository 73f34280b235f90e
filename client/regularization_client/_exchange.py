"""Carry out a job: send the chunks, put the result together, and replay the whole where a server goes away.

The request goes out in a thread of grpc's while the caller's thread takes in the answer. A replay repeats the
request from its start. Its answer has the same bits, so what was already stored is not stored again: a sink
sees every element once, and in order.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Any, TypeVar

import grpc
import numpy as np
import numpy.typing as npt
from regularization.v1 import catalogue_pb2, summary_pb2
from tenacity import (
    Retrying,
    retry_if_exception_type,
    stop_after_attempt,
    stop_before_delay,
    wait_random_exponential,
)

from regularization_client import _status, _wire
from regularization_client._config import Retry
from regularization_client._connection import Connection
from regularization_client._errors import ProtocolError, TruncatedStreamError, UnavailableError
from regularization_client._job import Cut, Job, chunks

PENALTY, GRADIENT, PROXIMAL_STEP = "Penalty", "Gradient", "ProximalStep"
"""The methods that take a stream."""

T = TypeVar("T")
Progress = Callable[[int, int], object]


@dataclass(frozen=True, slots=True)
class Conditions:
    """How a job is carried out."""

    timeout: float | None
    """Seconds for everything, replays and pauses included; None for no limit."""

    retry: Retry
    """How often to replay, and how long to wait before."""

    chunk_bytes: int
    """The most bytes of parameters and operands in one message."""

    progress: Progress | None = None
    """Called with elements done and elements in all."""


def exchange(connection: Connection, job: Job, conditions: Conditions) -> summary_pb2.Summary:
    """Carry out a job and return the summary of its answer.

    Raises:
        RegularizationError: If the call fails, at last.
    """
    result = _Result(job, conditions.progress)
    return _replayed(
        lambda timeout: _Attempt(job, conditions.chunk_bytes, result).run(connection, timeout), conditions
    )


def list_regularizers(
    connection: Connection, conditions: Conditions
) -> tuple[catalogue_pb2.RegularizerDescription, ...]:
    """Return the server's catalogue.

    Raises:
        RegularizationError: If the call fails, at last.
    """

    def attempt(timeout: float | None) -> tuple[catalogue_pb2.RegularizerDescription, ...]:
        try:
            return tuple(connection.list_regularizers(timeout).regularizers)
        except grpc.RpcError as error:
            raise _status.from_call(error) from error

    return _replayed(attempt, conditions)


def _replayed(attempt: Callable[[float | None], T], conditions: Conditions) -> T:
    """Return what the attempt returns, given the time that is left, again where no server is available."""
    retry = conditions.retry
    deadline = None if conditions.timeout is None else time.monotonic() + conditions.timeout

    def within_deadline() -> T:
        return attempt(None if deadline is None else max(deadline - time.monotonic(), 0.0))

    stop = stop_after_attempt(retry.attempts)
    return Retrying(
        stop=stop if conditions.timeout is None else stop | stop_before_delay(conditions.timeout),
        wait=wait_random_exponential(multiplier=retry.first_pause, max=retry.longest_pause),
        retry=retry_if_exception_type(UnavailableError),
        reraise=True,
    )(within_deadline)


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

    def store(self, begin: int, values: npt.NDArray[Any]) -> None:
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

    def __init__(self, job: Job, chunk_bytes: int, result: _Result) -> None:
        self._job = job
        self._chunk_bytes = chunk_bytes
        self._result = result
        self._position = job.begin
        self._summary: summary_pb2.Summary | None = None
        self._failure: Exception | None = None
        self._over = False
        # Held while sources are read: once run returns, nothing touches them any more.
        self._reading = threading.Lock()

    def run(self, connection: Connection, timeout: float | None) -> summary_pb2.Summary:
        """Make the call and return the summary."""
        answer = self._start(connection, timeout)
        try:
            for message in answer:
                self._take(message)
        except grpc.RpcError as error:
            if self._failure is not None:
                raise self._failure from error
            raise _status.from_call(error) from error
        finally:
            with self._reading:
                self._over = True
            answer.cancel()
        if self._failure is not None:
            raise self._failure
        return self._whole()

    def _start(self, connection: Connection, timeout: float | None) -> Any:
        first = list(islice(chunks(self._job, self._chunk_bytes), 2))
        if len(first) < 2 and (self._header_rides() or not first):
            (message,) = self._messages()
            return connection.send(self._job.method, message, timeout)
        return connection.stream(self._job.method, self._requests(), timeout)

    def _header_rides(self) -> bool:
        """Whether the header is in one message with the first chunk, so as not to outgrow gRPC's limit."""
        return len(self._job.header) <= self._chunk_bytes

    def _requests(self) -> Iterator[bytes]:
        """Yield the messages. Runs in a thread of grpc's, where an exception would only be logged."""
        try:
            yield from self._messages()
        except Exception as error:
            # Raised again in the caller's thread.
            self._failure = error

    def _messages(self) -> Iterator[bytes]:
        header, cuts = self._job.header, chunks(self._job, self._chunk_bytes)
        if not self._job.stretches or not self._header_rides():
            yield _wire.encode_request(header, 0, {})
            header = b""
        for chunk in cuts:
            with self._reading:
                if self._over:
                    return
                message = _wire.encode_request(header, chunk[0].begin, _operands(chunk))
            yield message
            header = b""
            if self._job.method == PENALTY:
                self._result.reach(chunk[-1].end)

    def _take(self, message: bytes) -> None:
        if self._summary is not None:
            raise ProtocolError("the answer goes on after its summary")
        if self._job.method == PENALTY:
            response = _wire.decode_penalty_response(message)
            self._position = self._job.end
        else:
            response = _wire.decode_response(message)
        if response.values:
            self._take_values(response.element_offset, response.values)
        self._summary = response.summary

    def _take_values(self, offset: int, values: memoryview) -> None:
        count, rest = divmod(len(values), self._job.data_type.itemsize)
        if offset != self._position or rest or count > self._job.end - self._position:
            raise ProtocolError(
                f"the answer has {len(values)} bytes for element {offset}, "
                f"where at most {self._job.end - self._position} elements from {self._position} on are due"
            )
        self._result.store(offset, np.frombuffer(values, self._job.data_type))
        self._position += count
        self._result.reach(self._position)

    def _whole(self) -> summary_pb2.Summary:
        expected, received = self._job.end - self._job.begin, self._position - self._job.begin
        if self._summary is None:
            raise TruncatedStreamError(
                f"the answer ended without its summary, after {received} of {expected} elements"
            )
        if received != expected or self._summary.total.elements != expected:
            raise ProtocolError(
                f"the answer has {received} elements and a summary of "
                f"{self._summary.total.elements}, where {expected} were sent"
            )
        return self._summary


def _operands(chunk: Iterable[Cut]) -> dict[str, list[_wire.Buffer]]:
    operands: dict[str, list[_wire.Buffer]] = {}
    for cut in chunk:
        begin, end = cut.begin - cut.stretch.begin, cut.end - cut.stretch.begin
        for name, source in cut.stretch.sources.items():
            operands.setdefault(name, []).append(source.read(begin, end))
    return operands
