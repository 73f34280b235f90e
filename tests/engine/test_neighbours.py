"""Short segments side by side are computed as one, and nobody can tell by the bits."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from fractions import Fraction
from importlib.util import find_spec
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from regularization_kernels import (
    Box,
    Dropout,
    ElasticNet,
    Huber,
    L1Norm,
    Levels,
    NegativeEntropy,
    Quantization,
    compilation,
)
from regularization_kernels.engine import (
    Call,
    Chunk,
    Layout,
    MemoryBudget,
    Method,
    Rounding,
    Run,
    Segment,
    units,
)
from regularization_kernels.engine.call import FigureChoice, RoundingMode
from regularization_kernels.engine.operator import SegmentOperator
from regularization_kernels.engine.units import MOST, MOST_KINDS, SHORT, units_of
from regularization_kernels.errors import (
    GradientUndefined,
    OperandInconsistent,
    OperandOutOfRange,
    OperandUnsupported,
    RegularizationError,
    ValueNotFinite,
)
from regularization_kernels.lane_sums import sums_of_lanes
from regularization_kernels.regularizer import Regularizer
from regularization_kernels.short_sums import ShortSums, sums_of_rows
from regularization_kernels.summation import LANES, BlockSum, ExactSum

PLENTY = 1 << 40
REGULARIZERS = [
    L1Norm(strength=0.3),
    L1Norm(strength=0.5),
    Huber(strength=0.2, delta=0.5),
    ElasticNet(l1_strength=0.1, l2_strength=0.2),
    Quantization(strength=0.1, levels=Levels(step=0.5)),
    None,
]
FLOAT32 = np.dtype(np.float32)
AT_RANDOM = Rounding(RoundingMode.STOCHASTIC, 7)


def layout_of(sizes: list[int], *regularizers: Regularizer | None, **options: Any) -> Layout:
    """A layout of segments with these regularizers, again and again."""
    return Layout(
        options.pop("data_type", FLOAT32),
        tuple(
            Segment(f"s{index}", (size,), regularizers[index % len(regularizers)], **options)
            for index, size in enumerate(sizes)
        ),
    )


@contextmanager
def one_at_a_time() -> Iterator[None]:
    """No segment goes along with another."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(units, "MOST", 1)
        yield


def outcome(call: Call, arrays: dict[str, Any], cuts: list[int]) -> tuple[Any, ...]:
    """Results and summary of a call on a stream that is cut at these elements."""
    with Run(call, MemoryBudget(PLENTY)) as run:
        results = []
        for begin, end in zip([call.begin, *cuts], [*cuts, call.end], strict=True):
            chunk = Chunk(begin, **{name: array[begin:end] for name, array in arrays.items()})
            results += run.feed(chunk)
        summary = run.finish()
    return b"".join(result.values.tobytes() for result in results), repr(summary)


def numbers(size: int, data_type: np.dtype[Any], seed: int) -> Any:
    """Numbers of all sizes, some of them zeros, of a data type."""
    random = np.random.default_rng(seed)
    if data_type.kind == "i":
        return random.integers(-100, 100, size).astype(data_type)
    spread = 3 if data_type.itemsize == 2 else 30
    x = random.normal(size=size) * 10.0 ** random.integers(-spread, spread, size)
    x[::7] = -0.0
    return np.clip(x, -6e4, 6e4).astype(data_type) if spread == 3 else x.astype(data_type)


