"""A vector cut inside the blocks that sums are made of: what keeps its bits, and what the sums are then."""

from __future__ import annotations

from fractions import Fraction
from itertools import islice, pairwise, permutations
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from regularization_kernels import ElasticNet, GroupLasso, Groups, L1Norm, Locality
from regularization_kernels.engine import (
    Call,
    Chunk,
    Layout,
    MemoryBudget,
    Method,
    Rounding,
    RoundingMode,
    Segment,
    run_whole,
)
from regularization_kernels.summation import ExactSum

from tests.support.cases import ROWS
from tests.support.engine_ranges import check_parts, part_of
from tests.support.engine_streams import (
    PLENTY,
    a_call,
    layout_of,
    operands_of,
    stream,
    takers,
    without_outside,
)
from tests.support.oracles import summation as reference

if TYPE_CHECKING:
    from collections.abc import Iterable

BLOCK = 2**18
RULES = {row.name: row.rule for row in ROWS}


def legal_cuts(layout: Layout) -> list[int]:
    """Every element of the vector at which a range may begin or end, by what each regularizer says."""
    cuts = set(layout.starts)
    for segment in layout.segments:
        if segment.locality in (Locality.ELEMENT, Locality.GROUP):
            inside = range(1, segment.size)
            cuts |= {segment.start + place for place in inside if segment.cut(place) == place}
    return sorted(cuts)


@pytest.mark.parametrize("method", list(Method), ids=lambda method: method.value)
@settings(max_examples=6)
@given(st.data())
def test_every_row_may_be_cut_wherever_it_works_by_itself(method: Method, data: st.DataObject) -> None:
    """Each lane has one term here, so that the sums of ranges have the bits of one stream, too."""
    layout = layout_of(takers())
    assert max(segment.size for segment in layout.segments) <= reference.LANES
    operands = operands_of(layout, ())
    operands["parameters"] = without_outside(layout, operands["parameters"])
    cuts = data.draw(st.lists(st.sampled_from(legal_cuts(layout)), max_size=12))
    check_parts(method, layout, operands, [0, *sorted(cuts), layout.size])


def long_layout(data_type: Any) -> Layout:
    """Segments with many terms in a lane: over the end of a block, exempt, and in groups."""
    return Layout(
        np.dtype(data_type),
        (
            Segment("head", (3,), L1Norm(strength=0.2)),
            Segment("elements", (BLOCK + 1000,), ElasticNet(l1_strength=0.3, l2_strength=0.7)),
            Segment("exempt", (3000,)),
            Segment("groups", (3000,), GroupLasso(strength=0.3, groups=Groups(size=8))),
            Segment("tail", (2000,), L1Norm(strength=0.1)),
        ),
    )


LONG = long_layout(np.float32)
OPERANDS = operands_of(LONG, ("loss_gradients",))
WHOLE = stream(a_call(Method.PROXIMAL_STEP, LONG), OPERANDS)


def products_of(segment: Any, begin: int, end: int, new: Any, old: Any) -> tuple[list[float], list[float]]:
    """The lanes of penalty and squared distance, of the terms from begin to end of a segment alone."""
    moves = enumerate(((new - old) * (new - old)).tolist())
    distances = reference.lane_products([(at, term) for at, term in moves if begin <= at < end], 1.0)
    if segment.regularizer is None:
        return [], distances
    rule = RULES[segment.regularizer.name]
    terms = rule.terms(segment.regularizer, new.reshape(segment.shape), None)
    own = [(at, term) for at, term in terms if begin <= at < end]
    return reference.lane_products(own, rule.scale(segment.regularizer)), distances


@settings(max_examples=6)
@given(st.data())
def test_a_range_adds_up_its_own_part_of_each_block(data: st.DataObject) -> None:
    """By the rule in plain Python, with lanes that start at 0; results keep the bits of one stream."""
    cuts = data.draw(st.lists(st.sampled_from(legal_cuts(LONG)), min_size=1, max_size=4))
    new, old = WHOLE.values.astype(np.float64), OPERANDS["parameters"].astype(np.float64)
    for begin, end in pairwise([0, *sorted(cuts), LONG.size]):
        outcome = part_of(Method.PROXIMAL_STEP, LONG, OPERANDS, begin, end)
        assert outcome.values.tobytes() == WHOLE.values[begin:end].tobytes()
        found = {part.name: part.figures for part in outcome.summary.segments}
        assert outcome.summary.total.nonzeros == np.count_nonzero(WHOLE.values[begin:end])
        for segment in LONG.segments:
            low, high = max(begin, segment.start), min(end, segment.end)
            if low >= high:
                assert segment.name not in found
                continue
            place = slice(segment.start, segment.end)
            ends = low - segment.start, high - segment.start
            penalties, distances = products_of(segment, *ends, new[place], old[place])
            figures = found[segment.name]
            assert figures.elements == high - low
            for figure, products in ((figures.penalty, penalties), (figures.squared_distance, distances)):
                assert figure is not None
                assert (figure.value, figure.expansion) == reference.exactly(products), segment.name


