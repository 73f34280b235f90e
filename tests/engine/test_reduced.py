"""Long segments by statistics of their parts: the answers of whole arrays, cut anywhere, in little memory."""

from __future__ import annotations

import gc
import math
import weakref
from dataclasses import replace
from fractions import Fraction
from itertools import count, islice
from typing import Any

import ml_dtypes
import numpy as np
import pytest
from regularization_kernels import (
    L1Ball,
    L2Ball,
    L2Norm,
    LinfNorm,
    Regularizer,
    Simplex,
    TopK,
    compilation,
    proximal_step,
)
from regularization_kernels.engine import (
    Call,
    Chunk,
    Figures,
    Layout,
    MemoryBudget,
    Method,
    Rounding,
    RoundingMode,
    Segment,
    run_whole,
)
from regularization_kernels.engine.results import ANSWER_BYTES
from regularization_kernels.engine.whole_vectors import reduced
from regularization_kernels.errors import BudgetExceeded, GradientUndefined, ValueNotFinite
from regularization_kernels.reductions.census import Census, CensusQuestion, Interval, Order
from regularization_kernels.reductions.exact_sums import sum_of_squares
from regularization_kernels.reductions.resolved import Resolved

from tests.regularizers.test_volatile_memory import Changing, calls_on
from tests.support.engine_streams import PLENTY, AnyArray, a_call, elements_of, stream

SIZE = 5000

ROWS: list[Regularizer] = [
    TopK(count=500),
    TopK(count=0),
    TopK(count=SIZE),
    L1Ball(radius=20.0),
    L1Ball(radius=0.0),
    L1Ball(radius=1e6),
    Simplex(radius=1.0),
    Simplex(radius=3000.0),
    L2Ball(radius=0.5),
    L2Ball(radius=1e6),
    L2Norm(strength=0.3),
    L2Norm(strength=1e3),
    LinfNorm(strength=2.0),
    LinfNorm(strength=0.0),
    LinfNorm(strength=1e6),
]
DATA_TYPES = [np.float32, np.float64, np.float16, ml_dtypes.bfloat16, np.int16]

every_row = pytest.mark.parametrize("regularizer", ROWS, ids=repr)
every_type = pytest.mark.parametrize("data_type", DATA_TYPES, ids=lambda each: np.dtype(each).name)
every_method = pytest.mark.parametrize("method", list(Method), ids=lambda method: method.value)


@pytest.fixture
def by_statistics(monkeypatch: pytest.MonkeyPatch) -> None:
    """Has segments of any length computed by statistics."""
    monkeypatch.setattr(reduced, "LONG", 1)


def points() -> list[AnyArray]:
    """Vectors with ties, zeros, tiny and huge numbers, and one inside most sets."""
    random = np.random.default_rng(7)
    plain = random.normal(size=SIZE)
    return [
        plain,
        np.round(plain, 1),
        np.where(random.random(SIZE) < 0.95, 0.0, plain),
        np.full(SIZE, -0.5),
        np.zeros(SIZE),
        plain * 10.0 ** random.integers(-30, 4, SIZE),
    ]


def only(regularizer: Regularizer, data_type: Any, size: int = SIZE) -> Layout:
    """A layout of one segment."""
    return Layout(np.dtype(data_type), (Segment("w", (size,), regularizer),))


def answered(call: Call, operands: dict[str, AnyArray], threads: int = 1) -> tuple[AnyArray, Any]:
    """The results and figures of a call on elements that are all there, or its error."""
    out = np.empty_like(operands["parameters"])
    chunk = Chunk(0, **operands)
    target = None if call.method is Method.PENALTY else out
    try:
        summary = run_whole(call, chunk, target, MemoryBudget(PLENTY), threads)
    except GradientUndefined as error:
        return np.zeros(0), (error.element, error.field, error.segment)
    return out if target is not None else np.zeros(0), summary.total


@every_method
@every_type
@every_row
def test_answers_are_those_of_whole_arrays(
    monkeypatch: pytest.MonkeyPatch, regularizer: Regularizer, data_type: Any, method: Method
) -> None:
    """To the bit, figures and errors too: how long a segment is must not be seen in its answer."""
    call = a_call(method, only(regularizer, data_type))
    for x in points():
        operands = {"parameters": elements_of(x, np.dtype(data_type))}
        if method is Method.PROXIMAL_STEP:
            operands["loss_gradients"] = elements_of(0.1 * x[::-1], np.dtype(data_type))
        whole, expected = answered(call, operands)
        monkeypatch.setattr(reduced, "LONG", 1)
        new, figures = answered(call, operands)
        monkeypatch.undo()
        assert new.tobytes() == whole.tobytes()
        assert figures == expected


