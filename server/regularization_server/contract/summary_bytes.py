"""Figures as bytes that protobuf reads: a summary may have those of many segments.

Protobuf makes a map, with memory of its own, for each message that is asked for a part that is not there yet.
To fill in a thousand segments takes thousands of these; and with every ten thousand that are freed, all free
memory of the process goes back to the system, which then clears it for the next call.
"""

from __future__ import annotations

from functools import cache, lru_cache
from struct import Struct
from typing import TYPE_CHECKING

from regularization import wire
from regularization.fields import BYTES, FIXED64, VARINT
from regularization.v1 import summary_pb2

if TYPE_CHECKING:
    from regularization_kernels.engine import Figures, Summary
    from regularization_kernels.summation import ExactSum

_lead = lru_cache(1 << 12)(wire.lead_of)
"""Segments have many numbers in common: lengths, and counts of elements."""

_TOTAL = wire.tag_of(summary_pb2.Summary.TOTAL_FIELD_NUMBER, BYTES)
_SEGMENT = wire.tag_of(summary_pb2.Summary.SEGMENTS_FIELD_NUMBER, BYTES)
_NAME = wire.tag_of(summary_pb2.SegmentSummary.NAME_FIELD_NUMBER, BYTES)
_FIGURES = wire.tag_of(summary_pb2.SegmentSummary.FIGURES_FIELD_NUMBER, BYTES)
_CONVEX = wire.tag_of(summary_pb2.SegmentSummary.CONVEX_FIELD_NUMBER, VARINT)
_ELEMENTS = wire.tag_of(summary_pb2.Figures.ELEMENTS_FIELD_NUMBER, VARINT)
_PENALTY = wire.tag_of(summary_pb2.Figures.PENALTY_FIELD_NUMBER, BYTES)
_NONZEROS = wire.tag_of(summary_pb2.Figures.NONZEROS_FIELD_NUMBER, VARINT)
_SQUARED_DISTANCE = wire.tag_of(summary_pb2.Figures.SQUARED_DISTANCE_FIELD_NUMBER, BYTES)
_VALUE = wire.tag_of(summary_pb2.ExactSum.VALUE_FIELD_NUMBER, FIXED64)
_EXPANSION = wire.tag_of(summary_pb2.ExactSum.EXPANSION_FIELD_NUMBER, BYTES)


def bytes_of(summary: Summary) -> bytes:
    """The bytes of a call's figures as a message."""
    total = _bytes_of_figures(summary.total)
    parts = [_lead(_TOTAL, len(total)), total]
    for name, figures, convex in summary.segments:
        raw, counted = name.encode(), _bytes_of_figures(figures)
        entry = [_lead(_NAME, len(raw)), raw, _lead(_FIGURES, len(counted)), counted]
        if convex is not None:
            entry.append(_lead(_CONVEX, convex))
        parts += (_lead(_SEGMENT, sum(map(len, entry))), *entry)
    return b"".join(parts)


def _bytes_of_figures(figures: Figures) -> bytes:
    elements, penalty, nonzeros, squared_distance = figures
    raw = _lead(_ELEMENTS, elements)
    # What was not asked for stays unset.
    if penalty is not None:
        raw += _bytes_of_sum(_PENALTY, penalty)
    if nonzeros is not None:
        raw += _lead(_NONZEROS, nonzeros)
    if squared_distance is not None:
        raw += _bytes_of_sum(_SQUARED_DISTANCE, squared_distance)
    return raw


def _bytes_of_sum(tag: int, total: ExactSum) -> bytes:
    value, expansion = total
    layout, begin = _layout_of_sum(len(expansion))
    return _lead(tag, layout.size) + layout.pack(_VALUE, value, begin, *expansion)


@cache
def _layout_of_sum(doubles: int) -> tuple[Struct, bytes]:
    """How a sum of so many doubles lies in its bytes, and what stands before these."""
    begin = wire.lead_of(_EXPANSION, 8 * doubles)
    return Struct(f"<Bd{len(begin)}s{doubles}d"), begin