Ends = tuple[int, int]


def combined(ranges: Iterable[Ends]) -> ExactSum:
    """The penalty of these ranges, put together in their order."""
    parts = [part_of(Method.PENALTY, LONG, {"parameters": OPERANDS["parameters"]}, *ends) for ends in ranges]
    sums = [part.summary.total.penalty for part in parts]
    return ExactSum.of(number for each in sums if each is not None for number in each.expansion)


def ranges_between(*cuts: int) -> list[Ends]:
    """The ranges that the vector falls into."""
    return list(pairwise([0, *sorted(cuts), LONG.size]))


def test_the_same_cuts_give_the_same_sums_in_any_order() -> None:
    """The combination is a function of the elements and the cuts."""
    orders = permutations(ranges_between(100, BLOCK // 2 + 1, BLOCK + 500))
    assert len({combined(ranges) for ranges in islice(orders, 0, None, 7)}) == 1


@settings(max_examples=8)
@given(st.data())
def test_cuts_inside_blocks_change_sums_by_the_rounding_of_their_lanes_alone(data: st.DataObject) -> None:
    """By no more than 2^-42 of the magnitudes of the terms in the blocks that are cut."""
    segment = LONG.segments[1]
    inside = st.integers(segment.start + 1, segment.end - 1)
    cuts = data.draw(st.sets(inside, min_size=1, max_size=6))
    single = stream(a_call(Method.PENALTY, LONG), {"parameters": OPERANDS["parameters"]})
    penalty = single.summary.total.penalty
    assert penalty is not None
    difference = sum(map(Fraction, combined(ranges_between(*cuts)).expansion)) - sum(
        map(Fraction, penalty.expansion)
    )
    x = OPERANDS["parameters"][segment.start : segment.end].astype(np.float64)
    blocks = {(cut - segment.start) // BLOCK for cut in cuts if (cut - segment.start) % BLOCK}
    magnitudes = sum(
        Fraction(ElasticNet(l1_strength=0.3, l2_strength=0.7).scale)
        * Fraction(float(np.sum((0.35 * np.abs(part) + 0.3) * np.abs(part))))
        for part in (x[block * BLOCK : (block + 1) * BLOCK] for block in blocks)
    )
    assert abs(difference) <= magnitudes / 2**42


def test_cuts_inside_blocks_may_change_the_last_bits_of_a_sum() -> None:
    """So the promise of a single stream's bits ends at the ends of blocks."""
    single = stream(a_call(Method.PENALTY, LONG), {"parameters": OPERANDS["parameters"]})
    assert combined(ranges_between(LONG.segments[1].start + BLOCK)) == single.summary.total.penalty
    assert combined(ranges_between(BLOCK // 2 + 1)) != single.summary.total.penalty


@pytest.mark.usefixtures("every_thread")
@pytest.mark.parametrize("mode", list(RoundingMode), ids=lambda mode: mode.value)
def test_threads_change_no_bit_of_a_range(mode: RoundingMode) -> None:
    """They cut it between blocks, wherever it begins; random bits go by the index in the whole vector."""
    layout = Layout(np.dtype(np.float16), (Segment("w", (4 * BLOCK,), L1Norm(strength=0.3)),))
    x = operands_of(layout, ())["parameters"]
    begin, end = 12_345, 3 * BLOCK + 77
    rounding = Rounding(mode, seed=5)
    whole = stream(Call(Method.PROXIMAL_STEP, layout, step_size=0.3, rounding=rounding), {"parameters": x})
    summaries = []
    for threads in (1, 2, 5):
        out = np.empty(end - begin, x.dtype)
        call = Call(Method.PROXIMAL_STEP, layout, (begin, end), step_size=0.3, rounding=rounding)
        chunk = Chunk(begin, x[begin:end])
        summaries.append(run_whole(call, chunk, out, MemoryBudget(PLENTY), threads))
        assert out.tobytes() == whole.values.astype(np.float16)[begin:end].tobytes()
    assert summaries[0] == summaries[1] == summaries[2]
