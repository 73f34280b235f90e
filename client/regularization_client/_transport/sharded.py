"""One call over several streams: cut where the contract lets it be, and put together again, to the bit."""

from __future__ import annotations

import threading
import time
from bisect import bisect_right
from collections.abc import Sequence
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from dataclasses import replace
from itertools import accumulate, pairwise
from typing import NamedTuple

from regularization.v1 import catalogue_pb2

from .._request.call import Call
from .._results import Summary, combined_summary
from .base import Conditions, Progress
from .catalogue import list_regularizers
from .chunked import Chunked
from .connection import Connection
from .replay import Cancellation

BLOCK = 1 << 18
"""Inside an array, a cut lies at a multiple of so many elements from the array's start."""


class Piece(NamedTuple):
    """A segment, as far as cutting goes."""

    size: int
    divisible: bool
    """Whether it may be cut inside."""


def cuts(pieces: Sequence[Piece], begin: int, end: int, parts: int) -> list[int]:
    """Return the ends of at most so many element ranges, about equally long, from begin to end.

    Args:
        pieces: The segments of the layout.
        begin: The first element.
        end: One past the last, > begin.
        parts: How many ranges are wished for, >= 1.
    """
    starts = [0, *accumulate(piece.size for piece in pieces)]
    inner = set()
    for part in range(1, parts):
        wished = begin + (end - begin) * part // parts
        at = bisect_right(starts, wished) - 1
        grid = BLOCK if pieces[at].divisible else pieces[at].size
        # Before the wish or behind it, whichever is nearer; the grid ends where the segment does.
        before = starts[at] + (wished - starts[at]) // grid * grid
        behind = min(before + grid, starts[at + 1])
        inner.add(before if wished - before <= behind - wished else behind)
    return [begin, *sorted(cut for cut in inner if begin < cut < end), end]


class Sharded:
    """Carries out calls over several streams, where they are large enough to be cut; others over one.

    Args:
        connection: To where.
    """

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._divisible: frozenset[str] | None = None

    def carry_out(self, call: Call, conditions: Conditions) -> Summary:
        """See ``Transport``. The first part that fails ends all others; they share the time."""
        deadline = None if conditions.timeout is None else time.monotonic() + conditions.timeout
        ranges = self._ranges(call, conditions)
        if len(ranges) == 1:
            return Chunked(self._connection).carry_out(call, conditions)
        if deadline is not None:
            conditions = replace(conditions, timeout=max(deadline - time.monotonic(), 0.0))
        parts = [call.part(begin, end) for begin, end in ranges]
        return combined_summary(self._side_by_side(parts, conditions, call.elements))

    def _ranges(self, call: Call, conditions: Conditions) -> list[tuple[int, int]]:
        """Return begin and end of each stream's elements."""
        if conditions.streams == 1 or call.elements <= BLOCK:
            return [(call.begin, call.end)]
        divisible, layout = self._divisible_regularizers(conditions), call.header.layout
        pieces = [
            Piece(size, layout.regularizers[name] is None or layout.regularizers[name] in divisible)
            for name, size in layout.sizes.items()
        ]
        ends = cuts(pieces, call.begin, call.end, conditions.streams)
        apart = [end for end in ends if not any(first < end < last for first, last in layout.spans)]
        return list(pairwise(apart))

    def _side_by_side(self, parts: Sequence[Call], conditions: Conditions, elements: int) -> list[Summary]:
        cancellation, progress = Cancellation(), _Sum(conditions.progress, elements)

        def carry_out(lane: int, part: Call) -> Summary:
            own = replace(conditions, progress=progress.of(lane) if conditions.progress else None)
            return Chunked(self._connection, lane, cancellation).carry_out(part, own)

        with ThreadPoolExecutor(len(parts)) as pool:
            calls = [pool.submit(carry_out, lane, part) for lane, part in enumerate(parts)]
            try:
                done = wait(calls, return_when=FIRST_EXCEPTION).done
                # Whichever failed by itself; what it takes along with it fails only now.
                failed = next((call for call in calls if call in done and call.exception()), None)
            finally:
                cancellation.call_off()
        return [failed.result()] if failed is not None else [call.result() for call in calls]

    def _divisible_regularizers(self, conditions: Conditions) -> frozenset[str]:
        """Return the names of regularizers that may be cut anywhere on the grid, which the server knows."""
        if self._divisible is None:
            self._divisible = frozenset(
                each.name
                for each in list_regularizers(self._connection, conditions)
                if each.locality == catalogue_pb2.LOCALITY_ELEMENT
            )
        return self._divisible


class _Sum:
    """The progress of several streams as one."""

    def __init__(self, report: Progress | None, total: int) -> None:
        self._report = report
        self._total = total
        self._done: dict[int, int] = {}
        # Held while reporting, for numbers that only go up.
        self._lock = threading.Lock()

    def of(self, lane: int) -> Progress:
        """Return what one stream reports to."""

        def report(done: int, _: int) -> None:
            with self._lock:
                self._done[lane] = done
                if self._report is not None:
                    self._report(sum(self._done.values()), self._total)

        return report
