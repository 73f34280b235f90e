"""A vector over several element ranges, and what it must combine to."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

from regularization_kernels.engine import Layout, Method
from regularization_kernels.summation import ExactSum

from tests.support.engine_streams import Outcome, a_call, stream


def part_of(method: Method, layout: Layout, operands: dict[str, Any], begin: int, end: int) -> Outcome:
    """The outcome of one range, in three chunks or so."""
    call = a_call(method, layout, element_range=(begin, end))
    return stream(call, {name: array[begin:end] for name, array in operands.items()}, [(end - begin) // 3])


def check_parts(method: Method, layout: Layout, operands: dict[str, Any], cuts: list[int]) -> None:
    """Assert that the ranges between the cuts combine to the whole, to the bit."""
    whole = stream(a_call(method, layout), operands)
    parts = [part_of(method, layout, operands, begin, end) for begin, end in pairwise(cuts)]
    values = b"".join(result.values.tobytes() for outcome in parts for result in outcome.results)
    assert values == whole.bits()[0]
    totals = [outcome.summary.total for outcome in parts]
    assert sum(total.elements for total in totals) == layout.size
    assert sum(total.nonzeros or 0 for total in totals) == whole.summary.total.nonzeros
    for figure in ("penalty", "squared_distance"):
        expected = getattr(whole.summary.total, figure)
        if expected is not None:
            pieces = [getattr(total, figure).expansion for total in totals]
            assert ExactSum.of(number for expansion in pieces for number in expansion) == expected
    for segment in whole.summary.segments:
        found = [p.figures for outcome in parts for p in outcome.summary.segments if p.name == segment.name]
        together = ExactSum.of(n for figures in found if figures.penalty for n in figures.penalty.expansion)
        assert together == segment.figures.penalty
