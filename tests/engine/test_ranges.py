"""A vector over several streams: the parts of its element ranges combine to the bits of one stream."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from regularization_kernels import Box, GroupLasso, Groups, L1Norm, NuclearNorm
from regularization_kernels.engine import Call, Chunk, Layout, MemoryBudget, Method, Run, Segment
from regularization_kernels.errors import ChunkOutOfOrder, ElementRangeInvalid, StreamTooLong, StreamTooShort

from tests.support.engine_ranges import check_parts
from tests.support.engine_streams import (
    PLENTY,
    a_call,
    layout_of,
    operands_of,
    stream,
    takers,
    without_outside,
)

BLOCK = 2**18
RUN = 2**16 + 1

LONG = Layout(
    np.dtype(np.float32),
    (
        Segment("elements", (2 * BLOCK + 100,), L1Norm(strength=0.3)),
        Segment("exempt", (BLOCK + 5,)),
        Segment("even", (BLOCK + 64,), GroupLasso(strength=0.3, groups=Groups(size=64))),
        Segment("odd", (RUN * 5,), GroupLasso(strength=0.3, groups=Groups(size=RUN))),
        Segment("ragged", (BLOCK + 9,), GroupLasso(strength=0.3, groups=Groups(sizes=(BLOCK, 4, 5)))),
        Segment("columns", (BLOCK, 2), GroupLasso(strength=0.3, groups=Groups(axis=1))),
        Segment("matrix", (BLOCK * 2, 1), NuclearNorm(strength=0.3)),
        Segment("clip", (BLOCK + 1,), Box(lower=-0.5, upper=0.5)),
    ),
)

BETWEEN_BLOCKS = {
    "elements": [BLOCK, 2 * BLOCK],
    "exempt": [BLOCK],
    "even": [BLOCK],
    "ragged": [BLOCK],
    "clip": [BLOCK],
}

PLACES = (1, 64, BLOCK - 1, BLOCK, BLOCK + 1, BLOCK + 4, RUN, RUN * 4, 2 * BLOCK)

LEGAL = {
    "elements": PLACES,
    "exempt": PLACES,
    "even": (64, BLOCK),
    "odd": (RUN, RUN * 4),
    "ragged": (BLOCK, BLOCK + 4),
    "columns": (),
    "matrix": (),
    "clip": PLACES,
}


def start_of(name: str) -> int:
    """Position of a segment's first element."""
    return LONG.starts[[segment.name for segment in LONG.segments].index(name)]


CUTS = sorted(
    {*LONG.starts, *(start_of(name) + cut for name, cuts in BETWEEN_BLOCKS.items() for cut in cuts)}
)


@settings(max_examples=6)
@given(st.sets(st.sampled_from(CUTS[1:-1])))
def test_ranges_of_long_segments_combine_to_one_stream(cuts: set[int]) -> None:
    """Any set of legal cuts, inside segments too, gives the same results and sums, to the bit."""
    check_parts(Method.PROXIMAL_STEP, LONG, _operands(), [0, *sorted(cuts), LONG.size])


_CACHE: dict[str, Any] = {}


def _operands() -> dict[str, Any]:
    if not _CACHE:
        _CACHE.update(operands_of(LONG, ("loss_gradients",)))
    return _CACHE


@pytest.mark.parametrize("method", list(Method), ids=lambda method: method.value)
@settings(max_examples=6)
@given(st.data())
def test_ranges_of_whole_segments_combine_to_one_stream(method: Method, data: st.DataObject) -> None:
    """Every row of the table, cut between segments, with repeated and empty ranges."""
    layout = layout_of(takers())
    operands = operands_of(layout, ())
    operands["parameters"] = without_outside(layout, operands["parameters"])
    cuts = data.draw(st.lists(st.sampled_from(layout.starts), max_size=6))
    check_parts(method, layout, operands, [0, *sorted(cuts), layout.size])


@pytest.mark.parametrize("segment", LONG.segments, ids=lambda segment: segment.name)
def test_cuts_inside_a_segment_are_legal_where_the_contract_says(segment: Segment) -> None:
    """Anywhere where it works element by element or is exempt, where a group ends, or nowhere."""
    start = start_of(segment.name)
    for place in PLACES:
        if not place < segment.size:
            continue
        for which, ends in (("begin", (start + place, LONG.size)), ("end", (0, start + place))):
            if place in LEGAL[segment.name]:
                assert Call(Method.PENALTY, LONG, ends).element_range == ends
                continue
            with pytest.raises(ElementRangeInvalid) as caught:
                Call(Method.PENALTY, LONG, ends)
            assert caught.value.field == f"element_range.{which}"
            assert caught.value.segment == segment.name


@pytest.mark.parametrize(
    ("ends", "field"),
    [
        ((-1, 5), "begin"),
        ((LONG.size + 1, LONG.size + 1), "begin"),
        ((5, 0), None),
        ((0, LONG.size + 1), "end"),
        ((0, -1), "end"),
    ],
)
def test_ranges_stay_inside_the_layout(ends: tuple[int, int], field: str | None) -> None:
    """And begin before they end."""
    with pytest.raises(ElementRangeInvalid) as caught:
        Call(Method.PENALTY, LONG, ends)
    assert (caught.value.field or "").startswith("element_range")
    if field:
        assert caught.value.field == f"element_range.{field}"


def test_a_range_s_stream_begins_and_ends_with_it() -> None:
    """Offsets are of the whole vector."""
    layout = Layout(np.dtype(np.float64), tuple(Segment(n, (4,), L1Norm(strength=1.0)) for n in "abc"))
    call = a_call(Method.PROXIMAL_STEP, layout, element_range=(4, 8))
    with Run(call, MemoryBudget(PLENTY)) as run:
        (result,) = run.feed(Chunk(4, np.full(4, 2.0)))
        assert result.element_offset == 4
        assert [segment.name for segment in run.finish().segments] == ["b"]
    for error, chunk in (
        (ChunkOutOfOrder, Chunk(0, np.ones(4))),
        (StreamTooLong, Chunk(4, np.ones(5))),
        (StreamTooShort, Chunk(4, np.ones(3))),
    ):
        with Run(call, MemoryBudget(PLENTY)) as run, pytest.raises(error):  # noqa: PT012 - either may be the one
            run.feed(chunk)
            run.finish()


def test_empty_segments_belong_to_the_ranges_that_touch_them() -> None:
    """The summary has the segments with elements in the range, and empty ones in it or at its ends."""
    segments = (
        Segment("first", (0,)),
        Segment("a", (4,), L1Norm(strength=1.0)),
        Segment("between", (0,)),
        Segment("b", (4,), L1Norm(strength=1.0)),
        Segment("last", (0,)),
    )
    layout = Layout(np.dtype(np.float64), segments)
    expected = {
        (0, 4): ["first", "a", "between"],
        (4, 8): ["between", "b", "last"],
        (0, 0): ["first"],
        (4, 4): ["between"],
        (8, 8): ["last"],
        (0, 8): ["first", "a", "between", "b", "last"],
    }
    for ends, names in expected.items():
        call = a_call(Method.PENALTY, layout, element_range=ends)
        summary = stream(call, {"parameters": np.ones(ends[1] - ends[0])}).summary
        assert [segment.name for segment in summary.segments] == names
