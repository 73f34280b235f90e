"""Groups along any axis by statistics: the answers of whole arrays, in parts, in little memory."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import Any

import ml_dtypes
import numpy as np
import pytest
from regularization_kernels import (
    GroupLasso,
    GroupMcp,
    Groups,
    GroupScad,
    L2Ball,
    Locality,
    MaxNorm,
    Regularizer,
    SparseGroupLasso,
    compilation,
)
from regularization_kernels.engine import (
    Chunk,
    Figures,
    Joint,
    Layout,
    Measurement,
    Measuring,
    MemoryBudget,
    Method,
    Rounding,
    RoundingMode,
    Segment,
    run_whole,
)
from regularization_kernels.engine.results import ANSWER_BYTES
from regularization_kernels.engine.whole_vectors import measurement, reduced
from regularization_kernels.engine.whole_vectors.measurement import MOST_BYTES
from regularization_kernels.errors import (
    BudgetExceeded,
    ElementRangeInvalid,
    GradientUndefined,
    GroupsInvalid,
    MeasurementInvalid,
    ValueNotFinite,
)
from regularization_kernels.reductions.group_squares import MOST_GROUPS
from regularization_kernels.reductions.resolved import Resolved

from tests.engine.test_measuring import a_random, operands_on
from tests.engine.test_reduced import answered
from tests.support.engine_streams import PLENTY, AnyArray, a_call, elements_of, stream
from tests.support.measuring import combination, in_a_tree, in_parts, measured, round_of

SHAPE = (20, 15, 4)
SIZE = math.prod(SHAPE)
MIDDLE = Groups(axis=1)
WEIGHTED = Groups(axis=2, weights=(0.0, 0.5, 1.0, 3.0))

ROWS: list[Regularizer] = [
    GroupLasso(strength=6.0, groups=MIDDLE),
    GroupLasso(strength=6.0, groups=WEIGHTED),
    GroupLasso(strength=0.0, groups=MIDDLE),
    SparseGroupLasso(l1_strength=0.3, group_strength=4.0, groups=MIDDLE),
    SparseGroupLasso(l1_strength=0.0, group_strength=4.0, groups=WEIGHTED),
    GroupMcp(strength=6.0, concavity=1.5, groups=MIDDLE),
    GroupScad(strength=5.0, concavity=3.7, groups=Groups(axis=2, sqrt_size=True)),
    MaxNorm(radius=8.0, groups=MIDDLE),
    MaxNorm(radius=0.0, groups=MIDDLE),
    MaxNorm(radius=1e-300, groups=MIDDLE),
    MaxNorm(radius=14.0, groups=WEIGHTED),
    L2Ball(radius=8.0, groups=MIDDLE),
]
SETS = [row for row in ROWS if row.traits.indicator]

every_row = pytest.mark.parametrize("regularizer", ROWS, ids=repr)
every_method = pytest.mark.parametrize("method", list(Method), ids=lambda method: method.value)
every_type = pytest.mark.parametrize(
    "data_type",
    [np.float32, np.float64, np.float16, ml_dtypes.bfloat16, np.int16],
    ids=lambda t: np.dtype(t).name,
)


def points() -> list[AnyArray]:
    """Vectors with ties, zeros, groups of zeros, tiny and huge numbers, and one inside most sets."""
    random = np.random.default_rng(7)
    plain = random.normal(size=SHAPE)
    zeros = plain.copy()
    zeros[:, ::2] = 0.0
    zeros[:, :, 1] = -0.0
    scaled = plain * 10.0 ** random.integers(-30, 30, SHAPE[1])[:, np.newaxis]
    found = [plain, np.round(plain, 1), zeros, np.full(SHAPE, -0.5), np.zeros(SHAPE), scaled, plain * 1e-310]
    return [each.ravel() for each in found]


def only(regularizer: Regularizer, data_type: Any, shape: tuple[int, ...] = SHAPE) -> Layout:
    """A layout of one segment."""
    return Layout(np.dtype(data_type), (Segment("w", shape, regularizer),))


@every_method
@every_type
@every_row
def test_answers_are_those_of_whole_arrays(
    monkeypatch: pytest.MonkeyPatch, regularizer: Regularizer, data_type: Any, method: Method
) -> None:
    """To the bit, figures and errors too: how long a segment is must not be seen in its answer."""
    call = a_call(method, only(regularizer, data_type))
    for x in points()[: 5 if np.dtype(data_type).itemsize < 4 else None]:
        operands = operands_on(x, data_type, method)
        whole, expected = answered(call, operands)
        with monkeypatch.context() as patch:
            patch.setattr(reduced, "LONG", 1)
            new, figures = answered(call, operands)
        assert new.tobytes() == whole.tobytes()
        assert figures == expected


@pytest.mark.usefixtures("every_thread")
@every_row
@pytest.mark.parametrize("rounding", [Rounding(), Rounding(RoundingMode.STOCHASTIC, 3)], ids=repr)
def test_cuts_and_threads_do_not_matter(
    monkeypatch: pytest.MonkeyPatch, regularizer: Regularizer, rounding: Rounding
) -> None:
    """A stream cut anywhere, and threads on memory, give the same bits."""
    monkeypatch.setattr(reduced, "LONG", 1)
    shape = (3000, *SHAPE[1:])
    random = np.random.default_rng(1)
    names = ("parameters", "loss_gradients")
    operands = {name: random.normal(size=math.prod(shape)).astype(np.float32) for name in names}
    call = a_call(Method.PROXIMAL_STEP, only(regularizer, np.float32, shape), rounding=rounding)
    whole, figures = answered(call, operands)
    for threads in (2, 3):
        again, same = answered(call, operands, threads)
        assert (again.tobytes(), same) == (whole.tobytes(), figures)
    outcome = stream(call, operands, [1, 1000, 100_003])
    assert (outcome.values.astype(np.float32).tobytes(), outcome.summary.total) == (whole.tobytes(), figures)


def is_cut_in_its_sums(regularizer: Regularizer) -> bool:
    """Whether elements have terms of their own, whose sums may show where a block is cut."""
    return isinstance(regularizer, SparseGroupLasso)


@every_method
@every_row
def test_parts_have_the_bits_of_the_whole(regularizer: Regularizer, method: Method) -> None:
    """Cut anywhere, merged in any tree: results to the bit, and penalties that are known as a whole."""
    random = a_random(regularizer, method)
    for x in points():
        for data_type in (np.float32, np.float64):
            call, operands = a_call(method, only(regularizer, data_type)), operands_on(x, data_type, method)
            cuts = [int(cut) for cut in random.integers(0, SIZE + 1, int(random.integers(0, 7)))]
            whole, figures = answered(call, operands)
            if not isinstance(figures, Figures):
                with pytest.raises(GradientUndefined) as caught:
                    in_parts(call, operands, cuts, random)
                assert (caught.value.element, caught.value.field, caught.value.segment) == figures
                continue
            outcome = in_parts(call, operands, cuts, random)
            assert outcome.values.tobytes() == whole.tobytes()
            total = outcome.summary.total
            assert (total.elements, total.nonzeros) == (SIZE, figures.nonzeros)
            if is_cut_in_its_sums(regularizer) and cuts:
                assert total.penalty is not None
                assert total.penalty.value == pytest.approx(figures.penalty.value, rel=1e-12)
            else:
                assert total.penalty == figures.penalty


@every_method
@pytest.mark.parametrize("data_type", [np.float16, ml_dtypes.bfloat16, np.int8, np.int32])
@pytest.mark.parametrize("regularizer", ROWS[:6:2], ids=repr)
def test_parts_of_narrow_data_types(regularizer: Regularizer, data_type: Any, method: Method) -> None:
    """16 bits and fixed point likewise, of penalties that are no sets."""
    call = a_call(method, only(regularizer, data_type))
    operands = operands_on(points()[0], data_type, method)
    whole, figures = answered(call, operands)
    outcome = in_parts(call, operands, [7, 700], a_random(1))
    assert outcome.values.tobytes() == whole.tobytes()
    assert outcome.summary.total.nonzeros == figures.nonzeros


@pytest.mark.parametrize("regularizer", ROWS[::2], ids=repr)
def test_statistics_merge_to_the_same_bytes(regularizer: Regularizer) -> None:
    """In any order and any tree, however a part is cut into chunks, on any threads."""
    random, x = a_random(9), {"parameters": points()[5]}
    call = a_call(Method.PROXIMAL_STEP, only(regularizer, np.float64))
    asked = round_of(call)
    whole = measured(asked, x, 0, SIZE)
    with Measuring(asked, None, MemoryBudget(PLENTY), threads=3) as part:
        part.feed(Chunk(0, **x))
        assert part.finish() == whole
    for _ in range(10):
        edges = [0, *sorted(map(int, random.integers(0, SIZE + 1, 6))), SIZE]
        parts = [
            measured(asked, x, begin, end, [int(random.integers(0, SIZE))]) for begin, end in pairwise(edges)
        ]
        assert in_a_tree(call, b"", parts, random).statistics() == whole


@pytest.mark.parametrize("regularizer", SETS, ids=repr)
@pytest.mark.parametrize("data_type", [np.float32, np.float64])
def test_a_step_ends_in_its_set(regularizer: Regularizer, data_type: Any) -> None:
    """As the penalty tells of what it gave, and another step then changes nothing."""
    for x in points():
        step = a_call(Method.PROXIMAL_STEP, only(regularizer, data_type))
        new, figures = answered(step, {"parameters": x.astype(data_type)})
        assert figures.penalty.value == 0.0
        _, at_new = answered(a_call(Method.PENALTY, only(regularizer, data_type)), {"parameters": new})
        assert at_new.penalty.value == 0.0
        again, _ = answered(step, {"parameters": new})
        np.testing.assert_array_equal(again, new)


def test_projections_of_many_groups_end_inside() -> None:
    """In float64, where rounding a factor and its products is all that counts: 60,000 groups of a few."""
    random = np.random.default_rng(11)
    for outer in (2, 3, 7):
        shape = (outer, 20_000)
        layout = only(MaxNorm(radius=0.1, groups=Groups(axis=1)), np.float64, shape)
        x = random.normal(size=math.prod(shape))
        new, _ = answered(a_call(Method.PROXIMAL_STEP, layout), {"parameters": x})
        _, at_new = answered(a_call(Method.PENALTY, layout), {"parameters": new})
        assert at_new.penalty.value == 0.0
        norms = np.array([math.hypot(*column) for column in new.reshape(shape).T.tolist()])
        before = np.array([math.hypot(*column) for column in x.reshape(shape).T.tolist()])
        np.testing.assert_allclose(norms, np.minimum(before, 0.1), rtol=2e-15)


@every_method
@every_row
@pytest.mark.parametrize("special", [math.nan, math.inf, -math.inf])
def test_what_is_not_finite_is_as_in_whole_arrays(
    monkeypatch: pytest.MonkeyPatch, regularizer: Regularizer, method: Method, special: float
) -> None:
    """Where the call takes it, in its groups alone; else it is rejected, and named."""
    x = points()[0]
    x[[17, 900]] = special
    call = a_call(method, only(regularizer, np.float64), propagate_non_finite=True)
    whole, expected = answered(call, {"parameters": x})
    monkeypatch.setattr(reduced, "LONG", 1)
    new, figures = answered(call, {"parameters": x})
    np.testing.assert_array_equal(new, whole)
    if isinstance(expected, Figures):
        assert repr(figures.penalty) == repr(expected.penalty)
        parts = in_parts(call, {"parameters": x}, [100, 2000 % SIZE], a_random(1))
        np.testing.assert_array_equal(parts.values, whole)
    with pytest.raises(ValueNotFinite) as caught:
        answered(a_call(method, only(regularizer, np.float64)), {"parameters": x})
    assert caught.value.element == 17


@pytest.mark.parametrize("shape", [(0, 3), (3, 0), (1, 1), (1, 5), (5, 1), (2, 1, 3), (4, 2, 0), (2, 2)])
@pytest.mark.parametrize("regularizer", ROWS[:1] + ROWS[3:4] + ROWS[5:6] + ROWS[7:8], ids=repr)
def test_small_and_empty_shapes(
    monkeypatch: pytest.MonkeyPatch, regularizer: Regularizer, shape: tuple[int, ...]
) -> None:
    """One element, one group, none of them: the same by statistics."""
    x = np.linspace(-20.0, 30.0, math.prod(shape))
    call = a_call(Method.PROXIMAL_STEP, only(regularizer, np.float64, shape))
    whole, expected = answered(call, {"parameters": x})
    monkeypatch.setattr(reduced, "LONG", 1)
    new, figures = answered(call, {"parameters": x})
    assert (new.tobytes(), figures) == (whole.tobytes(), expected)


@pytest.mark.parametrize("regularizer", ROWS[::3], ids=repr)
def test_a_stream_holds_its_segment_as_it_came(regularizer: Regularizer) -> None:
    """Parameters, results, what a piece takes, and two answers that wait: no copy in float64."""
    shape = (1 << 15, *SHAPE[1:])
    size = math.prod(shape)
    call = a_call(Method.PROXIMAL_STEP, only(regularizer, np.float32, shape))
    operands = {"parameters": np.random.default_rng(0).normal(size=size).astype(np.float32)}
    needed = 2 * 4 * size + (16 << 20) + 2 * ANSWER_BYTES
    stream(call, operands, [1000, 500_000], MemoryBudget(needed))
    with pytest.raises(BudgetExceeded):
        stream(call, operands, [1000, 500_000], MemoryBudget(needed - 1))


@pytest.mark.parametrize("regularizer", ROWS[::3], ids=repr)
def test_memory_that_is_there_is_not_copied(regularizer: Regularizer) -> None:
    """Nothing of the budget is taken, and the result may lie over the parameters."""
    shape = (1 << 15, *SHAPE[1:])
    call = a_call(Method.PROXIMAL_STEP, only(regularizer, np.float32, shape))
    x = np.random.default_rng(0).normal(size=math.prod(shape)).astype(np.float32)
    expected = stream(call, {"parameters": x}).values.astype(np.float32)
    run_whole(call, Chunk(0, x), x, MemoryBudget(0))
    np.testing.assert_array_equal(x, expected)


@pytest.mark.parametrize("rounding", [Rounding(), Rounding(RoundingMode.STOCHASTIC, 3)], ids=repr)
@pytest.mark.parametrize(
    ("regularizer", "data_type"),
    [
        (ROWS[0], np.float32),
        (ROWS[1], ml_dtypes.bfloat16),
        (ROWS[3], np.float32),
        (ROWS[4], np.int16),
        (ROWS[7], np.float64),
    ],
    ids=repr,
)
def test_compiled_rules_have_the_bits_of_numpy(
    monkeypatch: pytest.MonkeyPatch, regularizer: Regularizer, data_type: Any, rounding: Rounding
) -> None:
    """With and without a step before, figures included."""
    pytest.importorskip("numba")
    runs = []

    def counted(*arguments: Any) -> int:
        runs.append(1)
        return run(*arguments)

    run = Resolved._run
    monkeypatch.setattr(Resolved, "_run", counted)
    monkeypatch.setattr(compilation.patience, "pieces", 0)
    monkeypatch.setattr(reduced, "LONG", 1)
    for x in points()[:3]:
        elements, slopes = (elements_of(each, np.dtype(data_type)) for each in (x, 0.1 * x[::-1]))
        for operands in ({"parameters": elements}, {"parameters": elements, "loss_gradients": slopes}):
            for method in (Method.PENALTY, Method.PROXIMAL_STEP)[len(operands) - 1 :]:
                call = a_call(method, only(regularizer, data_type), rounding=rounding)
                monkeypatch.setattr(compilation, "SMALLEST", SIZE + 1)
                by_numpy, expected = answered(call, operands)
                monkeypatch.setattr(compilation, "SMALLEST", 1)
                answered(call, operands)
                compilation.wait_until_compiled()
                runs.clear()
                by_loop, figures = answered(call, operands)
                assert runs, method
                assert by_loop.tobytes() == by_numpy.tobytes()
                assert figures == expected


def test_localities_are_told() -> None:
    """Runs go as groups; slices by statistics, but for sets that rounding may leave, and too many."""

    def of(regularizer: Regularizer, shape: tuple[int, ...] = SHAPE, data_type: Any = np.float32) -> Locality:
        return only(regularizer, data_type, shape).segments[0].locality

    assert of(GroupLasso(strength=1.0, groups=Groups(axis=0))) is Locality.GROUP
    assert {of(row) for row in ROWS} == {Locality.REDUCTION}
    assert of(ROWS[0], data_type=np.int16) is Locality.REDUCTION
    assert of(ROWS[7], data_type=np.int16) is Locality.SEGMENT
    assert of(ROWS[0], (2, MOST_GROUPS)) is Locality.REDUCTION
    assert of(ROWS[0], (2, MOST_GROUPS + 1)) is Locality.SEGMENT


def test_statistics_and_measurements_of_most_groups_are_below_a_mebibyte() -> None:
    """As many groups as there may be, with long digits, and in a gradient two figures of each."""
    shape = (40, MOST_GROUPS)
    random = np.random.default_rng(4)
    x = random.normal(size=math.prod(shape)) * 10.0 ** random.integers(-12, 12, math.prod(shape))
    for method in Method:
        call = a_call(method, only(GroupLasso(strength=1.0, groups=Groups(axis=1)), np.float64, shape))
        whole, figures = answered(call, {"parameters": x})
        outcome = in_parts(call, {"parameters": x}, [x.size // 2 + 1], a_random(0))
        assert outcome.values.tobytes() == whole.tobytes()
        assert outcome.summary.total.penalty == figures.penalty
        assert 600_000 < outcome.most_statistics < 1 << 20
        assert outcome.most_measurement < MOST_BYTES


def test_vectors_with_too_many_groups_for_one_measurement_stay_whole() -> None:
    """Those that come first are measured; the others are cut nowhere, and have the same bits."""
    shape, by_column = (3, MOST_GROUPS), GroupLasso(strength=1.0, groups=Groups(axis=1))
    names = ("a", "b", "c")
    layout = Layout(np.dtype(np.float32), tuple(Segment(name, shape, by_column) for name in names))
    x = np.random.default_rng(0).normal(size=layout.size).astype(np.float32)
    call = a_call(Method.PROXIMAL_STEP, layout)
    whole, figures = answered(call, {"parameters": x})
    assert [vector.segments[0].name for vector in measurement.vectors_of(call)] == ["a"]
    outcome = in_parts(call, {"parameters": x}, [7, layout.starts[1], layout.starts[2]], a_random(2), PLENTY)
    assert outcome.values.tobytes() == whole.tobytes()
    assert outcome.summary.total.penalty == figures.penalty
    applied = Measurement.read(call, outcome.measurement)
    with pytest.raises(ElementRangeInvalid):
        applied.applied((0, layout.starts[1] + 7))


def test_a_measurement_belongs_to_its_shape() -> None:
    """The same elements along another axis are other groups, and so are other weights."""
    x = {"parameters": points()[0]}
    call = a_call(Method.PENALTY, only(ROWS[0], np.float64))
    known = combination(call, b"", [measured(round_of(call), x, 0, SIZE)]).measurement().written()
    Measurement.read(call, known)
    for regularizer, shape in ((ROWS[0], (40, 15, 2)), (ROWS[0], (10, 30, 4)), (ROWS[1], SHAPE)):
        other = a_call(Method.PENALTY, only(regularizer, np.float64, shape))
        with pytest.raises(MeasurementInvalid):
            Measurement.read(other, known)


def test_slices_are_no_joint_regularizer() -> None:
    """To a joint regularizer all elements are one vector, which has no second axis."""
    segments = (Segment("a", (4, 5), joint="all"), Segment("b", (4, 5), joint="all"))
    with pytest.raises(GroupsInvalid):
        Layout(np.dtype(np.float32), segments, (Joint("all", ROWS[0]),))
