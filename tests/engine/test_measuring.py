"""Vectors in parts that are measured in rounds: the bits of one place, whatever the cuts and the order."""

from __future__ import annotations

import math
import zlib
from dataclasses import replace
from itertools import pairwise
from typing import Any

import ml_dtypes
import numpy as np
import pytest
from regularization_kernels import (
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
    FigureChoice,
    Figures,
    Joint,
    Layout,
    Measurement,
    Measuring,
    MemoryBudget,
    Method,
    Operand,
    Rounding,
    RoundingMode,
    Run,
    Segment,
    run_whole,
)
from regularization_kernels.engine.whole_vectors.measurement import MOST_BYTES, MOST_ELEMENTS, Known
from regularization_kernels.errors import (
    BudgetExceeded,
    ElementRangeInvalid,
    GradientUndefined,
    MeasurementIncomplete,
    MeasurementInvalid,
    OperandInconsistent,
    OperandUnsupported,
    StatisticsInvalid,
    StatisticsOverlap,
    StreamTooShort,
    ValueNotFinite,
)
from regularization_kernels.reductions.resolved import Resolved
from regularization_kernels.reductions.rules import Lowered

from tests.engine.test_reduced import ROWS, SIZE, answered, only, points
from tests.support.engine_streams import PLENTY, AnyArray, a_call, elements_of
from tests.support.measuring import Outcome, combination, computed, in_a_tree, in_parts, measured, round_of
from tests.support.together import for_each

FEW: list[Regularizer] = [
    TopK(count=500),
    L1Ball(radius=20.0),
    Simplex(radius=3000.0),
    L2Ball(radius=0.5),
    L2Norm(strength=0.3),
    LinfNorm(strength=2.0),
]
"""One of each kind."""

every_row = pytest.mark.parametrize("regularizer", ROWS, ids=repr)
one_of_each = pytest.mark.parametrize("regularizer", FEW, ids=repr)
every_method = pytest.mark.parametrize("method", list(Method), ids=lambda method: method.value)


def a_random(*of: Any) -> np.random.Generator:
    """Random numbers that are a test's own, the same in every run."""
    return np.random.default_rng(zlib.crc32(repr(of).encode()))


def operands_on(x: AnyArray, data_type: Any, method: Method) -> dict[str, AnyArray]:
    """A point, and what a step takes beside it."""
    operands = {"parameters": elements_of(x, np.dtype(data_type))}
    if method is Method.PROXIMAL_STEP:
        operands["loss_gradients"] = elements_of(0.1 * x[::-1], np.dtype(data_type))
    return operands


def check_parts(call: Call, operands: dict[str, AnyArray], random: np.random.Generator) -> Outcome | None:
    """A call in parts, cut anywhere, has the bits of one that has all; None where it has no gradient."""
    size = operands["parameters"].size
    cuts = [int(cut) for cut in random.integers(0, size + 1, int(random.integers(0, 7)))]
    whole, figures = answered(call, operands)
    if not isinstance(figures, Figures):
        with pytest.raises(GradientUndefined) as caught:
            in_parts(call, operands, cuts, random)
        assert (caught.value.element, caught.value.field, caught.value.segment) == figures
        return None
    outcome = in_parts(call, operands, cuts, random)
    assert outcome.values.tobytes() == whole.tobytes()
    total = outcome.summary.total
    assert (total.elements, total.penalty, total.nonzeros) == (size, figures.penalty, figures.nonzeros)
    if not cuts:
        assert total.squared_distance == figures.squared_distance
    return outcome


@every_method
@every_row
def test_parts_have_the_bits_of_the_whole(regularizer: Regularizer, method: Method) -> None:
    """Cut anywhere, merged in any tree: ties, zeros, tiny and huge numbers, inside sets and outside."""
    random = a_random(regularizer, method)
    for x in points():
        for data_type in (np.float32, np.float64):
            call = a_call(method, only(regularizer, data_type))
            check_parts(call, operands_on(x, data_type, method), random)


