"""Joint regularizers: the elements of several segments, as one vector."""

from __future__ import annotations

import gc
import math
import weakref
from itertools import pairwise
from typing import Any

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from regularization_kernels import (
    Box,
    GroupLasso,
    Groups,
    L1Ball,
    L1Norm,
    L2Ball,
    L2Norm,
    LinfNorm,
    NuclearNorm,
    Regularizer,
    Simplex,
    TopK,
)
from regularization_kernels.engine import (
    Call,
    Chunk,
    Combination,
    Joint,
    Layout,
    Measurement,
    Measuring,
    MemoryBudget,
    Method,
    Round,
    Rounding,
    RoundingMode,
    Run,
    Segment,
    Summary,
    run_whole,
)
from regularization_kernels.engine.results import ANSWER_BYTES
from regularization_kernels.engine.span import SpanRun
from regularization_kernels.errors import (
    BudgetExceeded,
    ElementRangeInvalid,
    FieldMissing,
    FieldOutOfRange,
    GradientUndefined,
    JointInvalid,
    LayoutInvalid,
    ModifierUnsupported,
    OperandUnsupported,
    RegularizationError,
    ValueNotFinite,
)

from tests.support.engine_streams import PLENTY, AnyArray, a_call, chunks_of, elements_of, feed, stream

ROWS: list[Regularizer] = [
    TopK(count=100),
    TopK(fraction=0.1),
    TopK(fraction=0.0),
    TopK(fraction=1.0),
    L1Ball(radius=5.0),
    L2Ball(radius=0.5),
    L2Ball(radius=1e6),
    Simplex(radius=3.0),
    L2Norm(strength=0.7),
    LinfNorm(strength=2.0),
]
EVERY_TYPE = [np.float32, np.float64, np.float16, ml_dtypes.bfloat16, np.int8, np.int16, np.int32]
FLOAT64 = np.dtype(np.float64)
GOOD = Joint("all", L2Norm(strength=1.0))
MEMBER = Segment("w", (4,), joint="all")

every_row = pytest.mark.parametrize("regularizer", ROWS, ids=repr)
every_method = pytest.mark.parametrize("method", list(Method), ids=lambda method: method.value)


def mixed(regularizer: Regularizer, data_type: Any = np.float64, *, step_size: float | None = None) -> Layout:
    """Three segments that share a regularizer, with others before, between and after them."""
    return Layout(
        np.dtype(data_type),
        (
            Segment("first", (7,), L1Norm(strength=0.2)),
            Segment("w1", (20, 15), joint="all"),
            Segment("none", (0, 4), joint="all"),
            Segment("exempt", (9,)),
            Segment("groups", (30,), GroupLasso(strength=0.4, groups=Groups(size=3))),
            Segment("w2", (401,), joint="all"),
            Segment("matrix", (3, 4), NuclearNorm(strength=0.5)),
            Segment("w3", (), joint="all"),
            Segment("last", (5,), L1Norm(strength=0.2)),
        ),
        (Joint("all", regularizer, step_size),),
    )


def members(layout: Layout) -> AnyArray:
    """Which elements of the vector are a joint regularizer's."""
    is_member = np.zeros(layout.size, np.bool_)
    for segment in layout.segments:
        is_member[segment.start : segment.end] = segment.joint is not None
    return is_member


def apart(layout: Layout) -> Layout:
    """The same segments without those that share a regularizer."""
    alone = tuple(segment.specification for segment in layout.segments if segment.joint is None)
    return Layout(layout.data_type, alone)


def inputs(layout: Layout, seed: int = 3, **scales: float) -> dict[str, AnyArray]:
    """Parameters with ties, and loss gradients."""
    random = np.random.default_rng(seed)
    x = np.round(random.normal(size=layout.size), 2)
    operands = {"parameters": elements_of(x, layout.data_type)}
    if "loss_gradients" in scales:
        g = scales["loss_gradients"] * random.normal(size=layout.size)
        operands["loss_gradients"] = elements_of(g, layout.data_type)
    return operands


def at_once(call: Call, operands: dict[str, AnyArray], threads: int = 1) -> tuple[bytes, Summary]:
    """What comes out where all elements are there."""
    out = None if call.method is Method.PENALTY else np.empty_like(operands["parameters"])
    summary = run_whole(call, Chunk(0, **operands), out, MemoryBudget(PLENTY), threads)
    return b"" if out is None else out.tobytes(), summary


