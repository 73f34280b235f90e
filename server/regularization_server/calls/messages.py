"""The messages of a stream: what the first must have, what the others may have, and nothing unknown."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TypeVar

from google.protobuf.message import Message
from regularization import wire
from regularization.fields import unknown_fields

from ..contract.refusals import FieldUnknown, HeaderMissing, HeaderRepeated, TooManyEmptyMessages

MOST_EMPTY = 1000
"""Messages of a stream that may carry nothing."""

RequestT = TypeVar("RequestT", wire.Request, wire.CombineRequest)


def first_of(requests: Iterator[RequestT]) -> tuple[memoryview, RequestT]:
    """Take the first message of a stream: its header, and what else it has.

    Raises:
        HeaderMissing: If there is none, or it has no header.
        FieldUnknown: If it says more than the schema has.
    """
    first = next(requests, None)
    if first is not None:
        _check_known(first, 0)
    if first is None or first.header is None:
        what = "no message" if first is None else "a message without"
        raise HeaderMissing(f"must be set in the stream's first message, got {what}", field="header")
    return first.header, first._replace(header=None)


def chunks_of(requests: Iterable[wire.Request], begin: int = 0) -> Iterator[wire.Chunk]:
    """The chunks of messages.

    Args:
        requests: The messages.
        begin: Index in the stream of the first of them.

    Raises:
        HeaderRepeated: If a message after the stream's first has a header.
        FieldUnknown: If one says more than the schema has.
        TooManyEmptyMessages: If too many carry no elements.
    """
    empty = 0
    for index, request in enumerate(requests, begin):
        _check_known(request, index)
        _check_header(request, index)
        if index and (request.chunk is None or not request.chunk.parameters):
            empty = _one_more(empty, index)
        if request.chunk is not None:
            yield request.chunk


def statistics_of(requests: Iterable[wire.CombineRequest], begin: int = 0) -> Iterator[tuple[int, bytes]]:
    """The statistics of messages, each with the message's index in the stream.

    Args:
        requests: The messages.
        begin: Index in the stream of the first of them.

    Raises:
        HeaderRepeated: If a message after the stream's first has a header.
        FieldUnknown: If one says more than the schema has.
        TooManyEmptyMessages: If too many carry no statistics.
    """
    empty = 0
    for index, request in enumerate(requests, begin):
        _check_known(request, index)
        _check_header(request, index)
        if index and not request.statistics:
            empty = _one_more(empty, index)
        if request.statistics is not None:
            yield index, request.statistics


def check_says_nothing(request: Message) -> None:
    """Check that a request whose message has no fields has none of a newer schema, either.

    Raises:
        FieldUnknown: If it has one.
    """
    for unknown in unknown_fields(request):
        raise FieldUnknown.at(unknown.message, unknown.number, "the request ")


def _one_more(empty: int, index: int) -> int:
    """One more than so many empty messages."""
    if empty == MOST_EMPTY:
        text = f"a stream may have {MOST_EMPTY} messages that carry nothing, message {index} is another"
        raise TooManyEmptyMessages(text, message=index)
    return empty + 1


def _check_header(request: wire.Request | wire.CombineRequest, index: int) -> None:
    if index and request.header is not None:
        text = f"must be set in the stream's first message only, got another in message {index}"
        raise HeaderRepeated(text, field="header", message=index)


def _check_known(request: wire.Request | wire.CombineRequest, index: int) -> None:
    if request.unknown is not None:
        path, number = request.unknown
        subject = "" if path else "a request message "
        raise FieldUnknown.at(path, number, subject, message=index)