@every_method
@pytest.mark.parametrize("data_type", [np.float16, ml_dtypes.bfloat16, np.int8, np.int16, np.int32])
@pytest.mark.parametrize(
    "regularizer", [TopK(count=500), L2Norm(strength=0.3), LinfNorm(strength=2.0)], ids=repr
)
def test_parts_of_narrow_data_types(regularizer: Regularizer, data_type: Any, method: Method) -> None:
    """16 bits and fixed point likewise, where no set is left by rounding."""
    random = a_random(regularizer, method)
    for x in points()[:3]:
        check_parts(a_call(method, only(regularizer, data_type)), operands_on(x, data_type, method), random)


@pytest.mark.parametrize("data_type", [np.float16, ml_dtypes.bfloat16, np.int16])
def test_sets_that_rounding_may_leave_stay_whole(data_type: Any) -> None:
    """Nothing of them is measured, so a range holds them whole, with a measurement as without."""
    call = a_call(Method.PROXIMAL_STEP, only(L1Ball(radius=20.0), data_type))
    after = combination(call, b"", []).measurement()
    assert after.is_complete
    with pytest.raises(ElementRangeInvalid):
        after.applied((0, 100))


@one_of_each
def test_rounding_at_random_goes_by_the_place_in_the_vector(regularizer: Regularizer) -> None:
    """Also where the penalty of the result is measured."""
    rounding = Rounding(RoundingMode.STOCHASTIC, 7)
    call = a_call(Method.PROXIMAL_STEP, only(regularizer, np.float32), rounding=rounding)
    check_parts(call, operands_on(points()[0], np.float32, Method.PROXIMAL_STEP), a_random(3))


@every_method
@one_of_each
@pytest.mark.parametrize("special", [math.nan, math.inf, -math.inf])
def test_what_is_not_finite_is_as_in_one_place(
    regularizer: Regularizer, method: Method, special: float
) -> None:
    """Where the call takes it; else it is rejected, and the first is named, whatever thread met it first."""
    x = points()[0]
    x[[17, 3000]] = special
    call = a_call(method, only(regularizer, np.float64), propagate_non_finite=True)
    whole, figures = answered(call, {"parameters": x})
    if not isinstance(figures, Figures):
        with pytest.raises(GradientUndefined):
            in_parts(call, {"parameters": x}, [100, 2000], a_random(1))
    else:
        outcome = in_parts(call, {"parameters": x}, [100, 2000], a_random(1))
        np.testing.assert_array_equal(outcome.values, whole)
        assert repr(outcome.summary.total.penalty) == repr(figures.penalty)
    asked = round_of(a_call(method, only(regularizer, np.float64)))
    for threads in (1, 2):
        with Measuring(asked, None, MemoryBudget(PLENTY), threads) as part:
            with pytest.raises(ValueNotFinite) as caught:
                part.feed(Chunk(0, x))
            assert (caught.value.element, caught.value.field) == (17, "parameters")


@pytest.mark.parametrize("size", [1, 2, 3])
@every_method
@one_of_each
def test_vectors_of_few_elements(regularizer: Regularizer, method: Method, size: int) -> None:
    """One, or as many as there are parts, or fewer."""
    regularizer = TopK(count=1) if isinstance(regularizer, TopK) else regularizer
    for numbers in ([0.0, 0.0, 0.0], [3.0, -3.0, 1e-320], [1e30, 1.0, -1e30]):
        x = np.array(numbers[:size])
        check_parts(a_call(method, only(regularizer, np.float64, size)), {"parameters": x}, a_random(size))


def mixed(data_type: Any = np.float32) -> Layout:
    """Segments that are measured among others, one of them empty, with step sizes of their own."""
    return Layout(
        np.dtype(data_type),
        (
            Segment("first", (40, 50), TopK(count=77)),
            Segment("bias", (5,)),
            Segment("nothing", (0, 3), L2Norm(strength=1.0)),
            Segment("elements", (300,), L1Norm(strength=0.1)),
            Segment("norm", (1000,), L2Norm(strength=0.5), step_size=0.9),
            Segment("scalar", (), L1Ball(radius=0.1)),
            Segment("smooth", (20,), L2Norm(strength=0.5), smoothing=0.3),
            Segment("matrix", (6, 5), NuclearNorm(strength=0.2)),
            Segment("last", (800,), LinfNorm(strength=1.5)),
        ),
    )


