"""How much a call's figures may be, known before its first element."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, NamedTuple

from ..formats import exponents
from .methods import Method

if TYPE_CHECKING:
    from ..expansions import Exponents
    from .call import Call
    from .prepared_segment import PreparedSegment


class FigureBounds(NamedTuple):
    """The most doubles of the exact sums of a segment's figures; None for those that are not asked for."""

    penalty: int | None
    squared_distance: int | None


def figure_bounds(call: Call, segments: Iterable[PreparedSegment]) -> Iterator[FigureBounds]:
    """The bounds of some segments of a call, whatever their elements and operands are."""
    has_distance = call.figures.squared_distance and call.method is Method.PROXIMAL_STEP
    elements = exponents(call.layout.data_type)
    # A distance is of new and old elements, which are both of the data type; so is one from a reference.
    moved = elements.plus(elements)
    squares = moved.times(moved)
    for segment in segments:
        yield FigureBounds(
            _penalty(segment, elements, moved) if call.figures.penalty else None,
            squares.added(segment.size).longest_expansion if has_distance else None,
        )


def _penalty(segment: PreparedSegment, elements: Exponents, moved: Exponents) -> int:
    if segment.prepared is None or segment.has_map or not segment.size:
        return 0
    return segment.prepared.longest_expansion(moved, elements, segment.size)
