"""What may come in a stream, and what must not: places, ends, empty things, NaN and infinity, figures."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from regularization_kernels import Box, GroupLasso, Groups, L1Norm, NuclearNorm, SquaredL2Norm
from regularization_kernels.engine import (
    Chunk,
    FigureChoice,
    Layout,
    MemoryBudget,
    Method,
    Run,
    Segment,
    run_whole,
)
from regularization_kernels.errors import (
    ChunkOutOfOrder,
    GradientUndefined,
    StreamTooLong,
    StreamTooShort,
    ValueNotFinite,
)

from tests.support.engine_streams import (
    PLENTY,
    a_call,
    feed,
    layout_of,
    operands_of,
    stream,
    takers,
    vector,
    without_outside,
)

every_method = pytest.mark.parametrize("method", list(Method), ids=lambda method: method.value)

VECTOR = Layout(np.dtype(np.float64), (Segment("w", (6,), L1Norm(strength=0.5)), Segment("b", (4,))))


@every_method
@pytest.mark.parametrize(
    ("chunks", "expected", "received"),
    [
        ([(0, 3), (4, 6)], 3, 4),
        ([(0, 3), (2, 6)], 3, 2),
        ([(0, 3), (0, 3)], 3, 0),
        ([(1, 3)], 0, 1),
        ([(-1, 3)], 0, -1),
        ([(0, 3), (2, 2)], 3, 2),
    ],
    ids=["gap", "overlap", "repeated", "late-start", "negative", "empty-but-astray"],
)
def test_chunks_out_of_order_are_refused(
    method: Method, chunks: list[tuple[int, int]], expected: int, received: int
) -> None:
    """A gap, an overlap or a repeated offset is an error that says what was expected and received."""
    with pytest.raises(ChunkOutOfOrder) as caught:
        feed(a_call(method, VECTOR), [Chunk(begin, np.ones(end - begin)) for begin, end in chunks])
    assert caught.value.metadata == {"expected": expected, "received": received}
    assert caught.value.field == "element_offset"


@every_method
def test_a_chunk_past_the_end_is_refused(method: Method) -> None:
    """Before anything of it is computed."""
    with pytest.raises(StreamTooLong) as caught:
        stream(a_call(method, VECTOR), {"parameters": np.ones(11)}, [7])
    assert caught.value.metadata == {"expected": 10, "received": 11}


@every_method
@pytest.mark.parametrize("size", [0, 5, 6, 9])
def test_a_stream_that_ends_early_has_no_summary(method: Method, size: int) -> None:
    """The error says where it ended and where it had to."""
    with Run(a_call(method, VECTOR), MemoryBudget(PLENTY)) as run:
        run.feed(Chunk(0, np.ones(size)))
        with pytest.raises(StreamTooShort) as caught:
            run.finish()
    assert caught.value.metadata == {"expected": 10, "received": size}
    assert caught.value.segment == ("w" if size < 6 else "b")


@every_method
@pytest.mark.parametrize(
    "segments", [(), (Segment("a", (0,)), Segment("b", (3, 0), NuclearNorm(strength=1.0)))]
)
@pytest.mark.parametrize("chunks", [0, 1, 3])
def test_an_empty_vector_has_a_right_answer(
    method: Method, segments: tuple[Segment, ...], chunks: int
) -> None:
    """Penalty 0 of 0 elements, with an entry for each empty segment, and no result chunk."""
    layout = Layout(np.dtype(np.float32), segments)
    outcome = feed(a_call(method, layout), [Chunk(0, np.empty(0, np.float32))] * chunks)
    assert outcome.results == []
    total = outcome.summary.total
    assert (total.elements, total.nonzeros) == (0, 0)
    assert total.penalty is not None
    assert (total.penalty.value, total.penalty.expansion) == (0.0, ())
    assert [part.name for part in outcome.summary.segments] == [segment.name for segment in segments]


@every_method
def test_empty_and_scalar_segments_are_in_the_summary(method: Method) -> None:
    """Wherever they stand: first, last, several in a row; shape () is one element."""
    empty = [Segment(f"empty{k}", (0, k), L1Norm(strength=1.0)) for k in range(5)]
    scalar = Segment("scalar", (), SquaredL2Norm(strength=2.0))
    layout = Layout(
        np.dtype(np.float64), (empty[0], empty[1], scalar, empty[2], Segment("v", (2,)), *empty[3:])
    )
    summary = stream(a_call(method, layout), {"parameters": np.array([3.0, 0.0, 1.0])}, [1]).summary
    assert [part.name for part in summary.segments] == [segment.name for segment in layout.segments]
    assert [part.figures.elements for part in summary.segments] == [0, 0, 1, 0, 2, 0, 0]
    if method is not Method.PROXIMAL_STEP:
        assert summary.total.penalty is not None
        assert summary.total.penalty.value == 9.0


@every_method
@pytest.mark.parametrize("number", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("cuts", [(), (8,), range(20)], ids=["whole", "two", "single"])
def test_the_first_number_that_is_not_finite_is_named(method: Method, number: float, cuts: Any) -> None:
    """By its index in the whole vector, its segment and its field, by default; exempt segments too."""
    segments = (
        Segment("a", (4,), L1Norm(strength=0.1)),
        Segment("exempt", (4,)),
        Segment("groups", (8,), GroupLasso(strength=0.1, groups=Groups(size=4))),
        Segment("matrix", (2, 2), NuclearNorm(strength=0.1)),
    )
    layout = Layout(np.dtype(np.float64), segments)
    for place, name in ((1, "a"), (6, "exempt"), (10, "groups"), (19, "matrix")):
        x = np.ones(20)
        x[[place, 19]] = number
        with pytest.raises(ValueNotFinite) as caught:
            stream(a_call(method, layout), {"parameters": x}, cuts)
        assert (caught.value.element, caught.value.segment, caught.value.field) == (
            place,
            name,
            "parameters",
        )
        assert str(number) in str(caught.value)


@pytest.mark.parametrize("operand", ["loss_gradients", "reference", "weights", "step_scales"])
def test_operands_must_be_finite_too(operand: str) -> None:
    """NaN or infinity in an operand is refused by its own name."""
    layout = Layout(np.dtype(np.float64), (Segment("w", (6,), L1Norm(strength=0.5)),))
    for number in (math.nan, math.inf):
        operands = {"parameters": np.ones(6), operand: np.where(np.arange(6) == 4, number, 1.0)}
        with pytest.raises(ValueNotFinite) as caught:
            stream(a_call(Method.PROXIMAL_STEP, layout), operands, [2])
        assert (caught.value.element, caught.value.field) == (4, operand)


@every_method
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("number", [math.nan, math.inf])
def test_propagating_computes_as_ieee_does(
    method: Method, dtype: type[np.floating[Any]], number: float
) -> None:
    """On request nothing is refused and nothing warns: NaN reaches its sums, and no other segment's."""
    cases = takers()
    for case, *neighbours in zip(cases, cases[1:] + cases[:1], cases[2:] + cases[:2], strict=True):
        if not case.size or (math.isinf(number) and method is Method.GRADIENT):
            continue
        layout = layout_of([neighbours[0], case, neighbours[1]], dtype)
        call = a_call(method, layout, propagate_non_finite=True)
        operands = operands_of(layout, ())
        operands["parameters"] = without_outside(layout, operands["parameters"])
        expected = stream(call, operands)
        at = [segment.name for segment in layout.segments].index(case.label)
        place = layout.starts[at] + case.size // 2
        operands["parameters"][place] = number
        outcome = stream(call, operands, [place, place + 1])
        segments = outcome.bits()[1].segments
        assert segments[:at] == expected.summary.segments[:at]
        assert segments[at + 1 :] == expected.summary.segments[at + 1 :]
        penalty = segments[at].figures.penalty
        assert penalty is not None
        if math.isnan(number):
            assert math.isnan(penalty.value)
            assert outcome.summary.total.penalty is not None
            assert math.isnan(outcome.summary.total.penalty.value)
            assert len(penalty.expansion) == 1
            assert method is Method.PENALTY or math.isnan(outcome.values[place])


