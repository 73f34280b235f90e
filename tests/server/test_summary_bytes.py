"""Summaries as bytes: protobuf reads from them what it would have been told field by field."""

from __future__ import annotations

import math

from hypothesis import given
from hypothesis import strategies as st
from regularization.v1 import summary_pb2
from regularization_kernels.engine import Figures, SegmentFigures, Summary
from regularization_kernels.summation import ExactSum
from regularization_server.contract.summaries import summary_of

counts = st.one_of(st.integers(0, 300), st.integers(0, (1 << 63) - 1))
sums = st.builds(
    lambda doubles: ExactSum(doubles[0] if doubles else 0.0, tuple(doubles)),
    st.lists(st.floats(allow_nan=False), max_size=40),
)
figures = st.builds(Figures, counts, st.none() | sums, st.none() | counts, st.none() | sums)
segments = st.lists(st.builds(SegmentFigures, st.text(max_size=200), figures, st.none() | st.booleans()))
summaries = st.builds(Summary, figures, segments.map(tuple))


def fill(message: summary_pb2.Figures, counted: Figures) -> None:
    """Set what was asked for, by protobuf alone."""
    message.elements = counted.elements
    if counted.nonzeros is not None:
        message.nonzeros = counted.nonzeros
    for field, total in (
        (message.penalty, counted.penalty),
        (message.squared_distance, counted.squared_distance),
    ):
        if total is not None:
            field.SetInParent()
            field.value = total.value
            field.expansion.extend(total.expansion)


@given(summaries)
def test_protobuf_reads_what_it_would_have_written(summary: Summary) -> None:
    """Of all lengths of names, counts and sums; what was not asked for is unset, and not 0."""
    message = summary_pb2.Summary()
    fill(message.total, summary.total)
    for segment in summary.segments:
        entry = message.segments.add(name=segment.name, convex=segment.convex)
        fill(entry.figures, segment.figures)
    assert summary_of(summary).SerializeToString() == message.SerializeToString()


def test_what_is_no_number_stays_so() -> None:
    """A sum may be NaN, which is equal to nothing; it is set, and a sum of 0 is set, too."""
    nothing, total = ExactSum(0.0, ()), ExactSum(math.nan, (math.nan,))
    found = summary_of(Summary(Figures(3, total, 3, nothing), ())).total
    assert math.isnan(found.penalty.value)
    assert math.isnan(found.penalty.expansion[0])
    assert found.HasField("squared_distance")