def expected_step(regularizer: Regularizer, x: AnyArray, step_size: float) -> AnyArray:
    """The step of all elements as one array, which is not computed by statistics."""
    out = np.empty_like(x)
    regularizer.on(x.shape).prox(x, step_size, out)
    return out


def the_largest(x: AnyArray, count: int) -> AnyArray:
    """The largest magnitudes, of equal ones the first, by a stable sort."""
    kept = np.zeros_like(x)
    places = np.argsort(-np.abs(x), kind="stable")[:count]
    kept[places] = x[places]
    return kept


@every_row
def test_the_step_is_that_of_one_vector(regularizer: Regularizer) -> None:
    """Of the elements of all its segments; other segments have their own, wherever they lie."""
    layout = mixed(regularizer)
    operands = inputs(layout, loss_gradients=0.1)
    call = a_call(Method.PROXIMAL_STEP, layout)
    got = stream(call, operands, [50, 333, 500]).values
    start = operands["parameters"] - 0.37 * operands["loss_gradients"]
    is_member = members(layout)
    expected = expected_step(regularizer, start[is_member], 0.37)
    np.testing.assert_allclose(got[is_member], expected, rtol=1e-13, atol=1e-15)
    others = {name: array[~is_member] for name, array in operands.items()}
    np.testing.assert_array_equal(
        got[~is_member], stream(a_call(Method.PROXIMAL_STEP, apart(layout)), others).values
    )


@pytest.mark.parametrize("data_type", EVERY_TYPE, ids=lambda each: np.dtype(each).name)
@pytest.mark.parametrize("fraction", [0.0, 0.1, 0.5, 1.0])
def test_the_largest_of_all_stay(data_type: Any, fraction: float) -> None:
    """Of every data type exactly, of equal ones the first in the layout."""
    layout = mixed(TopK(fraction=fraction), data_type)
    x = inputs(layout)["parameters"]
    is_member = members(layout)
    got = stream(a_call(Method.PROXIMAL_STEP, layout), {"parameters": x}, [100]).values
    count = math.floor(fraction * np.count_nonzero(is_member) + 0.5)
    expected = the_largest(x[is_member].astype(np.float64), count)
    np.testing.assert_array_equal(got.astype(np.float64)[is_member], expected)


@pytest.mark.usefixtures("every_thread")
@every_row
@every_method
@pytest.mark.parametrize("rounding", [Rounding(), Rounding(RoundingMode.STOCHASTIC, 3)], ids=repr)
def test_cuts_threads_and_memory_do_not_matter(
    regularizer: Regularizer, method: Method, rounding: Rounding
) -> None:
    """A stream cut anywhere, and threads on memory, give the same bits and figures."""
    layout = mixed(regularizer, np.float32)
    operands = inputs(layout)
    if method is Method.GRADIENT and regularizer.traits.indicator:
        operands["parameters"] = stream(a_call(Method.PROXIMAL_STEP, layout), operands).values.astype("f4")
        operands["parameters"][[0, -1]] = 0.5  # where the L1 norm has one, too
    call = a_call(method, layout, rounding=rounding)
    whole = at_once(call, operands)
    assert at_once(call, operands, 3) == whole
    for cuts in ([], [1, 7, 8, 306, 307, 308, 345, 346, 347, 700], range(layout.size)):
        results, summary = stream(call, operands, cuts).bits()
        assert (results, summary) == whole


@settings(max_examples=30, deadline=None)
@given(data=st.data())
def test_any_layout_is_cut_anywhere(data: st.DataObject) -> None:
    """Two joint regularizers that lie in each other, segments of any length, 0 included."""
    names = data.draw(st.lists(st.sampled_from(["a", "b", None]), min_size=2, max_size=8))
    sizes = data.draw(st.lists(st.integers(0, 4), min_size=len(names), max_size=len(names)))
    joints = [Joint("a", TopK(fraction=0.5)), Joint("b", L2Norm(strength=0.5), 2.0)]
    layout = Layout(
        FLOAT64,
        tuple(
            Segment(f"{i}", (size,), joint=name)
            for i, (name, size) in enumerate(zip(names, sizes, strict=True))
        ),
        tuple(joint for joint in joints if joint.name in names),
    )
    x = np.array(
        data.draw(
            st.lists(st.sampled_from([0.0, 1.0, -1.0, 2.0, 0.5]), min_size=layout.size, max_size=layout.size)
        )
    )
    cuts = data.draw(st.lists(st.integers(0, max(layout.size, 1)), max_size=4))
    call = a_call(Method.PROXIMAL_STEP, layout, step_size=1.0)
    got = stream(call, {"parameters": x}, cuts)
    owners = np.repeat(np.array([name or "" for name in names]), sizes)
    expected = x.copy()
    expected[owners == "a"] = the_largest(
        x[owners == "a"], math.floor(np.count_nonzero(owners == "a") / 2 + 0.5)
    )
    norm = float(np.linalg.norm(x[owners == "b"]))
    expected[owners == "b"] *= max(0.0, 1.0 - 2.0 * 0.5 / norm) if norm else 0.0
    np.testing.assert_allclose(got.values, expected, rtol=1e-15)
    assert [entry.name for entry in got.summary.segments] == [segment.name for segment in layout.segments]


