"""What the messages of an answer hold, against what was asked: read without knowing how they came."""

from __future__ import annotations

from typing import Protocol, TypeVar

import numpy as np
from google.protobuf.message import DecodeError
from regularization import wire
from regularization.sparse import SparseElements
from regularization.v1 import regularization_service_pb2 as service
from regularization.v1 import summary_pb2

from .._errors import ProtocolError, TruncatedStreamError
from .._request.call import Call
from .._request.chunks import chunks
from .._request.method import Method
from .._request.stores import Elements
from .base import Progress


def read(method: Method, message: bytes) -> wire.Response:
    """Return what a message of the answer to a method holds.

    Raises:
        ProtocolError: If the bytes are no such message.
    """
    try:
        if method.has_results:
            return wire.decode_response(message)
        response = service.PenaltyResponse.FromString(message)
    except DecodeError as error:
        raise ProtocolError("a message of the answer is not one of the schema") from error
    return wire.Response(None, response.summary if response.HasField("summary") else None)


AnswerT_co = TypeVar("AnswerT_co", covariant=True)


class Reader(Protocol[AnswerT_co]):
    """Reads an answer, one message after the other."""

    def take(self, message: bytes) -> None:
        """Take the next message.

        Raises:
            ProtocolError: If it is none of the schema, or not one that is due.
        """

    def answer(self) -> AnswerT_co:
        """Return the answer, once it has ended.

        Raises:
            TruncatedStreamError: If its end is missing.
            ProtocolError: If it is not one to what was asked.
        """


class Results:
    """How far a call has come, over all attempts: a sink sees every element once, and in order.

    A replay's answer has the same bits, so what was stored before is not stored again.

    Args:
        call: What was asked.
        progress: Told how far it has come.
    """

    def __init__(self, call: Call, progress: Progress | None) -> None:
        self._call = call
        self._progress = progress
        self._done = call.begin
        self._stored = call.begin
        self._stretch = 0

    def reach(self, position: int) -> None:
        """Report that the call has come as far as a position, unless an earlier attempt has."""
        if position > self._done:
            self._done = position
            if self._progress is not None:
                self._progress(position - self._call.begin, self._call.elements)

    def store(self, begin: int, values: Elements) -> None:
        """Hand the elements from begin on to their sinks, but for those that are there already."""
        at, end = max(self._stored, begin), begin + values.size
        if self._call.keeper is not None and at < end:
            self._call.keeper.keep(at, values[at - begin :])
            self._stored = end
            return
        stretches = self._call.stretches
        while at < end:
            stretch = stretches[self._stretch]
            last = min(stretch.end, end)
            if stretch.sink is not None:
                stretch.sink.write(at - stretch.begin, values[at - begin : last - begin])
            at = self._stored = last
            if at == stretch.end:
                self._stretch += 1


class AnswerReader:
    """Reads the answer to a call whose elements were sent in chunks, one message after the other.

    Args:
        call: What was asked.
        chunk_bytes: As for the request: a sparse chunk is as long as the request's chunk that it answers.
        results: Where its elements go.
    """

    def __init__(self, call: Call, chunk_bytes: int, results: Results) -> None:
        self._call = call
        self._results = results
        self._due = chunks(call, chunk_bytes)
        self._position = call.begin
        self._summary: summary_pb2.Summary | None = None

    def take(self, message: bytes) -> None:
        """See ``Reader.take``."""
        if self._summary is not None:
            raise ProtocolError("the answer goes on after its summary")
        response = read(self._call.method, message)
        if response.chunk is not None:
            self._take_elements(response.chunk.element_offset, self._elements(response.chunk))
        elif not self._call.method.has_results:
            self._reach(self._call.end)
        self._summary = response.summary

    def answer(self) -> summary_pb2.Summary:
        """Return the summary. See ``Reader.answer``: elements may be missing, too."""
        expected, received = self._call.elements, self._position - self._call.begin
        if self._summary is None:
            raise TruncatedStreamError(
                f"the answer ended without its summary, after {received} of {expected} elements"
            )
        if received != expected:
            raise ProtocolError(f"the answer has {received} elements, where {expected} were sent")
        return self._call.expected.check(self._summary)

    def _take_elements(self, offset: int, elements: Elements) -> None:
        if elements.size and (offset != self._position or elements.size > self._call.end - self._position):
            raise ProtocolError(
                f"the answer has {elements.size} elements from {offset} on, "
                f"where at most {self._call.end - self._position} from {self._position} on are due"
            )
        self._results.store(offset, elements)
        self._reach(self._position + elements.size)

    def _reach(self, position: int) -> None:
        self._position = position
        self._results.reach(position)

    def _elements(self, result: wire.Result) -> Elements:
        """Return the elements of a result chunk; of a dense one they are a view."""
        data_type = self._call.data_type
        if len(result.values) % data_type.itemsize:
            raise ProtocolError(
                f"the answer has {len(result.values)} bytes for element {result.element_offset}, which are "
                f"not whole elements of {data_type.itemsize}"
            )
        values = np.frombuffer(result.values, data_type)
        if not result.nonzero_bitmap:
            return values
        try:
            return SparseElements(self._length(result.element_offset), result.nonzero_bitmap, values)
        except ValueError as error:
            raise ProtocolError(f"the answer for element {result.element_offset}: {error}") from error

    def _length(self, offset: int) -> int:
        for cuts in self._due:
            if cuts[0].begin == offset:
                return cuts[-1].end - offset
        raise ProtocolError(f"the answer has a sparse chunk for element {offset}, where no chunk began")