@settings(deadline=None, max_examples=30)
@given(st.data())
def test_they_have_the_bits_that_each_has_alone(data: st.DataObject) -> None:
    """Of any sizes, methods, operands, data types, choices of figures, and however the stream is cut."""
    sizes = data.draw(st.lists(st.sampled_from([0, 1, 3, 255, 256, 257, 1000, 5000]), min_size=2, max_size=9))
    method = data.draw(st.sampled_from(Method))
    data_type = np.dtype(data.draw(st.sampled_from([np.float32, np.float64, np.float16, np.int16])))
    several = data.draw(st.lists(st.sampled_from(REGULARIZERS), min_size=1, max_size=6))
    step_size = data.draw(st.sampled_from([None, 0.25]))
    total = sum(sizes)
    arrays = {"parameters": numbers(total, data_type, 0)}
    if method is not Method.PENALTY and data.draw(st.booleans()):
        arrays["loss_gradients"] = numbers(total, data_type, 1)
    if data.draw(st.booleans()):
        arrays["weights"] = abs(numbers(total, data_type, 2))
        arrays["reference"] = numbers(total, data_type, 3)
    options: dict[str, Any] = {
        "step_size": 0.7,
        "figures": FigureChoice(*data.draw(st.tuples(st.booleans(), st.booleans(), st.booleans()))),
    }
    if method is Method.PROXIMAL_STEP and data.draw(st.booleans()):
        options["rounding"] = Rounding(RoundingMode.STOCHASTIC, 7)
    cuts = sorted(data.draw(st.lists(st.integers(0, total), max_size=4)))

    def answer() -> tuple[Any, ...]:
        layout = layout_of(sizes, *several, data_type=data_type, step_size=step_size)
        return outcome(Call(method, layout, **options), arrays, cuts)

    with one_at_a_time():
        alone = answer()
    assert answer() == alone


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_numbers_that_are_not_finite_stay_with_their_segment(value: float) -> None:
    """Where a call takes them, the others' figures are as without them."""
    sizes = [300, 300, 300]
    x = numbers(900, FLOAT32, 0)
    x[450] = value

    def answer() -> tuple[Any, ...]:
        layout = layout_of(sizes, L1Norm(strength=0.3), None)
        call = Call(Method.PROXIMAL_STEP, layout, step_size=0.7, propagate_non_finite=True)
        return outcome(call, {"parameters": x}, [310])

    with one_at_a_time():
        alone = answer()
    assert answer() == alone


def error_of(call: Call, *chunks: Chunk) -> RegularizationError:
    """What a run of these chunks raises."""
    with Run(call, MemoryBudget(PLENTY)) as run:
        for chunk in chunks[:-1]:
            run.feed(chunk)
        with pytest.raises(RegularizationError) as caught:
            run.feed(chunks[-1])
    return caught.value


@pytest.mark.parametrize(
    ("method", "regularizer", "index", "changes", "kind"),
    [
        (Method.PENALTY, L1Norm(strength=0.1), 25, {"parameters": np.nan}, ValueNotFinite),
        (Method.PENALTY, L1Norm(strength=0.1), 15, {"weights": -1.0}, OperandOutOfRange),
        (Method.GRADIENT, NegativeEntropy(strength=0.1), 15, {"parameters": -1.0}, GradientUndefined),
    ],
)
def test_an_error_names_the_segment_of_its_element(
    method: Method, regularizer: Regularizer, index: int, changes: dict[str, float], kind: type[Exception]
) -> None:
    """Not the first of the neighbours."""
    arrays = {"parameters": np.ones(30, np.float32)}
    for name, value in changes.items():
        arrays.setdefault(name, np.ones(30, np.float32))[index] = value
    call = Call(method, layout_of([10, 10, 10], regularizer))
    error = error_of(call, Chunk(0, **arrays))
    assert isinstance(error, kind)
    assert (error.segment, error.element) == (f"s{index // 10}", index)


@pytest.mark.parametrize("method", Method)
def test_none_may_have_elements(method: Method) -> None:
    """Figures of empty segments are zeros, whatever they are regularized with."""
    layout = layout_of([0, 0, 0], L1Norm(strength=0.1), None)
    with Run(Call(method, layout, step_size=0.1), MemoryBudget(PLENTY)) as run:
        run.feed(Chunk(0, np.empty(0, np.float32)))
        summary = run.finish()
    assert [segment.name for segment in summary.segments] == ["s0", "s1", "s2"]
    assert {segment.figures.penalty for segment in summary.segments} == {ExactSum(0.0, ())}