@pytest.mark.usefixtures("every_thread")
@every_row
@pytest.mark.parametrize("rounding", [Rounding(), Rounding(RoundingMode.STOCHASTIC, 3)], ids=repr)
def test_cuts_and_threads_do_not_matter(
    by_statistics: None, regularizer: Regularizer, rounding: Rounding
) -> None:
    """A stream cut anywhere, and threads on memory, give the same bits."""
    size = 3 * (1 << 18) + 17
    random = np.random.default_rng(1)
    operands = {
        name: random.normal(size=size).astype(np.float32) for name in ("parameters", "loss_gradients")
    }
    if isinstance(regularizer, TopK):
        operands["parameters"] = np.round(operands["parameters"], 1)
    call = a_call(Method.PROXIMAL_STEP, only(regularizer, np.float32, size), rounding=rounding)
    whole, figures = answered(call, operands)
    for threads in (2, 3):
        again, same = answered(call, operands, threads)
        assert (again.tobytes(), same) == (whole.tobytes(), figures)
    outcome = stream(call, operands, [1, 1000, 1 << 18, 500_000])
    assert (outcome.values.astype(np.float32).tobytes(), outcome.summary.total) == (whole.tobytes(), figures)


@pytest.mark.parametrize("regularizer", [row for row in ROWS if row.traits.indicator], ids=repr)
@pytest.mark.parametrize("data_type", [np.float32, np.float64])
def test_a_step_ends_in_its_set(
    monkeypatch: pytest.MonkeyPatch, regularizer: Regularizer, data_type: Any
) -> None:
    """As the penalty of whole arrays tells: it is 0 there."""
    for x in points():
        with monkeypatch.context() as patch:
            patch.setattr(reduced, "LONG", 1)
            new, figures = proximal_step(x.astype(data_type), regularizer, 1.0)
        assert figures.total.penalty is not None
        assert figures.total.penalty.value == 0.0
        _, at_new = answered(a_call(Method.PENALTY, only(regularizer, data_type)), {"parameters": new})
        assert at_new.penalty.value == 0.0


@every_method
@every_row
@pytest.mark.parametrize("special", [math.nan, math.inf, -math.inf])
def test_what_is_not_finite_is_as_in_whole_arrays(
    monkeypatch: pytest.MonkeyPatch, regularizer: Regularizer, method: Method, special: float
) -> None:
    """Where the call takes it; else it is rejected, and named."""
    x = points()[0]
    x[[17, 3000]] = special
    call = a_call(method, only(regularizer, np.float64), propagate_non_finite=True)
    whole, expected = answered(call, {"parameters": x})
    monkeypatch.setattr(reduced, "LONG", 1)
    new, figures = answered(call, {"parameters": x})
    np.testing.assert_allclose(new, whole, rtol=1e-13, atol=1e-300)
    if isinstance(expected, Figures):
        assert figures.penalty.value == pytest.approx(expected.penalty.value, rel=1e-13, nan_ok=True)
    with pytest.raises(ValueNotFinite) as caught:
        answered(a_call(method, only(regularizer, np.float64)), {"parameters": x})
    assert caught.value.element == 17


def test_an_error_names_the_element(by_statistics: None) -> None:
    """The first that is negative, in the vector."""
    layout = Layout(np.dtype(np.float64), (Segment("b", (3,)), Segment("w", (4,), Simplex(radius=1.0))))
    x = np.array([1.0, 1.0, 1.0, 0.5, -0.25, 0.5, -1.0])
    with pytest.raises(GradientUndefined, match=r"must be >= 0 .* got -0\.25 at element 4") as caught:
        stream(a_call(Method.GRADIENT, layout), {"parameters": x})
    assert (caught.value.element, caught.value.segment, caught.value.field) == (4, "w", "parameters")


@pytest.mark.parametrize("regularizer", ROWS[::3], ids=repr)
def test_a_stream_holds_its_segment_as_it_came(regularizer: Regularizer) -> None:
    """Parameters, results, what a piece takes, and two answers that wait: no copy in float64."""
    size = reduced.LONG
    call = a_call(Method.PROXIMAL_STEP, only(regularizer, np.float32, size))
    operands = {"parameters": np.random.default_rng(0).normal(size=size).astype(np.float32)}
    needed = 2 * 4 * size + (16 << 20) + 2 * ANSWER_BYTES
    stream(call, operands, [1000, 500_000], MemoryBudget(needed))
    with pytest.raises(BudgetExceeded):
        stream(call, operands, [1000, 500_000], MemoryBudget(needed - 1))


