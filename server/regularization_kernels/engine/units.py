"""Which segments of a layout go through the engine together.

Some wait for each other; and short ones are taken as one: what a segment costs by itself, whatever its
length, is more than a short one's elements cost, and a model has hundreds of those.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from ..regularizer import Locality
from .workspace import PIECE

if TYPE_CHECKING:
    from collections.abc import Hashable, Iterable, Iterator

    from .prepared_segment import PreparedSegment

SHORT = 1 << 16
"""Elements of a segment up to which it goes along with its neighbours."""

MOST = 256
"""Segments that are taken as one: so many that their own costs are small, and a few hundred KiB of sums."""

MOST_KINDS = 4
"""Ways of computing among them, each of which has sums for all: weights, biases, and what else alternates."""


@dataclass(frozen=True, slots=True, eq=False)
class Kind:
    """Those of some neighbours that are computed alike."""

    segment: PreparedSegment
    """All neighbours as one segment that is computed as these are."""
    places: npt.NDArray[np.int64]
    """Which of the neighbours these are, increasing."""


class Unit(tuple["PreparedSegment", ...]):
    """Segments that one run of the engine is for, in their order; one at least."""

    @property
    def is_joint(self) -> bool:
        """Whether they wait for each other; others are neighbours, or one alone."""
        return self[0].waiting_for is not None

    @cached_property
    def edges(self) -> npt.NDArray[np.int64]:
        """Where each begins, from 0 on, and last where the last one ends."""
        start = self[0].start
        return np.array([0, *(segment.end - start for segment in self)], np.int64)

    @cached_property
    def kinds(self) -> tuple[Kind, ...]:
        """The neighbours by how they are computed, in the order of their first; empty ones are of none."""
        places: dict[Hashable, list[int]] = {}
        for place, segment in enumerate(self):
            if segment.size:
                places.setdefault(_way(segment), []).append(place)
        start, size = self[0].start, self[-1].end - self[0].start
        kinds = []
        for own in places.values():
            first = self[own[0]]
            whole = replace(first.specification, shape=(size,))
            segment = replace(first, specification=whole, start=start, size=size)
            kinds.append(Kind(segment, np.array(own, np.int64)))
        return tuple(kinds)

    @cached_property
    def kind_of(self) -> list[int]:
        """Of each neighbour, which of the kinds it is; of an empty one, any."""
        found = np.zeros(len(self), np.int64)
        for index, kind in enumerate(self.kinds):
            found[kind.places] = index
        return found.tolist()


def units_of(segments: Iterable[PreparedSegment]) -> tuple[Unit, ...]:
    """The segments in their order, those together that one run of the engine is for."""
    return tuple(map(Unit, side_by_side(spans(segments))))


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
    """Spans in their order, those of one short segment together, up to a piece and to a few kinds."""
    together: list[PreparedSegment] = []
    kinds: set[Hashable] = set()
    size = 0
    for span in spans:
        first = span[0]
        kind = _way(first) if len(span) == 1 and _may_go_along(first) else None
        if together and (
            kind is None
            or not kinds
            or len(together) == MOST
            or size + first.size > PIECE
            or len(kinds | {kind}) > MOST_KINDS
        ):
            yield together
            together, size = [], 0
            kinds.clear()
        together += span
        size += first.size
        if kind is not None:
            kinds.add(kind)
    if together:
        yield together


def _may_go_along(segment: PreparedSegment) -> bool:
    """Whether a segment is short, and every element of it is computed by itself, wherever it lies."""
    prepared = segment.prepared
    return (
        segment.size <= SHORT
        and segment.locality is Locality.ELEMENT
        and not segment.is_resolved
        and segment.joint is None
        and (prepared is None or prepared.restricted(0, segment.size) is prepared)
    )


def _way(segment: PreparedSegment) -> Hashable:
    """How a segment is computed: the same for those that are computed alike."""
    step_size = segment.specification.step_size
    # Equal zeros may differ in their signs, so a number counts by its text.
    step = None if step_size is None else repr(step_size)
    # By what they are, not by value: a layout has equal regularizers once.
    return id(segment.regularizer), id(segment.prepared), step, segment.specification.keeps_zeros