def measured(call: Call, operands: dict[str, AnyArray], ends: list[int]) -> Measurement:
    """What is known of a call's vector once all its parts have been measured, as often as need be."""
    budget, known = MemoryBudget(PLENTY), Measurement.read(call, b"")
    while not known.is_complete:
        asked = Round.after(known)
        with Combination(asked, budget) as combination:
            for begin, end in reversed(list(pairwise(ends))):
                with Measuring(asked, (begin, end), budget) as part:
                    part.feed(Chunk(begin, **{name: array[begin:end] for name, array in operands.items()}))
                    combination.add(part.finish())
            known = Measurement.read(call, combination.measurement().written())
    return known


@every_row
@pytest.mark.parametrize("data_type", [np.float32, np.float64])
def test_measured_in_parts_it_is_the_same(regularizer: Regularizer, data_type: Any) -> None:
    """Parts cut anywhere, inside its segments and between them, give the bits of one stream."""
    layout = mixed(regularizer, data_type)
    operands = inputs(layout, loss_gradients=0.1)
    call = a_call(Method.PROXIMAL_STEP, layout)
    expected, whole = at_once(call, operands)
    ends = [0, 5, 100, 307, 308, 316, 346, 500, 747, 759, layout.size]
    known = measured(call, operands, ends)
    results, parts = [], []
    for begin, end in pairwise([0, 100, 500, layout.size]):
        own = {name: array[begin:end] for name, array in operands.items()}
        outcome = stream(known.applied((begin, end)), own, [1, 60])
        results += [result.values.tobytes() for result in outcome.results]
        parts.append(outcome.summary)
    assert b"".join(results) == expected
    combined = Summary.combined(parts, call.figures, call.method)
    assert {each.name: each.figures.nonzeros for each in combined.segments} == {
        each.name: each.figures.nonzeros for each in whole.segments
    }
    penalties = {each.name: each.figures.penalty for each in combined.segments}
    assert {name: penalties[name] for name in ("w1", "none", "w2", "w3")} == {
        each.name: each.figures.penalty for each in whole.segments if each.name in ("w1", "none", "w2", "w3")
    }


def test_figures_are_of_each_segment_but_the_term_is_of_the_first() -> None:
    """Nonzeros and distances are told segment by segment; the one term of the penalty is the first's."""
    layout = mixed(L2Norm(strength=2.0), step_size=0.0)
    x = inputs(layout)["parameters"]
    for method in (Method.PENALTY, Method.PROXIMAL_STEP):
        summary = stream(a_call(method, layout), {"parameters": x}, [200]).summary
        figures = {entry.name: entry.figures for entry in summary.segments}
        shared = [figures[name] for name in ("w1", "w2", "w3")]
        assert [each.nonzeros for each in shared] == [
            np.count_nonzero(x[segment.start : segment.end])
            for segment in layout.segments
            if segment.joint is not None and segment.size
        ]
        norm = 2.0 * np.linalg.norm(x[members(layout)])
        penalties = [each.penalty.value for each in shared if each.penalty is not None]
        assert penalties == [pytest.approx(norm, rel=1e-14), 0.0, 0.0]
        assert summary.total.elements == layout.size


def test_the_step_size_is_the_joints() -> None:
    """Its own before the call's; and with one of its own in every place the call needs none."""
    x = np.array([3.0, 4.0])
    segments = (Segment("a", (1,), joint="all"), Segment("b", (1,), joint="all"))
    layout = Layout(FLOAT64, segments, (Joint("all", L2Norm(strength=1.0), 2.5),))
    for step_size in (None, 100.0):
        got = stream(Call(Method.PROXIMAL_STEP, layout, step_size=step_size), {"parameters": x}).values
        np.testing.assert_allclose(got, [1.5, 2.0], rtol=1e-15)
    with pytest.raises(FieldMissing):
        Call(Method.PROXIMAL_STEP, Layout(FLOAT64, segments, (GOOD,)))