@pytest.mark.parametrize("regularizer", ROWS[::3], ids=repr)
def test_memory_that_is_there_is_not_copied(regularizer: Regularizer) -> None:
    """Nothing of the budget is taken, and the result may lie over the parameters."""
    size = reduced.LONG
    call = a_call(Method.PROXIMAL_STEP, only(regularizer, np.float32, size))
    x = np.random.default_rng(0).normal(size=size).astype(np.float32)
    expected = stream(call, {"parameters": x}).values.astype(np.float32)
    run_whole(call, Chunk(0, x), x, MemoryBudget(0))
    np.testing.assert_array_equal(x, expected)


def test_a_reference_is_for_whole_arrays(by_statistics: None) -> None:
    """With one, a set's rounding needs the whole point: the answer is that of a short segment."""
    x, reference = points()[0], 0.5 * points()[1]
    call = a_call(Method.PROXIMAL_STEP, only(L1Ball(radius=20.0), np.float64))
    outcome = stream(call, {"parameters": x, "reference": reference})
    np.testing.assert_allclose(np.abs(outcome.values - reference).sum(), 20.0, rtol=1e-14)


@pytest.mark.parametrize("order", [Order.MAGNITUDES, Order.NUMBERS])
def test_the_compiled_census_is_the_same(monkeypatch: pytest.MonkeyPatch, order: Order) -> None:
    """To the last count, for every kind of number and interval."""
    pytest.importorskip("numba")
    monkeypatch.setattr(compilation.patience, "pieces", 0)
    random = np.random.default_rng(0)
    x = np.concatenate((
        random.normal(size=60_000),
        2.0 ** random.integers(-160, 160, 5000) * random.choice([-1, 1], 5000),
        [0.0, -0.0, 1e308, -1e308, 1e-310, -1e-310, math.ulp(0.0), math.inf, -math.inf, math.nan],
    ))  # fmt: skip
    random.shuffle(x)
    base = 1 << 63 if order is Order.NUMBERS else 0
    intervals = [Interval(base + (923 << 52), 44), Interval(base, 47), Interval(base + (1051 << 52), 47)]
    intervals += [Interval(base + (1022 << 52), 29), Interval(base + (1023 << 52), 0)]
    Census(CensusQuestion(order, intervals[0])).add(x, 0)
    compilation.wait_until_compiled()
    for interval in intervals:
        compiled, plain = (Census(CensusQuestion(order, interval)) for _ in range(2))
        compiled.add(x, 7)
        monkeypatch.setattr(compilation, "SMALLEST", x.size + 1)
        plain.add(x, 7)
        monkeypatch.setattr(compilation, "SMALLEST", 1)
        np.testing.assert_array_equal(compiled.counts, plain.counts)
        np.testing.assert_array_equal(compiled.offsets, plain.offsets)
        for name in ("above", "nonzeros", "infinite", "nan", "first_negative"):
            assert getattr(compiled, name) == getattr(plain, name)


def squares_of_all_sizes() -> list[AnyArray]:
    """Numbers whose squares float64 has, close together and far apart, with zeros, not of whole tiles."""
    random = np.random.default_rng(0)
    plain = random.normal(size=40_001)
    return [
        plain,
        plain.astype(np.float32).astype(np.float64),
        np.where(random.random(plain.size) < 0.9, 0.0, plain),
        plain * 10.0 ** random.integers(-100, 100, plain.size),
        np.full(33_000, 2.0**399.9),
        np.full(33_000, 1.1 * 2.0**-400),
        np.zeros(33_000),
    ]