@every_method
def test_several_vectors_in_one_layout(method: Method) -> None:
    """Each round is about those that are not settled; what lies between them is cut where it may be."""
    layout = mixed()
    if method is Method.GRADIENT:
        kept = [
            each for each in mixed().segments if not each.specification.name.startswith(("first", "scalar"))
        ]
        layout = Layout(np.dtype(np.float32), tuple(each.specification for each in kept))
    x = np.random.default_rng(2).normal(size=layout.size).astype(np.float32)
    call = a_call(method, layout)
    start = {segment.name: segment.start for segment in layout.segments}
    cuts = [start["norm"] + 1, start["elements"], start["last"] + 799]
    whole, figures = answered(call, {"parameters": x})
    outcome = in_parts(call, {"parameters": x}, cuts, a_random(5), PLENTY)
    assert outcome.values.tobytes() == whole.tobytes()
    assert outcome.summary.total.penalty == figures.penalty


@every_method
@one_of_each
def test_joint_regularizers_are_measured_as_one(regularizer: Regularizer, method: Method) -> None:
    """Their segments lie among others, and among those of another, and any of them may be cut."""
    layout = Layout(
        np.dtype(np.float32),
        (
            Segment("a", (500,), joint="all"),
            Segment("bias", (7,)),
            Segment("own", (300,), L2Norm(strength=0.3)),
            Segment("b", (20, 30), joint="all"),
            Segment("nothing", (0,), joint="all"),
            Segment("c", (200,), joint="few"),
            Segment("d", (100,), joint="all"),
            Segment("e", (44,), joint="few"),
        ),
        (Joint("all", regularizer), Joint("few", L1Ball(radius=2.0))),
    )
    x = np.random.default_rng(1).normal(size=layout.size) * (1e-3 if method is Method.GRADIENT else 1.0)
    for seed in range(3):
        check_parts(a_call(method, layout), operands_on(x, np.float32, method), a_random(seed))


def test_a_round_asks_only_of_what_is_not_settled() -> None:
    """A norm needs one round, the least of the largest two: then the norm is missing no longer."""
    layout = mixed()
    call = a_call(Method.PROXIMAL_STEP, layout, figures=FigureChoice(penalty=False))
    x = np.random.default_rng(2).normal(size=layout.size).astype(np.float32)
    segments = {segment.name: (segment.start, segment.end) for segment in layout.segments}
    first = combination(call, b"", [])
    assert (
        first.missing()
        == first.first_measured()
        == [
            segments["first"],
            (segments["norm"][0], segments["scalar"][1]),
            segments["last"],
        ]
    )
    half = combination(call, b"", [measured(round_of(call), {"parameters": x}, 0, 100)])
    assert half.missing()[0] == (100, 2000)
    after = combination(
        call, b"", [measured(round_of(call), {"parameters": x}, 0, layout.size)]
    ).measurement()
    second = combination(call, after.written(), [])
    assert second.missing() == [segments["first"]]
    assert second.first_measured() == []


@one_of_each
def test_statistics_merge_to_the_same_bytes(regularizer: Regularizer) -> None:
    """In any order and any tree, and a part's are the same however it is cut into chunks, on any threads."""
    random, x = a_random(9), {"parameters": points()[0]}
    call = a_call(Method.PROXIMAL_STEP, only(regularizer, np.float64))
    asked = round_of(call)
    whole = measured(asked, x, 0, SIZE)
    with Measuring(asked, None, MemoryBudget(PLENTY), threads=3) as part:
        part.feed(Chunk(0, **x))
        assert part.finish() == whole
    for _ in range(20):
        cuts = sorted(map(int, random.integers(0, SIZE + 1, 6)))
        edges = [0, *cuts, SIZE]
        parts = [
            measured(asked, x, begin, end, [int(random.integers(0, SIZE))]) for begin, end in pairwise(edges)
        ]
        assert in_a_tree(call, b"", parts, random).statistics() == whole
        some = [parts[0], parts[3], parts[5]]
        expected = combination(call, b"", some).statistics()
        assert in_a_tree(call, b"", some, random).statistics() == expected