def test_what_waits_is_counted_and_given_back() -> None:
    """From the first of its elements to the last, as they came, and the results; nothing before or after."""
    size = 1 << 16
    layout = Layout(
        np.dtype(np.float32),
        (
            Segment("before", (size,)),
            Segment("w1", (size,), joint="all"),
            Segment("between", (size,)),
            Segment("w2", (size,), joint="all"),
            Segment("after", (size,)),
        ),
        (Joint("all", TopK(fraction=0.5)),),
    )
    x = np.ones(layout.size, np.float32)
    call, chunks = (
        a_call(Method.PROXIMAL_STEP, layout),
        chunks_of({"parameters": x}, range(1000, 5 * size, 1000)),
    )
    budget = MemoryBudget(PLENTY)
    with Run(call, budget) as run:
        most = 0
        for chunk in chunks:
            results = run.feed(chunk)
            if chunk.end <= size:
                assert budget.used == 0
                assert results
            most = max(most, budget.used)
        answers = ANSWER_BYTES * len(chunks)
        assert 3 * size * 8 <= most <= 3 * size * 8 + (16 << 20) + answers
        run.finish()
        assert budget.used == 0
    with pytest.raises(BudgetExceeded):
        feed(call, chunks, MemoryBudget(2 * size * 8))


def test_nothing_is_kept_of_the_callers_memory() -> None:
    """What is fed may be written over at once."""
    layout = mixed(TopK(fraction=0.2))
    operands = inputs(layout)
    call = a_call(Method.PROXIMAL_STEP, layout)
    expected = stream(call, operands, [60, 400]).bits()
    with Run(call, MemoryBudget(PLENTY)) as run:
        values = []
        for chunk in chunks_of({"parameters": operands["parameters"].copy()}, [7, 307, 316, 346, 747, 759]):
            values += [result.values.copy() for result in run.feed(chunk)]
            chunk.parameters[:] = np.nan
        assert (b"".join(each.tobytes() for each in values), run.finish()) == expected


def test_an_error_names_segment_and_element() -> None:
    """Where there is no gradient, and at once where a number is not finite or an operand not taken."""
    layout = mixed(Simplex(radius=3.0))
    x = np.abs(inputs(layout)["parameters"])
    x[400] = -0.5
    for threads in (1, 2):
        with pytest.raises(GradientUndefined, match=r"at element 400") as caught:
            at_once(a_call(Method.GRADIENT, layout), {"parameters": x}, threads)
        assert (caught.value.segment, caught.value.element) == ("w2", 400)
    with pytest.raises(GradientUndefined) as caught:
        stream(a_call(Method.GRADIENT, layout), {"parameters": x}, [100])
    assert (caught.value.segment, caught.value.element) == ("w2", 400)
    x[10] = math.nan
    with (
        Run(a_call(Method.PROXIMAL_STEP, layout), MemoryBudget(PLENTY)) as run,
        pytest.raises(ValueNotFinite) as found,
    ):
        run.feed(Chunk(0, x[:20]))
    assert (found.value.segment, found.value.element) == ("w1", 10)


def test_a_given_up_call_lets_its_elements_go() -> None:
    """Those that wait, too, without the collector of garbage."""
    layout = mixed(Simplex(radius=3.0))
    x = np.abs(inputs(layout)["parameters"])
    x[400] = -0.5
    gc.collect()
    gc.disable()
    try:
        chunks = chunks_of({"parameters": x.copy()}, [100])
        gone = weakref.ref(chunks[0].parameters.base)
        budget = MemoryBudget(PLENTY)
        with pytest.raises(GradientUndefined):
            feed(a_call(Method.GRADIENT, layout), chunks, budget)
        assert budget.used == 0
        del chunks
        assert gone() is None
        assert not [each for each in gc.get_objects() if type(each) is SpanRun]
    finally:
        gc.enable()