@every_method
def test_an_infinite_term_times_strength_zero_is_nan(method: Method) -> None:
    """As IEEE 754 has it, without a warning, in the stream's last segment too."""
    layout = Layout(np.dtype(np.float64), (Segment("w", (2,), L1Norm(strength=0.0)),))
    call = a_call(method, layout, propagate_non_finite=True)
    penalty = stream(call, {"parameters": np.array([math.inf, 1.0])}).summary.total.penalty
    assert penalty is not None
    assert math.isnan(penalty.value)


def test_nan_counts_as_nonzero() -> None:
    """It differs from 0."""
    layout = Layout(np.dtype(np.float64), (Segment("w", (4,), L1Norm(strength=0.5)),))
    call = a_call(Method.PENALTY, layout, propagate_non_finite=True)
    assert stream(call, {"parameters": np.array([math.nan, 0.0, -0.0, 1.0])}).summary.total.nonzeros == 2


@pytest.mark.parametrize("cuts", [(), (3,), range(12)], ids=["whole", "two", "single"])
def test_gradient_outside_a_box_names_the_element(cuts: Any) -> None:
    """By its index in the whole vector and its segment."""
    layout = Layout(
        np.dtype(np.float64), (Segment("a", (5,)), Segment("clip", (7,), Box(lower=0.0, upper=1.0)))
    )
    x = np.full(12, 0.5)
    x[[8, 10]] = 1.5, -1.0
    with pytest.raises(GradientUndefined) as caught:
        stream(a_call(Method.GRADIENT, layout), {"parameters": x}, cuts)
    assert (caught.value.element, caught.value.segment) == (8, "clip")
    penalty = stream(a_call(Method.PENALTY, layout), {"parameters": x}, cuts).summary.total.penalty
    assert penalty is not None
    assert (penalty.value, penalty.expansion) == (math.inf, (math.inf,))


