"""The messages of a stream: what the first must have, what the others may have, and nothing unknown."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NamedTuple

from regularization import wire

from ..contract.refusals import FieldUnknown, HeaderMissing, HeaderRepeated


class First(NamedTuple):
    """What a stream's first message has."""

    header: memoryview
    chunk: wire.Chunk | None


def first_of(requests: Iterator[wire.Request]) -> First:
    """Take the first message of a stream.

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
    return First(first.header, first.chunk)


def chunks_of(requests: Iterable[wire.Request], begin: int = 0) -> Iterator[wire.Chunk]:
    """The chunks of messages.

    Args:
        requests: The messages.
        begin: Index in the stream of the first of them.

    Raises:
        HeaderRepeated: If a message after the stream's first has a header.
        FieldUnknown: If one says more than the schema has.
    """
    for index, request in enumerate(requests, begin):
        _check_known(request, index)
        if index and request.header is not None:
            text = f"must be set in the stream's first message only, got another in message {index}"
            raise HeaderRepeated(text, field="header", message=index)
        if request.chunk is not None:
            yield request.chunk


def _check_known(request: wire.Request, index: int) -> None:
    if request.unknown is not None:
        path, number = request.unknown
        subject = "" if path else "a request message "
        raise FieldUnknown.at(path, number, subject, message=index)