def test_an_operand_is_refused_by_the_first_that_does_not_take_it() -> None:
    """In the order of the segments, whichever kind comes first among the neighbours."""
    ones = np.ones(40, np.float32)
    box = Box(lower=0.0, upper=1.0)
    call = Call(Method.PENALTY, layout_of([10, 0, 10, 10, 10], None, box, L1Norm(strength=0.1)))
    error = error_of(call, Chunk(0, ones[:25]), Chunk(25, ones[:5]), Chunk(30, ones[:10], weights=ones[:10]))
    assert isinstance(error, OperandUnsupported)
    assert error.segment == "s4"


def test_a_segment_has_the_operands_of_its_first_chunk() -> None:
    """The next one may have others; inside a segment they may not change."""
    ones = np.ones(10, np.float32)
    call = Call(Method.PENALTY, layout_of([10, 10, 10], L1Norm(strength=0.1)))
    with Run(call, MemoryBudget(PLENTY)) as run:
        run.feed(Chunk(0, ones, weights=ones))
        run.feed(Chunk(10, ones))
        run.feed(Chunk(20, ones, weights=3 * ones))
        values = [segment.figures.penalty for segment in run.finish().segments]
    assert [value and round(value.value, 12) for value in values] == [1.0, 1.0, 3.0]
    error = error_of(
        call, Chunk(0, np.ones(15, np.float32)), Chunk(15, np.ones(15, np.float32), weights=ones)
    )
    assert isinstance(error, OperandInconsistent | RegularizationError)
    error = error_of(call, Chunk(0, np.ones(15, np.float32)), Chunk(15, ones, weights=ones))
    assert isinstance(error, OperandInconsistent)
    assert error.segment == "s1"
    error = error_of(call, Chunk(0, ones), Chunk(10, ones, loss_gradients=ones))
    assert isinstance(error, OperandUnsupported)
    assert error.segment == "s1"


def test_what_is_short_goes_together() -> None:
    """Long segments stay by themselves, and so many of so few kinds go together, wherever they alternate."""
    one, exempt = L1Norm(strength=0.1), None
    segments = [
        Segment("a", (10,), one),
        Segment("b", (10,), exempt),
        Segment("c", (10,), one),
        Segment("d", (10,), one, step_size=0.0),
        Segment("e", (10,), one, step_size=-0.0),
        Segment("f", (10,), L1Norm(strength=0.2)),
        Segment("g", (SHORT + 1,), one),
        Segment("h", (SHORT,), one),
    ]
    segments += [Segment(str(index), (1,), one) for index in range(MOST)]
    layout = Layout(FLOAT32, tuple(segments))
    together = units_of(layout.segments)
    names = [[segment.name for segment in unit] for unit in together]
    assert names[:3] == [["a", "b", "c", "d", "e"], ["f"], ["g"]]
    assert [len(unit) for unit in together[3:]] == [MOST, 1]
    assert len(together[0].kinds) == MOST_KINDS
    assert [kind.places.tolist() for kind in together[0].kinds] == [[0, 2], [1], [3], [4]]


def test_elements_that_know_their_places_stay_apart() -> None:
    """A mask counts them from the first of its own segment, whatever lies before."""
    dropout = Dropout(rate=0.5, seed=3)
    layout = layout_of([30, 30], dropout, L1Norm(strength=0.3))
    assert [len(unit) for unit in layout_of([30, 30], dropout).units] == [1, 1]
    assert [len(unit) for unit in layout.units] == [1, 1]


@settings(deadline=None)
@given(st.data())
def test_sums_of_stretches_are_those_of_each_alone(data: st.DataObject) -> None:
    """Whole terms and terms at positions, with a second scale beside, in order from any parts."""
    sizes = data.draw(st.lists(st.sampled_from([0, 1, 100, 256, 300, 3000]), min_size=1, max_size=6))
    edges = np.cumsum([0, *sizes])
    terms = numbers(int(edges[-1]), np.dtype(np.float64), data.draw(st.integers(0, 9)))
    cuts = [0, *sorted(data.draw(st.lists(st.integers(0, terms.size), max_size=3))), terms.size]
    sums, alone = ShortSums(edges, 0.3), [BlockSum(0.3) for _ in sizes]
    for begin, end in pairwise(cuts):
        if begin == end:
            continue
        sums.add(terms[begin:end], begin)
        sums.beside(0.7).add_at(np.arange(begin, end)[::3], terms[begin:end:3])
    for index, own in enumerate(alone):
        own.add(terms[edges[index] : edges[index + 1]], 0)
        where = np.array([p for a, b in pairwise(cuts) for p in range(a, b, 3)], np.int64)
        inside = where[(where >= edges[index]) & (where < edges[index + 1])]
        own.beside(0.7).add_at(inside - edges[index], terms[inside])
    assert sums.sums() == [ExactSum.of(own.partials()) for own in alone]