@every_method
def test_figures_are_given_where_asked_for(method: Method) -> None:
    """What is not asked for is absent, by segment and in total, and the rest keeps its bits."""
    layout = layout_of(takers())
    operands = {"parameters": without_outside(layout, vector(layout))}
    everything = stream(a_call(method, layout), operands)
    for penalty in (True, False):
        for nonzeros in (True, False):
            for distance in (True, False):
                choice = FigureChoice(penalty=penalty, nonzeros=nonzeros, squared_distance=distance)
                some = stream(a_call(method, layout, figures=choice), operands)
                np.testing.assert_array_equal(some.values, everything.values)
                pairs = zip(
                    [some.summary.total, *(part.figures for part in some.summary.segments)],
                    [everything.summary.total, *(part.figures for part in everything.summary.segments)],
                    strict=True,
                )
                for got, full in pairs:
                    assert got.elements == full.elements
                    assert got.penalty == (full.penalty if penalty else None)
                    assert got.nonzeros == (full.nonzeros if nonzeros else None)
                    has = distance and method is Method.PROXIMAL_STEP
                    assert got.squared_distance == (full.squared_distance if has else None)


@pytest.mark.usefixtures("every_thread")
@every_method
@pytest.mark.parametrize("threads", [1, 3])
def test_the_total_alone_has_the_same_bits(method: Method, threads: int) -> None:
    """Of one stream, and of several threads' parts together."""
    layout = layout_of(takers())
    x = without_outside(layout, vector(layout))
    everything = stream(a_call(method, layout), {"parameters": x}).summary
    call = a_call(method, layout, figures=FigureChoice(segments=False))
    out = None if method is Method.PENALTY else np.empty_like(x)
    alone = run_whole(call, Chunk(0, x), out, MemoryBudget(1 << 30), threads)
    assert (alone.total, alone.segments) == (everything.total, ())
    assert stream(call, {"parameters": x}).summary == alone


@pytest.mark.parametrize("method", [Method.GRADIENT, Method.PROXIMAL_STEP])
@pytest.mark.parametrize("cuts", [(), (3, 40, 41), range(400)], ids=["whole", "some", "single"])
def test_results_may_be_written_over_the_parameters(method: Method, cuts: Any) -> None:
    """With ``out`` the parameters' own array, results and summary have the same bits."""
    layout = layout_of(takers())
    operands = operands_of(layout, ("loss_gradients",))
    operands["parameters"] = without_outside(layout, operands["parameters"])
    call = a_call(method, layout)
    expected = stream(call, operands)
    over = operands["parameters"].copy()
    edges = [0, *(cut for cut in cuts if cut < layout.size), layout.size]
    with Run(call, MemoryBudget(PLENTY), over) as run:
        for begin, end in pairwise(edges):
            run.feed(Chunk(begin, over[begin:end], loss_gradients=operands["loss_gradients"][begin:end]))
        summary = run.finish()
    np.testing.assert_array_equal(over, expected.values)
    assert summary == expected.summary
