"""From the engine's summary to the contract's."""

from __future__ import annotations

from typing import TYPE_CHECKING

from regularization.v1 import summary_pb2

if TYPE_CHECKING:
    from regularization_kernels.engine import Figures, Summary
    from regularization_kernels.summation import ExactSum


def summary_of(summary: Summary) -> summary_pb2.Summary:
    """The message of a call's figures."""
    return summary_pb2.Summary(
        total=_figures(summary.total),
        segments=[
            summary_pb2.SegmentSummary(
                name=segment.name, figures=_figures(segment.figures), convex=segment.convex
            )
            for segment in summary.segments
        ],
    )


def _figures(figures: Figures) -> summary_pb2.Figures:
    return summary_pb2.Figures(
        elements=figures.elements,
        penalty=_exact_sum(figures.penalty),
        nonzeros=figures.nonzeros,
        squared_distance=_exact_sum(figures.squared_distance),
    )


def _exact_sum(total: ExactSum | None) -> summary_pb2.ExactSum | None:
    # A field given as None stays unset: the figure was not asked for.
    return None if total is None else summary_pb2.ExactSum(value=total.value, expansion=total.expansion)