def test_threads_measure_long_vectors_alike() -> None:
    """Pieces on several threads have the statistics of one."""
    x = np.random.default_rng(0).normal(size=(1 << 19) + 77).astype(np.float32)
    asked = round_of(a_call(Method.PROXIMAL_STEP, only(TopK(count=1000), np.float32, x.size)))
    found = []
    for threads in (1, 3):
        with Measuring(asked, None, MemoryBudget(PLENTY), threads) as part:
            part.feed(Chunk(0, x))
            found.append(part.finish())
    assert found[0] == found[1]


def in_every_bin(region: float) -> AnyArray:
    """A number in every bin of the first census, each a little above the bin's first."""
    lowest = int(np.array(region).view(np.int64))
    keys = lowest + (np.arange(1 << 15, dtype=np.int64) << 44) + ((1 << 44) - 1 - np.arange(1 << 15))
    return keys.view(np.float64)


def test_the_longest_statistics_are_below_a_mebibyte() -> None:
    """All 2^15 bins in use, with counts and sums that take all their bytes, and several vectors at once."""
    numbers = in_every_bin(2.0**-100)
    x = np.concatenate([numbers, np.repeat(numbers[-1], 70_000)])
    layout = Layout(
        np.dtype(np.float64), tuple(Segment(f"{i}", (x.size,), TopK(count=x.size // 2)) for i in range(3))
    )
    operands = {"parameters": np.concatenate([x, -x, x])}
    call = a_call(Method.PROXIMAL_STEP, layout)
    whole, figures = answered(call, operands)
    outcome = in_parts(call, operands, [x.size + 1], a_random(0))
    assert outcome.values.tobytes() == whole.tobytes()
    assert outcome.summary.total.penalty == figures.penalty
    assert 600_000 < outcome.most_statistics < 1 << 20
    assert outcome.most_measurement < 1 << 14


def test_the_longest_measurement_is_below_a_mebibyte() -> None:
    """Ten thousand vectors: as many are asked at a time as fit, and in the end all have their rule there."""
    segments = tuple(Segment(f"{i}", (3,), LinfNorm(strength=0.1)) for i in range(10_000))
    layout = Layout(np.dtype(np.float64), segments)
    call = a_call(Method.PROXIMAL_STEP, layout, figures=FigureChoice(penalty=False))
    asked = round_of(call)
    assert 100 < len(asked.pending) < len(segments)
    x = np.random.default_rng(0).normal(size=layout.size)
    statistics = measured(asked, {"parameters": x}, 0, x.size)
    after = combination(call, b"", [statistics]).measurement()
    settled = replace(
        after, known=(Known(b"", Resolved(Lowered(0.1, 0.2, magnitudes=True), (1.0,))),) * 10_000
    )
    assert len(statistics) < 1 << 20
    assert len(after.written()) < MOST_BYTES
    assert len(settled.written()) < MOST_BYTES // 2


def test_a_part_holds_statistics_and_no_elements() -> None:
    """As much of the budget for a long vector as for a short one; what does not fit is refused before."""
    taken = []
    for size in (1 << 16, 1 << 20):
        budget = MemoryBudget(PLENTY)
        call = a_call(Method.PROXIMAL_STEP, only(TopK(count=5), np.float32, size))
        with Measuring(round_of(call), None, budget) as part:
            part.feed(Chunk(0, np.ones(size, np.float32)))
            taken.append(budget.used)
        assert budget.used == 0
        with pytest.raises(BudgetExceeded):
            Measuring(round_of(call), None, MemoryBudget(taken[-1] - 1))
    assert taken[0] <= taken[1] < 4 << 20


@pytest.mark.parametrize("operand", [Operand.REFERENCE, Operand.WEIGHTS, Operand.STEP_SCALES])
def test_other_operands_are_not_measured(operand: Operand) -> None:
    """Nor taken by a call with the measurement: a set's rounding would need all of its elements."""
    x = points()[0]
    call = a_call(Method.PROXIMAL_STEP, only(L2Norm(strength=0.3), np.float64))
    with (
        Measuring(round_of(call), None, MemoryBudget(PLENTY)) as part,
        pytest.raises(OperandUnsupported) as caught,
    ):
        part.feed(Chunk(0, x, **{operand.value: np.ones(SIZE)}))
    assert caught.value.field == operand.value
    known = in_parts(call, {"parameters": x}, [], a_random(0)).measurement
    own = Measurement.read(call, known).applied((10, 20))
    with Run(own, MemoryBudget(0)) as run, pytest.raises(OperandUnsupported) as caught:
        run.feed(Chunk(10, x[10:20], **{operand.value: np.ones(10)}))
    assert caught.value.field == operand.value


def test_a_step_is_as_it_was_measured() -> None:
    """With loss gradients in all parts and rounds and in the call, or in none."""
    x, g = points()[0], points()[1]
    call = a_call(Method.PROXIMAL_STEP, only(L2Norm(strength=0.3), np.float64))
    asked = round_of(call)
    with_gradients = measured(asked, {"parameters": x, "loss_gradients": g}, 0, 100)
    without = measured(asked, {"parameters": x}, 100, SIZE)
    with pytest.raises(StatisticsInvalid, match="measured with loss gradients"):
        combination(call, b"", [with_gradients, without])
    both = {"parameters": x, "loss_gradients": g}
    once = combination(call, b"", [measured(asked, both, 0, SIZE)]).measurement().written()
    with pytest.raises(StatisticsInvalid, match="measured with loss gradients"):
        combination(call, once, [measured(round_of(call, once), {"parameters": x}, 0, SIZE)])
    known = in_parts(call, both, [], a_random(0)).measurement
    with pytest.raises(OperandInconsistent, match="must be set: so segment 'w' was measured"):
        computed(call, known, {"parameters": x}, [(0, 100)])


def test_of_a_gradient_loss_gradients_make_no_difference() -> None:
    """They are added to what the regularizer gives, so parts may be measured without."""
    x, g = points()[0], points()[1]
    call = a_call(Method.GRADIENT, only(L2Norm(strength=0.3), np.float64))
    known = in_parts(call, {"parameters": x}, [100], a_random(0)).measurement
    operands = {"parameters": x, "loss_gradients": g}
    whole, _ = answered(call, operands)
    values, _ = computed(call, known, operands, [(0, 7), (7, SIZE)])
    assert values.tobytes() == whole.tobytes()


def test_an_element_is_in_one_part() -> None:
    """The first that is in two is named."""
    x = {"parameters": points()[0]}
    call = a_call(Method.PROXIMAL_STEP, only(TopK(count=3), np.float64))
    asked = round_of(call)
    parts = [measured(asked, x, begin, end) for begin, end in ((0, 100), (200, 300), (99, 250))]
    with pytest.raises(StatisticsOverlap) as caught:
        combination(call, b"", parts)
    assert (caught.value.element, caught.value.field) == (99, "statistics")


CALL = a_call(Method.PROXIMAL_STEP, only(TopK(count=3), np.float64))
OTHERS = {
    "count": a_call(Method.PROXIMAL_STEP, only(TopK(count=4), np.float64)),
    "regularizer": a_call(Method.PROXIMAL_STEP, only(L1Ball(radius=3.0), np.float64)),
    "length": a_call(Method.PROXIMAL_STEP, only(TopK(count=3), np.float64, SIZE - 1)),
    "data type": a_call(Method.PROXIMAL_STEP, only(TopK(count=3), np.float32)),
    "place": a_call(
        Method.PROXIMAL_STEP,
        Layout(np.dtype(np.float64), (Segment("b", (1,)), Segment("w", (SIZE - 1,), TopK(count=3)))),
    ),
    "method": a_call(Method.PENALTY, only(TopK(count=3), np.float64)),
    "step size": replace(CALL, step_size=0.5),
    "figures": replace(CALL, figures=FigureChoice(penalty=False)),
    "policy": replace(CALL, propagate_non_finite=True),
    "rounding": replace(CALL, rounding=Rounding(RoundingMode.STOCHASTIC, 1)),
}


@pytest.mark.parametrize("name", OTHERS)
def test_measurements_and_statistics_belong_to_their_call(name: str) -> None:
    """Those of another are refused, whatever differs."""
    other, x = OTHERS[name], {"parameters": points()[0]}
    statistics = measured(round_of(CALL), x, 0, SIZE)
    with pytest.raises(StatisticsInvalid, match="must be of the header and its measurement"):
        combination(other, b"", [statistics])
    known = combination(CALL, b"", [statistics]).measurement().written()
    with pytest.raises(MeasurementInvalid, match="must be of the header's layout"):
        Measurement.read(other, known)


def test_statistics_belong_to_their_round() -> None:
    """Those of the first are no answer to the second, nor to that after other elements."""
    x, y = {"parameters": points()[0]}, {"parameters": points()[1]}
    first = measured(round_of(CALL), x, 0, SIZE)
    known = combination(CALL, b"", [first]).measurement().written()
    with pytest.raises(StatisticsInvalid):
        combination(CALL, known, [first])
    other = combination(CALL, b"", [measured(round_of(CALL), y, 0, SIZE)]).measurement().written()
    second = measured(round_of(CALL, known), x, 0, SIZE)
    with pytest.raises(StatisticsInvalid):
        combination(CALL, other, [second])


def test_an_incomplete_measurement_is_for_the_next_round_alone() -> None:
    """A method needs all that is to be known."""
    known = combination(
        CALL, b"", [measured(round_of(CALL), {"parameters": points()[0]}, 0, SIZE)]
    ).measurement()
    with pytest.raises(MeasurementIncomplete) as caught:
        known.applied(None)
    assert (caught.value.field, caught.value.segment) == ("measurement", "w")


def test_a_part_must_be_whole() -> None:
    """A stream that ends too soon gives no statistics, nor one whose range leaves the layout."""
    with Measuring(round_of(CALL), (10, 20), MemoryBudget(PLENTY)) as part:
        part.feed(Chunk(10, np.ones(9)))
        with pytest.raises(StreamTooShort):
            part.finish()
    with pytest.raises(ElementRangeInvalid) as caught:
        Measuring(round_of(CALL), (10, SIZE + 1), MemoryBudget(PLENTY))
    assert caught.value.field == "element_range.end"


def test_what_needs_no_figures_is_complete_at_once() -> None:
    """A layout without such segments, and a penalty that nobody asks for."""
    exempt = a_call(
        Method.PROXIMAL_STEP, Layout(np.dtype(np.float64), (Segment("w", (5,), L1Norm(strength=1.0)),))
    )
    unasked = a_call(Method.PENALTY, only(TopK(count=3), np.float64), figures=FigureChoice(penalty=False))
    for call in (exempt, unasked):
        parts = combination(call, b"", [])
        assert parts.missing() == []
        assert parts.measurement().is_complete
    known = combination(unasked, b"", []).measurement().written()
    _, summary = computed(unasked, known, {"parameters": points()[0]}, [(0, 3), (3, SIZE)])
    assert summary.total.nonzeros == np.count_nonzero(points()[0])


@one_of_each
@for_each("size", [MOST_ELEMENTS, MOST_ELEMENTS + 1, 1 << 41, (1 << 60) - 1])
def test_vectors_of_which_sums_might_overflow_stay_whole(regularizer: Regularizer, size: int) -> None:
    """However many elements a layout names, a round is known; longer vectors than the longest have none."""
    for data_type in (np.float32, np.float64):
        call = a_call(Method.PENALTY, only(regularizer, data_type, size))
        asked = round_of(call)
        assert bool(asked.pending) is (size <= MOST_ELEMENTS)
        assert asked.most_bytes <= 1 << 20
        parts = combination(call, b"", [])
        assert parts.missing() == parts.first_measured() == ([(0, size)] if asked.pending else [])


def test_memory_that_is_there_is_computed_with_a_measurement() -> None:
    """On threads, in place, and with nothing taken from the budget."""
    x = np.random.default_rng(0).normal(size=1 << 19).astype(np.float32)
    call = a_call(Method.PROXIMAL_STEP, only(TopK(count=1000), np.float32, x.size))
    known = in_parts(call, {"parameters": x}, [12345], a_random(0)).measurement
    whole, _ = answered(call, {"parameters": x})
    begin = 99_999
    own = Measurement.read(call, known).applied((begin, x.size))
    run_whole(own, Chunk(begin, x[begin:]), x[begin:], MemoryBudget(0), threads=2)
    assert x[begin:].tobytes() == whole[begin:].tobytes()
