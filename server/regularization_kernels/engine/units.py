"""Which segments of a layout go through the engine together.

Some wait for each other; and short ones that are computed alike are taken as one: what a segment costs by
itself, whatever its length, is more than a short one's elements cost, and a model has hundreds of those.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..regularizer import Locality
from .workspace import PIECE

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from .prepared_segment import PreparedSegment

SHORT = 1 << 14
"""Elements of a segment up to which it goes along with its neighbours."""

MOST = 256
"""Segments that are taken as one: so many that their own costs are small, and a few hundred KiB of sums."""


def units_of(segments: Iterable[PreparedSegment]) -> tuple[tuple[PreparedSegment, ...], ...]:
    """The segments in their order, those together that one run of the engine is for."""
    return tuple(map(tuple, side_by_side(spans(segments))))


def spans(segments: Iterable[PreparedSegment]) -> Iterator[list[PreparedSegment]]:
    """The segments, those together that wait for each other; in most layouts each is alone."""
    span: list[PreparedSegment] = []
    end = 0
    for segment in segments:
        if span and segment.start >= end:
            yield span
            span = []
        span.append(segment)
        joint = segment.waiting_for
        end = max(end, segment.start if joint is None else joint.end)
    if span:
        yield span


def side_by_side(spans: Iterable[list[PreparedSegment]]) -> Iterator[list[PreparedSegment]]:
    """Spans in their order, those of one segment together that can be computed as one, up to a piece."""
    together: list[PreparedSegment] = []
    size = 0
    for span in spans:
        first = span[0]
        if together and not (
            len(together) < MOST and size + first.size <= PIECE and _are_alike(together[-1], first)
        ):
            yield together
            together = []
            size = 0
        together += span
        size += first.size
    if together:
        yield together


def _are_alike(one: PreparedSegment, other: PreparedSegment) -> bool:
    """Whether every element of both is computed by itself, and in the same way."""
    step_size, other_step_size = one.specification.step_size, other.specification.step_size
    return (
        one.regularizer is other.regularizer
        and one.prepared is other.prepared
        and one.locality is Locality.ELEMENT
        and max(one.size, other.size) <= SHORT
        # Equal zeros may differ in their signs.
        and (step_size is other_step_size or step_size == other_step_size != 0.0)
        and one.specification.keeps_zeros is other.specification.keeps_zeros
        and not one.is_resolved
        and one.joint is other.joint is None
    )
