"""One call over several streams: cut where the contract lets it be, and put together again, to the bit."""

from __future__ import annotations

import math
import threading
import time
from bisect import bisect_right
from collections.abc import Mapping, Sequence
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from dataclasses import replace
from itertools import accumulate, pairwise
from typing import NamedTuple

from google.protobuf.message import Message
from regularization.v1 import catalogue_pb2, regularizers_pb2, summary_pb2

from .._messages import wrap
from .._request.header import Header
from .._request.job import Job
from .chunked import exchange, list_regularizers
from .connection import Connection
from .replay import Cancellation, Conditions, Progress

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


class Streams:
    """Carries out calls over several streams.

    Args:
        connection: To where.
    """

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._divisible: frozenset[str] | None = None

    def exchange(
        self,
        job: Job,
        header: Header,
        segments: Mapping[str, tuple[tuple[int, ...], Message | None]],
        streams: int,
        conditions: Conditions,
    ) -> list[summary_pb2.Summary]:
        """Carry out a job and return the summaries of its parts, in their order.

        The first part that fails ends all others.

        Args:
            job: What.
            header: What its header says.
            segments: Shape and regularizer of the whole layout's segments, by name.
            streams: How many to use at most.
            conditions: How. The time is for all of them together.

        Raises:
            RegularizationError: If a part fails.
        """
        deadline = None if conditions.timeout is None else time.monotonic() + conditions.timeout
        if job.end - job.begin <= BLOCK:
            ranges = [(job.begin, job.end)]
        else:
            divisible = self._divisible_regularizers(conditions)
            pieces = [
                Piece(math.prod(shape), regularizer is None or _name(regularizer) in divisible)
                for shape, regularizer in segments.values()
            ]
            ranges = list(pairwise(cuts(pieces, job.begin, job.end, streams)))
        if len(ranges) == 1:
            return [exchange(self._connection, job, conditions)]
        parts = [job.part(begin, end, header.to_bytes((begin, end))) for begin, end in ranges]
        if deadline is not None:
            conditions = replace(conditions, timeout=max(deadline - time.monotonic(), 0.0))
        return self._side_by_side(parts, conditions, job.end - job.begin)

    def _side_by_side(
        self, parts: Sequence[Job], conditions: Conditions, elements: int
    ) -> list[summary_pb2.Summary]:
        cancellation, progress = Cancellation(), _Sum(conditions.progress, elements)

        def carry_out(lane: int, part: Job) -> summary_pb2.Summary:
            own = replace(conditions, progress=progress.of(lane) if conditions.progress else None)
            return exchange(self._connection, part, own, lane, cancellation)

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
        """Names of the regularizers that may be cut anywhere on the grid, which the server knows."""
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


def _name(regularizer: Message) -> str | None:
    choice = wrap(regularizer)
    return choice.WhichOneof("kind") if isinstance(choice, regularizers_pb2.Regularizer) else None