def test_the_compiled_sum_of_squares_of_float32_is_exact(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever lies near 0, or grows from tile to tile; of what is not finite there is none."""
    pytest.importorskip("numba")
    monkeypatch.setattr(compilation.patience, "pieces", 0)
    sum_of_squares(np.ones(1 << 15, np.float32))
    compilation.wait_until_compiled()
    random = np.random.default_rng(1)
    plain = random.normal(size=40_001).astype(np.float32)
    scale = np.float32(2.0) ** random.integers(-60, 60, plain.size).astype(np.float32)
    rising = np.float32(2.0) ** np.repeat(np.arange(-60, 60), 400)[: plain.size].astype(np.float32)
    tiny = np.where(random.random(plain.size) < 0.001, np.float32(1e-45), plain)
    small, large = plain * np.float32(1e-38), np.float32(3.4e38) * np.tanh(plain)
    for x in (plain, plain * scale, plain * rising, plain * rising[::-1], tiny, small, large, 0 * plain):
        squares = np.square(x.astype(np.float64))
        assert sum(map(Fraction, sum_of_squares(x) or ())) == sum(map(Fraction, squares.tolist()))
        for odd in (math.inf, math.nan):
            assert sum_of_squares(np.append(x, np.float32(odd))) is None


def test_the_compiled_sum_of_squares_is_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    """To the last double, which is that of exact arithmetic; and both leave alone what they cannot add."""
    pytest.importorskip("numba")
    monkeypatch.setattr(compilation.patience, "pieces", 0)
    sum_of_squares(np.ones(1 << 15))
    compilation.wait_until_compiled()
    for x in squares_of_all_sizes():
        for odd in ((), (math.inf,), (math.nan,), (2.0**400,), (2.0**-400,)):
            numbers = np.append(x, odd)
            compiled = sum_of_squares(numbers)
            monkeypatch.setattr(compilation, "SMALLEST", numbers.size + 1)
            assert compiled == sum_of_squares(numbers)
            monkeypatch.setattr(compilation, "SMALLEST", 1)
            assert (compiled is None) == bool(odd)
    plain = squares_of_all_sizes()[0]
    exact = sum(Fraction(number) for number in np.square(plain).tolist())
    assert sum(map(Fraction, sum_of_squares(plain) or ())) == exact


NEAREST, AT_RANDOM = Rounding(), Rounding(RoundingMode.STOCHASTIC, 3)


@pytest.mark.parametrize(
    ("regularizer", "data_type", "rounding"),
    [
        (TopK(count=500), np.float32, NEAREST),
        (TopK(count=500), ml_dtypes.bfloat16, AT_RANDOM),
        (TopK(count=0), np.int16, AT_RANDOM),
        (L1Ball(radius=20.0), np.float32, NEAREST),
        (L1Ball(radius=1e6), np.float64, NEAREST),
        (Simplex(radius=1.0), np.float64, NEAREST),
        (L2Norm(strength=0.3), np.float16, AT_RANDOM),
        (LinfNorm(strength=2.0), np.float32, AT_RANDOM),
    ],
    ids=repr,
)
def test_compiled_rules_have_the_bits_of_numpy(
    by_statistics: None,
    monkeypatch: pytest.MonkeyPatch,
    regularizer: Regularizer,
    data_type: Any,
    rounding: Rounding,
) -> None:
    """With and without a step before, figures included; also where ties end within a piece."""
    pytest.importorskip("numba")
    runs = []

    def counted(*arguments: Any) -> int:
        runs.append(1)
        return run(*arguments)

    run = Resolved._run
    monkeypatch.setattr(Resolved, "_run", counted)
    monkeypatch.setattr(compilation.patience, "pieces", 0)
    for x in points()[:3]:
        elements, slopes = (elements_of(each, np.dtype(data_type)) for each in (x, 0.1 * x[::-1]))
        for operands in ({"parameters": elements}, {"parameters": elements, "loss_gradients": slopes}):
            for method in (Method.PENALTY, Method.PROXIMAL_STEP)[len(operands) - 1 :]:
                call = replace(a_call(method, only(regularizer, data_type)), rounding=rounding)
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


@pytest.mark.parametrize("regularizer", ROWS[::2], ids=repr)
def test_memory_that_changes_is_no_fault(by_statistics: None, regularizer: Regularizer) -> None:
    """Another process writes between the passes: calls end, with an answer or a documented error."""
    with Changing(8 * SIZE) as memory, memory.written_to():
        calls = calls_on(memory.places, regularizer, (SIZE,))
        assert any(list(islice(calls, 60)))


class _Stop(Exception):
    """What a check raises."""


def test_a_call_that_is_given_up_keeps_nothing(by_statistics: None) -> None:
    """Whatever thread fails: its elements go with the call, without the collector of garbage."""
    size = 4 << 18
    asked = count()

    def check() -> None:
        if next(asked) >= 3:
            raise _Stop

    gc.collect()
    gc.disable()
    try:
        x = np.random.default_rng(0).normal(size=size)
        gone = weakref.ref(x)
        call = a_call(Method.PROXIMAL_STEP, only(TopK(count=9), np.float64, size))
        with pytest.raises(_Stop):
            run_whole(call, Chunk(0, x), np.empty(size), MemoryBudget(PLENTY), 2, check)
        del x
        assert gone() is None
    finally:
        gc.enable()
