"""How a call's elements are shared out over messages."""

from __future__ import annotations

from collections.abc import Iterator, Set
from typing import NamedTuple

from regularization import wire

from .call import Call, Stretch


class Cut(NamedTuple):
    """A piece of a stretch that travels in one message; begin and end count from the whole vector's start."""

    stretch: Stretch
    begin: int
    end: int


def chunks(call: Call, chunk_bytes: int) -> Iterator[list[Cut]]:
    """Yield the pieces of each chunk in turn, none of more than chunk_bytes, operands included.

    Small tensors travel together. A tensor that does not fit into what is left of a chunk begins one of its
    own, and chunks have a power of two elements: so the chunks of a large tensor lie on the block grid that
    the server adds up along. Where the operands change, so does the chunk.
    """
    cuts: list[Cut] = []
    room = most = 0
    fields: Set[str] = frozenset()
    call_begin, call_end = call.begin, call.end
    for stretch in call.stretches:
        first, last = max(stretch.begin, call_begin), min(stretch.end, call_end)
        changed = stretch.sources.keys() != fields
        if cuts and (changed or last - first > room):
            yield cuts
            cuts = []
        if changed:
            fields = stretch.sources.keys()
            most = _power_of_two(chunk_bytes // (len(fields) * call.data_type.itemsize))
        if not cuts:
            room = most
        for begin in range(first, last, most):
            if room == 0 and cuts:
                yield cuts
                cuts, room = [], most
            end = min(begin + most, last)
            cuts.append(Cut(stretch, begin, end))
            room -= end - begin
    if cuts:
        yield cuts


def payloads(chunk: list[Cut]) -> dict[str, list[wire.Buffer]]:
    """Return the bytes of a chunk's elements, in pieces, by field of ``TensorChunk``."""
    found: dict[str, list[wire.Buffer]] = {}
    for cut in chunk:
        begin, end = cut.begin - cut.stretch.begin, cut.end - cut.stretch.begin
        for name, source in cut.stretch.sources.items():
            found.setdefault(name, []).append(source.read(begin, end))
    return found


def _power_of_two(number: int) -> int:
    """Return the largest power of two up to the number, and 1 at least."""
    return 1 << max(number.bit_length() - 1, 0)
