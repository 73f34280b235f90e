"""From the engine's summary to the contract's, and how large that may become."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

from regularization.v1 import summary_pb2
from regularization_kernels.engine import MAX_NAME_BYTES, FigureBounds, figure_bounds

from ..units import MIB
from .refusals import SummaryTooLarge
from .summary_bytes import bytes_of

if TYPE_CHECKING:
    from regularization_kernels.engine import Call, Summary

LARGEST_MESSAGE = 4 * MIB
"""Bytes of a message that every client takes: gRPC's own limit."""

LARGEST_SUMMARY = LARGEST_MESSAGE - 16
"""Bytes of a summary that leave room for its tag and its length."""

_INTEGER = 10
"""Bytes of the longest tag with an integer that counts elements."""

_MOST_FIGURES = FigureBounds(40, 40)


def check_summary_fits(call: Call, plan_digest: str | None = None) -> None:
    """Refuse a call whose summary might be too large to be received, before it is worked on.

    Args:
        call: The call.
        plan_digest: That of its plan; None where it has none.

    Raises:
        SummaryTooLarge: If that is so.
    """
    total, segments = _figures_bytes(_MOST_FIGURES), call.layout.segments
    total += _field(len(plan_digest)) if plan_digest is not None else 0
    if not call.figures.segments:
        return
    if total + len(segments) * _segment_bytes(MAX_NAME_BYTES, _MOST_FIGURES) <= LARGEST_SUMMARY:
        return
    there = call.segments_in_range()
    for segment, bounds in zip(there, figure_bounds(call, there), strict=True):
        total += _segment_bytes(len(segment.name.encode()), bounds)
    if total > LARGEST_SUMMARY:
        text = (
            f"summary might have {total} bytes, and must have at most {LARGEST_SUMMARY} to be received: "
            "ask for the total alone, for fewer figures, or in several calls, each for an element range"
        )
        raise SummaryTooLarge(text, field="header.figures", largest_bytes=total, limit_bytes=LARGEST_SUMMARY)


def _segment_bytes(name: int, bounds: FigureBounds) -> int:
    """At least the bytes of a segment's entry: its name, its figures, and whether it is convex."""
    return _field(_field(name) + _figures_bytes(bounds) + 2)


@cache
def _figures_bytes(bounds: FigureBounds) -> int:
    """At least the bytes of a field of figures."""
    sums = (bounds.penalty, bounds.squared_distance)
    # Two integers; of each sum a double and its expansion, with a tag each.
    return _field(
        2 * _INTEGER + sum(_field(9 + _field(8 * doubles)) for doubles in sums if doubles is not None)
    )


def _field(length: int) -> int:
    """Bytes of a field of so many: with its tag, of one byte, and its length."""
    return 1 + (max(length.bit_length(), 1) + 6) // 7 + length


def summary_of(summary: Summary, plan_digest: str | None = None) -> summary_pb2.Summary:
    """The message of a call's figures, and of the plan that it went by."""
    message = summary_pb2.Summary.FromString(bytes_of(summary))
    if plan_digest is not None:
        message.plan_digest = plan_digest
    return message
