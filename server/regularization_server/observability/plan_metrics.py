"""What is told of plans that the server holds: the figures of the last calls that named one."""

from __future__ import annotations

from collections import OrderedDict
from threading import Lock
from typing import TYPE_CHECKING, NamedTuple

from ..contract.statuses import clipped

if TYPE_CHECKING:
    from regularization_kernels.engine import Call, Summary

    from .instruments import Instruments

MOST_SEGMENTS = 256
"""Segments of one plan that are exported."""

MOST_EXPORTED = 1024
"""Segments of all plans together that are exported: each is two time series, and stays one."""

MOST_WAITING = 64
"""Calls that wait for the next look; of each plan and each part of a vector, the last one waits."""

LONGEST_NAME = 128
"""Bytes of a segment's name as a label."""


class _Figures(NamedTuple):
    """What a call has to tell of a segment."""

    segment: str
    penalty: float | None
    nonzeros_ratio: float | None


class _Noted(NamedTuple):
    """What a call has to tell."""

    step: int
    segments: list[_Figures]
    left_out: int


class PlanMetrics:
    """Keeps what the last calls that named a plan gave, until it is looked at. Safe to use from many threads.

    Names of plans are the operator's; those of segments are a caller's, so there are only so many of them,
    first come, first served.

    Args:
        instruments: The metrics.
    """

    def __init__(self, instruments: Instruments) -> None:
        self._step = instruments.gauge("regularization_plan_step")
        self._penalty = instruments.gauge("regularization_plan_penalty")
        self._nonzeros = instruments.gauge("regularization_plan_nonzeros_ratio")
        self._left_out = instruments.counter("regularization_plan_segments_left_out")
        self._lock = Lock()
        self._waiting: OrderedDict[tuple[str, int], _Noted] = OrderedDict()
        self._exported: dict[str, set[str]] = {}

    def note(self, plan: str, step: int, call: Call, summary: Summary) -> None:
        """Take what a call gave, for the next look.

        Args:
            plan: The name of its plan, which the server holds.
            step: Its step of training.
            call: What was asked; of a segment that it has a part of, nothing is told.
            summary: Its figures.
        """
        asked = call.segments_in_range()
        told = []
        for segment, figures in zip(asked[:MOST_SEGMENTS], summary.segments, strict=False):
            size, have = segment.size, figures.figures
            if have.elements == size > 0:
                told.append(
                    _Figures(
                        clipped(segment.name, LONGEST_NAME),
                        None if have.penalty is None else have.penalty.value,
                        None if have.nonzeros is None else have.nonzeros / size,
                    )
                )
        noted = _Noted(step, told, max(len(asked) - MOST_SEGMENTS, 0))
        with self._lock:
            self._waiting[plan, call.begin] = noted
            self._waiting.move_to_end((plan, call.begin))
            if len(self._waiting) > MOST_WAITING:
                self._waiting.popitem(last=False)

    def refresh(self) -> None:
        """Export what has been noted."""
        with self._lock:
            waiting, self._waiting = self._waiting, OrderedDict()
            for (plan, _), noted in waiting.items():
                self._export(plan, noted)

    def _export(self, plan: str, noted: _Noted) -> None:
        self._step.labels(plan).set(noted.step)
        left_out = noted.left_out
        for figures in noted.segments:
            if not self._has_room(plan, figures.segment):
                left_out += 1
                continue
            if figures.penalty is not None:
                self._penalty.labels(plan, figures.segment).set(figures.penalty)
            if figures.nonzeros_ratio is not None:
                self._nonzeros.labels(plan, figures.segment).set(figures.nonzeros_ratio)
        if left_out:
            self._left_out.inc(left_out)

    def _has_room(self, plan: str, segment: str) -> bool:
        """Whether a segment is exported; from its first time on it is."""
        exported = self._exported.setdefault(plan, set())
        if segment in exported:
            return True
        if len(exported) >= MOST_SEGMENTS or sum(map(len, self._exported.values())) >= MOST_EXPORTED:
            return False
        exported.add(segment)
        return True
