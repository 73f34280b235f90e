"""One call over several streams: cut where the contract lets it be, and put together again, to the bit."""

from __future__ import annotations

import threading
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Mapping, Sequence, Set
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from dataclasses import replace
from itertools import accumulate, pairwise
from queue import SimpleQueue
from typing import NamedTuple, TypeVar

from regularization.v1 import catalogue_pb2

from .._request.call import Call
from .._results import Summary, combined_summary
from .base import Conditions, Progress
from .catalogue import list_regularizers
from .chunked import Chunked
from .connection import Connection
from .replay import Cancellation
from .rounds import Rounds
from .statistics import Combined, Ends

T = TypeVar("T")

Localities = Mapping[str, catalogue_pb2.Locality.ValueType]
"""How far regularizers may be cut, by their names."""

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
        self._localities: dict[str, catalogue_pb2.Locality.ValueType] | None = None

    def carry_out(self, call: Call, conditions: Conditions) -> Summary:
        """See ``Transport``. The first part that fails ends all others; they share the time."""
        if not call.scattered and (conditions.streams == 1 or call.elements <= BLOCK):
            return Chunked(self._connection).carry_out(call, conditions)
        left = conditions.timed()
        if call.scattered:
            parts = call.runs()
        else:
            call, ranges = self._cut(call, conditions.streams, left)
            parts = [call.part(*ends) for ends in ranges] if len(ranges) > 1 else [call]
        if len(parts) == 1:
            return Chunked(self._connection).carry_out(parts[0], left())
        progress = _Sum(conditions.progress, call.elements)

        def carry_out(lane: int, part: Call, cancellation: Cancellation) -> Summary:
            own = replace(left(), progress=progress.of(part.begin) if conditions.progress else None)
            return Chunked(self._connection, lane, cancellation).carry_out(part, own)

        return combined_summary(_side_by_side(carry_out, parts, conditions.streams))

    def _cut(self, call: Call, streams: int, left: Callable[[], Conditions]) -> tuple[Call, list[Ends]]:
        """Return begin and end of each stream's elements, and the call as each is to carry it out."""
        known, layout = self._known_localities(left), call.header.layout
        by_itself = {
            name
            for name, regularizer in layout.regularizers.items()
            if regularizer is None or known.get(regularizer) == catalogue_pb2.LOCALITY_ELEMENT
        } | call.measured

        def ranges(divisible: Set[str]) -> list[Ends]:
            pieces = [Piece(size, name in divisible) for name, size in layout.sizes.items()]
            ends = cuts(pieces, call.begin, call.end, streams)
            together = [span for span in layout.spans if not divisible >= span.names]
            return list(pairwise(end for end in ends if not any(span.has_inside(end) for span in together)))

        measurable = self._measurable(call, known)
        wished = ranges(by_itself | measurable)
        if _is_cut(call, wished, measurable):
            rounds = Rounds(self._connection, call, left)
            wished = ranges(by_itself | rounds.asked)
            if _is_cut(call, wished, rounds.asked):
                return rounds.measured(lambda call, known: self._measured(call, known, wished, left)), wished
        return call, ranges(by_itself)

    def _measured(
        self, call: Call, known: Combined, ranges: Sequence[Ends], left: Callable[[], Conditions]
    ) -> list[bytes]:
        """Return the statistics of what is missing in each range."""

        def measure(lane: int, part: Call, cancellation: Cancellation) -> bytes:
            return Chunked(self._connection, lane, cancellation).measure(part, left())

        inside = (known.hull(*ends) for ends in ranges)
        parts = [call.part(begin, end) for begin, end in inside if begin < end]
        return _side_by_side(measure, parts, len(ranges))

    def _measurable(self, call: Call, known: Localities) -> frozenset[str]:
        """Return the segments that may be cut once they are measured, where the call has the whole vector."""
        layout = call.header.layout
        if (call.begin, call.end) != (0, sum(layout.sizes.values())) or call.header.measurement:
            return frozenset()
        # A measurement does not know of a reference, so with one all segments go as they are.
        if any("reference" in stretch.sources for stretch in call.stretches):
            return frozenset()
        return frozenset(
            name
            for name, regularizer in layout.regularizers.items()
            if regularizer is not None and known.get(regularizer) == catalogue_pb2.LOCALITY_REDUCTION
        )

    def _known_localities(self, left: Callable[[], Conditions]) -> Localities:
        """Return what the server says of how far each regularizer may be cut, by its name."""
        if self._localities is None:
            listed = list_regularizers(self._connection, left())
            self._localities = {each.name: each.locality for each in listed}
        return self._localities


def _is_cut(call: Call, ranges: Sequence[Ends], names: Set[str]) -> bool:
    """Whether a range ends inside one of these segments, or between those of them that go together."""
    ends, begin = [end for _, end in ranges[:-1]], 0
    if any(span.has_inside(end) for span in call.header.layout.spans if span.names <= names for end in ends):
        return True
    for name, size in call.header.layout.sizes.items():
        if name in names and bisect_right(ends, begin) < bisect_left(ends, begin + size):
            return True
        begin += size
    return False


def _side_by_side(work: Callable[[int, Call, Cancellation], T], parts: Sequence[Call], lanes: int) -> list[T]:
    """Return what the work gives for each part, on so many lanes at once; the first that fails ends all."""
    cancellation = Cancellation()
    free: SimpleQueue[int] = SimpleQueue()
    for lane in range(lanes):
        free.put(lane)

    def on_a_lane(part: Call) -> T:
        lane = free.get()
        try:
            return work(lane, part, cancellation)
        finally:
            free.put(lane)

    with ThreadPoolExecutor(lanes) as pool:
        calls = [pool.submit(on_a_lane, part) for part in parts]
        try:
            done = wait(calls, return_when=FIRST_EXCEPTION).done
            # Whichever failed by itself; what it takes along with it fails only now.
            failed = next((call for call in calls if call in done and call.exception()), None)
        finally:
            cancellation.call_off()
            pool.shutdown(wait=False, cancel_futures=True)
    return [failed.result()] if failed is not None else [call.result() for call in calls]


class _Sum:
    """The progress of several streams as one."""

    def __init__(self, report: Progress | None, total: int) -> None:
        self._report = report
        self._total = total
        self._done: dict[int, int] = {}
        # Held while reporting, for numbers that only go up.
        self._lock = threading.Lock()

    def of(self, begin: int) -> Progress:
        """Return what the part that begins there reports to."""

        def report(done: int, _: int) -> None:
            with self._lock:
                self._done[begin] = done
                if self._report is not None:
                    self._report(sum(self._done.values()), self._total)

        return report