@given(st.integers(0, 1000), st.sampled_from([1, 5, 300, 1000]), st.sampled_from([1.0, 1e270, 1e-300]))
def test_sums_of_rows_are_exact(seed: int, width: int, scale: float) -> None:
    """They are those of rationals, however far numbers lie apart, and canonical."""
    table = np.stack([numbers(width, np.dtype(np.float64), seed + row) * scale for row in range(3)])
    for row, total in zip(table, sums_of_rows(table), strict=True):
        assert total == ExactSum.of(row.tolist())
        assert sum(map(Fraction, total.expansion), Fraction()) == sum(map(Fraction, row), Fraction())


@contextmanager
def loops_from(elements: int, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Compiled loops work on so many elements or more."""
    with monkeypatch.context() as patch:
        patch.setattr(compilation, "SMALLEST", elements)
        yield


@pytest.mark.skipif(find_spec("numba") is None, reason="needs Numba")
@pytest.mark.parametrize(
    ("method", "regularizers", "data_type", "options"),
    [
        (Method.PROXIMAL_STEP, (L1Norm(strength=0.3),), np.float32, {}),
        (Method.PROXIMAL_STEP, (Huber(strength=0.2, delta=0.5),), np.float64, {"loss_gradients": True}),
        (Method.PROXIMAL_STEP, (L1Norm(strength=0.3), None), np.float32, {}),
        (
            Method.PROXIMAL_STEP,
            (None, L1Norm(strength=0.3), L1Norm(strength=0.5)),
            np.int16,
            {"rounding": AT_RANDOM, "loss_gradients": True},
        ),
        (Method.PENALTY, (L1Norm(strength=0.3), None), np.float32, {}),
    ],
)
def test_a_loop_over_all_of_them_has_the_same_bits(
    method: Method,
    regularizers: tuple[Regularizer | None, ...],
    data_type: Any,
    options: dict[str, Any],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Empty ones among them, however the stream is cut, rounded to nearest and at random, summed exactly."""
    sizes, data_type = [0, 1, 300, 0, 255, 5000, 256, 257, 0, 1000, 0] * 2, np.dtype(data_type)
    total, options = sum(sizes), dict(options)
    arrays = {"parameters": numbers(total, data_type, 0)}
    if options.pop("loss_gradients", False):
        arrays["loss_gradients"] = numbers(total, data_type, 1)
    call = Call(method, layout_of(sizes, *regularizers, data_type=data_type), step_size=0.7, **options)
    for cuts in [], [1], [100, 302, 7000], [total // 2]:
        check_loops(call, arrays, cuts, 1, monkeypatch)


@pytest.mark.skipif(find_spec("numba") is None, reason="needs Numba")
@pytest.mark.parametrize("sizes", [[300, 300, 300], [900]])
def test_a_few_elements_of_many_go_by_the_loop_of_all(
    sizes: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where a chunk ends says nothing of whether a loop is worth while, for neighbours and for one alone."""
    call = Call(Method.PROXIMAL_STEP, layout_of(sizes, L1Norm(strength=0.3)), step_size=0.7)
    arrays, cuts = {"parameters": numbers(900, FLOAT32, 0)}, [7, 100, 890]
    check_loops(call, arrays, cuts, 900, monkeypatch)


def check_loops(
    call: Call, arrays: dict[str, Any], cuts: list[int], least: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Loops that are worth while from so many elements on do all the work, with NumPy's bits."""
    with loops_from(1 << 62, monkeypatch):
        by_numpy = outcome(call, arrays, cuts)
    with loops_from(least, monkeypatch):
        outcome(call, arrays, cuts)
        compilation.wait_until_compiled()
        with monkeypatch.context() as patch:
            patch.setattr(SegmentOperator, "compute", nothing)
            assert outcome(call, arrays, cuts) == by_numpy


def nothing(*_: Any) -> None:
    """NumPy has nothing to do where there is a loop."""
    pytest.fail("computed by NumPy")


@pytest.mark.skipif(find_spec("numba") is None, reason="needs Numba")
def test_a_loop_stops_at_what_is_not_finite(monkeypatch: pytest.MonkeyPatch) -> None:
    """The error names the element and its segment, and what a call with NaN takes is as NumPy has it."""
    sizes = [300, 300, 300]
    x = numbers(900, FLOAT32, 0)
    x[450] = np.nan
    layout = layout_of(sizes, L1Norm(strength=0.3))
    calls = [
        Call(Method.PROXIMAL_STEP, layout, step_size=0.7, propagate_non_finite=taken)
        for taken in (False, True)
    ]
    with loops_from(1 << 62, monkeypatch):
        by_numpy = outcome(calls[1], {"parameters": x}, [310])
    with loops_from(1, monkeypatch):
        for _ in range(2):
            error = error_of(calls[0], Chunk(0, x))
            by_loop = outcome(calls[1], {"parameters": x}, [310])
            compilation.wait_until_compiled()
    assert isinstance(error, ValueNotFinite)
    assert (error.segment, error.element) == ("s1", 450)
    assert by_loop == by_numpy


@pytest.mark.skipif(find_spec("numba") is None, reason="needs Numba")
@pytest.mark.parametrize("places", [(450, 650), (250, 450), (650,)])
def test_the_first_that_is_not_finite_is_named(
    places: tuple[int, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of segments that different loops compute, in place, where each loop stops at one of its own."""
    x = numbers(900, np.dtype(np.float16), 0)
    x[[10, 310, 610]] = 6e4  # which the step along the gradients takes beyond the largest number
    x[list(places)] = np.nan
    layout = layout_of([300, 300, 300], L1Norm(strength=0.3), None, data_type=x.dtype)
    call = Call(Method.PROXIMAL_STEP, layout, step_size=0.7)
    with loops_from(1, monkeypatch):
        for _ in range(2):
            again = x.copy()
            chunk = Chunk(0, again, loss_gradients=np.full(900, -6e4, np.float16))
            with Run(call, MemoryBudget(PLENTY), again) as run, pytest.raises(ValueNotFinite) as caught:
                run.feed(chunk)
            compilation.wait_until_compiled()
    assert caught.value.element == places[0]


@pytest.mark.skipif(find_spec("numba") is None, reason="needs Numba")
@pytest.mark.parametrize("scale", [1.0, 0.3, 1e270, 1e-300])
def test_sums_of_lanes_are_exact(scale: float, monkeypatch: pytest.MonkeyPatch) -> None:
    """The loop gives what rationals do, or leaves the row: what lies too far apart, or is not finite."""
    random = np.random.default_rng(0)
    lanes = random.normal(size=(64, LANES))
    lanes[8:24] *= 10.0 ** random.integers(-4, 4, (16, LANES))
    lanes[24:32, 3:] = 0.0
    lanes[32] = -0.0
    lanes[33:40] *= 10.0 ** random.integers(-150, 150, (7, LANES))
    lanes[40:42] *= 1e-310
    lanes[42, 5], lanes[43, 7] = np.nan, np.inf
    with loops_from(1, monkeypatch):
        sums_of_lanes(lanes, scale)
        compilation.wait_until_compiled()
        found = sums_of_lanes(lanes, scale)
    assert found is not None
    values, remainders, left = found
    assert {42, 43} <= set(left.tolist()) <= {*range(8, 24), *range(33, 44)}
    for row in set(range(64)) - set(left.tolist()):
        total = ExactSum.of((lanes[row] * scale).tolist())
        assert total.expansion == tuple(number for number in (values[row], remainders[row]) if number)