@pytest.mark.parametrize("operand", ["reference", "weights", "step_scales"])
def test_operands_of_the_penalty_are_refused(operand: str) -> None:
    """With the first chunk that has one for such a segment; other segments take them."""
    layout = mixed(TopK(fraction=0.2))
    x = np.ones(layout.size)
    call = a_call(Method.PROXIMAL_STEP, layout)
    first: Any = {"parameters": x[:7], operand: x[:7]}
    second: Any = {"parameters": x[7:20], operand: x[7:20]}
    with Run(call, MemoryBudget(PLENTY)) as run:
        run.feed(Chunk(0, **first))
        with pytest.raises(OperandUnsupported, match=r"joint|top_k") as caught:
            run.feed(Chunk(7, **second))
    assert (caught.value.field, caught.value.segment) == (operand, "w1")


@pytest.mark.parametrize(
    ("segments", "joints", "error", "field"),
    [
        ((Segment("w", (4,), joint="none"),), (GOOD,), JointInvalid, "segments[0].joint"),
        ((Segment("w", (4,), joint=""),), (), JointInvalid, "segments[0].joint"),
        ((Segment("w", (4,)),), (GOOD,), JointInvalid, "joints[0]"),
        ((MEMBER,), (GOOD, GOOD), JointInvalid, "joints[1].name"),
        ((MEMBER,), (Joint("x" * 257, L2Norm(strength=1.0)),), JointInvalid, "joints[0].name"),
        ((MEMBER,), (GOOD,) * 65, JointInvalid, "joints"),
        ((MEMBER,), (Joint("all", L1Norm(strength=1.0)),), JointInvalid, "joints[0].regularizer"),
        (
            (MEMBER,),
            (Joint("all", NuclearNorm(strength=1.0)),),
            LayoutInvalid,
            "joints[0].regularizer.nuclear_norm",
        ),
        ((MEMBER,), (Joint("all", TopK(count=5)),), FieldOutOfRange, "joints[0].regularizer.top_k.count"),
        ((MEMBER,), (Joint("all", TopK(count=1), -1.0),), FieldOutOfRange, "joints[0].step_size"),
        ((MEMBER,), (Joint("all", TopK(count=1), math.nan),), FieldOutOfRange, "joints[0].step_size"),
        (
            (Segment("w", (4,), L1Norm(strength=1.0), joint="all"),),
            (GOOD,),
            JointInvalid,
            "segments[0].regularizer",
        ),
        ((Segment("w", (4,), step_size=1.0, joint="all"),), (GOOD,), JointInvalid, "segments[0].step_size"),
        (
            (Segment("w", (4,), box=Box(lower=0.0), joint="all"),),
            (GOOD,),
            ModifierUnsupported,
            "segments[0].box",
        ),
        (
            (Segment("w", (4,), smoothing=1.0, joint="all"),),
            (GOOD,),
            ModifierUnsupported,
            "segments[0].smoothing",
        ),
    ],
)
def test_bad_joints_are_refused(
    segments: tuple[Segment, ...], joints: tuple[Joint, ...], error: type[RegularizationError], field: str
) -> None:
    """With the path of the field at fault."""
    with pytest.raises(error) as caught:
        Layout(FLOAT64, segments, joints)
    assert caught.value.field == field


@pytest.mark.parametrize("data_type", [np.float16, ml_dtypes.bfloat16, np.int16])
@pytest.mark.parametrize(
    "regularizer", [L1Ball(radius=0.5), L2Ball(radius=0.5), Simplex(radius=0.5)], ids=repr
)
def test_sets_that_rounding_leaves_are_refused(regularizer: Regularizer, data_type: Any) -> None:
    """For data types in which the rounded point would have to be looked at as a whole."""
    with pytest.raises(JointInvalid, match=regularizer.name):
        Layout(np.dtype(data_type), (MEMBER,), (Joint("all", regularizer),))


def test_ranges_have_all_of_it_or_nothing() -> None:
    """Also where a range ends between two of its segments."""
    layout = mixed(TopK(fraction=0.2))
    first, last = layout.segments[1].start, layout.segments[7].end
    for position in (layout.segments[3].start, layout.segments[4].start, layout.segments[6].end):
        for begin, end in ((0, position), (position, layout.size)):
            with pytest.raises(ElementRangeInvalid, match="joint 'all'") as caught:
                layout.check_range(begin, end)
            assert caught.value.field == ("end" if begin == 0 else "begin")
    for begin, end in ((0, first), (first, last), (last, layout.size), (0, last), (first, layout.size)):
        layout.check_range(begin, end)
        call = a_call(Method.PENALTY, layout, element_range=(begin, end))
        stream(call, {"parameters": np.zeros(end - begin)})
