"""Compiled loops and NumPy give the same bits: results, sums and errors."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from itertools import chain, cycle, pairwise, product
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from regularization_kernels import Box, Grid, L1Norm, Levels, compilation, penalty, proximal_step
from regularization_kernels.engine import (
    Call,
    Chunk,
    FigureChoice,
    Layout,
    MemoryBudget,
    Method,
    Rounding,
    RoundingMode,
    Run,
    Segment,
)
from regularization_kernels.engine.operator import SegmentOperator
from regularization_kernels.errors import ValueNotFinite
from regularization_kernels.formats import fraction_bits, is_coarse, limits, numbers_of, round_into, rounded
from regularization_kernels.regularizers.elements.base import ElementRegularizer
from regularization_kernels.summation import BLOCK

from tests.support.cases import CASES, Case

LOOPED = [case for case in CASES if isinstance(case.regularizer, ElementRegularizer)]
every_data_type = pytest.mark.parametrize("dtype", compilation.DATA_TYPES, ids=str)
FLOAT32, FLOAT64, FLOAT16, BFLOAT16, Q7, Q15, Q31 = compilation.DATA_TYPES
COARSE = [dtype for dtype in compilation.DATA_TYPES if is_coarse(dtype)]
every_coarse_data_type = pytest.mark.parametrize("dtype", COARSE, ids=str)
NEAREST, AT_RANDOM = Rounding(), Rounding(RoundingMode.STOCHASTIC, 7)
both_roundings = pytest.mark.parametrize("rounding", [NEAREST, AT_RANDOM], ids=["nearest", "at_random"])
SIZE = BLOCK + 70_001


@dataclass(frozen=True)
class Way:
    """What a step reads, and where it writes: for each way a loop of its own is compiled."""

    dtype: np.dtype[Any]
    forward: bool
    in_place: bool
    finite: bool
    at_random: bool = False

    def __str__(self) -> str:
        operands = "loss_gradients" if self.forward else "plain"
        place = "over" if self.in_place else "apart"
        rounding = "-at_random" if self.at_random else ""
        return f"{self.dtype}-{operands}-{place}-{'finite' if self.finite else 'not_finite'}{rounding}"


# Compiling takes all the time. What a loop reads, writes and counts is alike for all formulas, and these are
# the same in all ways. So one row is tried in every way of float32 and float64, and in two of each other
# type that have everything in them; the others in one of two, and one case of each in a coarse data type.
WAYS = [
    Way(dtype, forward, in_place, finite)
    for dtype, forward in product([FLOAT32, FLOAT64], [False, True])
    for in_place, finite in [(False, True), (False, False), (True, True)]
]
TWO_WAYS = [Way(FLOAT32, False, False, False), Way(FLOAT64, True, True, True)]
AT_RANDOM_TOO = [Way(FLOAT32, False, False, False, True), Way(FLOAT64, True, True, True, True)]


def coarse_ways(dtype: np.dtype[Any]) -> list[Way]:
    """Two that have everything in them."""
    holds_nan = fraction_bits(dtype) is None
    return [Way(dtype, False, False, not holds_nan), Way(dtype, True, True, True, True)]


# By the label of the first case of all with the same formulas.
FIRST = {case.regularizer.formulas: case.label for case in reversed(LOOPED)}
ONE_WAY = dict(zip(sorted(FIRST.values()), cycle(TWO_WAYS), strict=False))
OTHER_WAYS = dict(
    zip(
        sorted(FIRST.values()),
        cycle(chain.from_iterable(zip(*map(coarse_ways, COARSE), strict=True))),
        strict=False,
    )
)
STEPS = [
    pytest.param(case, way, id=f"{case.label}-{way}")
    for case in LOOPED
    for way in (
        [*WAYS, *AT_RANDOM_TOO, *chain(*map(coarse_ways, COARSE))]
        if case.label == "l1_norm"
        else [
            ONE_WAY[FIRST[case.regularizer.formulas]],
            *([OTHER_WAYS[case.label]] if case.label in OTHER_WAYS else []),
        ]
    )
]


@contextmanager
def pieces_of_at_least(elements: int, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Loops work on pieces of so many elements or more."""
    with monkeypatch.context() as patch:
        patch.setattr(compilation, "SMALLEST", elements)
        yield


def both_ways(compute: Callable[[], Any], monkeypatch: pytest.MonkeyPatch) -> tuple[Any, Any]:
    """What is computed by loops, which are compiled by then, and by NumPy."""
    with pieces_of_at_least(1, monkeypatch):
        compute()
        compilation.wait_until_compiled()
        by_loops = compute()
    with pieces_of_at_least(1 << 62, monkeypatch):
        return by_loops, compute()


@cache
def awkward(dtype: Any, seed: int = 0, *, finite: bool = True) -> NDArray[Any]:
    """Numbers of all sizes, zeros of both signs, ties with thresholds, and maybe NaN and infinities.

    They are made once, so they cannot be written to.
    """
    random, ends = np.random.default_rng(seed), limits(dtype)
    numbers = random.normal(size=SIZE) * 10.0 ** random.integers(-12, 12, SIZE)
    numbers[::97], numbers[5::97], numbers[11::31] = 0.0, -0.0, rounded(0.07, dtype)
    np.clip(numbers, ends.min, ends.max, out=numbers)
    if not finite:
        numbers[[3, 1000, SIZE - 1]] = np.nan, np.inf, -np.inf
    x = np.empty(SIZE, dtype)
    round_into(numbers, x)
    x.flags.writeable = False
    return x


def assert_same_bits(one: NDArray[Any], other: NDArray[Any]) -> None:
    """Assert that two arrays are alike to the bit, zeros' signs included, and of float32 and float64 NaN."""
    if is_coarse(other.dtype):
        odd = np.isnan(numbers_of(other).astype(np.float64))
        assert np.isnan(numbers_of(one).astype(np.float64)[odd]).all()
        one, other = one[~odd], other[~odd]
    np.testing.assert_array_equal(one.view(np.uint8), other.view(np.uint8))


@pytest.mark.parametrize(("case", "way"), STEPS)
def test_steps_have_the_same_bits(case: Case, way: Way, monkeypatch: pytest.MonkeyPatch) -> None:
    """New parameters and all figures: forward or not, written over the parameters or not, NaN propagated."""
    operands = {"loss_gradients": awkward(way.dtype, 1)} if way.forward else {}

    def step() -> Any:
        x = awkward(way.dtype, finite=way.finite)
        x = x.copy() if way.in_place else x
        operands["out"] = x if way.in_place else np.empty_like(x)
        rounding = AT_RANDOM if way.at_random else NEAREST
        return proximal_step(
            x, case.regularizer, 0.7, propagate_non_finite=not way.finite, rounding=rounding, **operands
        )

    (by_loops, figures), (by_numpy, same) = both_ways(step, monkeypatch)
    assert_same_bits(by_loops, by_numpy)
    assert repr(figures) == repr(same)


@every_coarse_data_type
@both_roundings
@pytest.mark.parametrize("step_size", [0.5, 0.5 + 2.0**-45, 0.7])
def test_steps_from_every_element_have_the_same_bits(
    dtype: Any, rounding: Rounding, step_size: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From all of 8 and 16 bits, subnormals, ends, NaN and infinities, to ties, beside them, and anywhere."""
    unsigned = np.dtype(f"u{dtype.itemsize}")
    bits = np.random.default_rng(3).integers(0, 1 << 8 * dtype.itemsize, SIZE, unsigned)
    bits[: 1 << 16] = np.resize(np.arange(1 << min(16, 8 * dtype.itemsize)), 1 << 16)
    x, g = bits.view(dtype), np.empty(SIZE, dtype)
    with np.errstate(invalid="ignore"):
        numbers = numbers_of(x).astype(np.float64)
        about = limits(dtype)
        spacing = np.maximum(2.0 ** np.floor(np.log2(np.abs(numbers) + 5e-324)) * about.eps, about.spacing)
        spacing = np.maximum(spacing, about.smallest_subnormal)
    # Half of it leads to a tie with a neighbour.
    round_into(np.where(np.arange(SIZE) % 2, spacing, -spacing), g)
    if step_size == 0.7:
        g = g[::-1].copy()

    def step() -> Any:
        with np.errstate(all="ignore"):
            return proximal_step(
                x,
                L1Norm(strength=0.0),
                step_size,
                loss_gradients=g,
                rounding=rounding,
                propagate_non_finite=True,
            )

    (by_loops, figures), (by_numpy, same) = both_ways(step, monkeypatch)
    assert_same_bits(by_loops, by_numpy)
    assert repr(figures) == repr(same)


@every_data_type
@both_roundings
def test_parts_of_a_vector_have_the_bits_of_the_whole(
    dtype: Any, rounding: Rounding, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In segments and chunks that begin anywhere: random bits go by an element's index in the vector."""
    x, begin = awkward(dtype), 1_001
    segments = (Segment("exempt", (begin,), None), Segment("w", (SIZE - begin,), L1Norm(strength=0.1)))
    call = Call(Method.PROXIMAL_STEP, Layout(dtype, segments), step_size=0.7, rounding=rounding)
    cuts = [0, 500, 70_000, 70_100, BLOCK + 40_000, SIZE]

    def in_chunks() -> Any:
        with Run(call, MemoryBudget(0)) as run:
            results = [
                result for begin, end in pairwise(cuts) for result in run.feed(Chunk(begin, x[begin:end]))
            ]
            return np.concatenate([result.values for result in results]), run.finish()

    (by_loops, figures), (by_numpy, same) = both_ways(in_chunks, monkeypatch)
    assert_same_bits(by_loops, by_numpy)
    assert figures == same


@every_data_type
@both_roundings
def test_loops_do_all_the_work(dtype: Any, rounding: Rounding, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of every data type, whichever way results are rounded: once they are there, NumPy has nothing to do."""

    def nothing(*_: Any) -> None:
        pytest.fail("computed by NumPy")

    def step() -> Any:
        return proximal_step(awkward(dtype), L1Norm(strength=0.1), 0.7, rounding=rounding)

    both_ways(step, monkeypatch)
    with pieces_of_at_least(1, monkeypatch):
        monkeypatch.setattr(SegmentOperator, "compute", nothing)
        step()


def test_a_set_is_not_left_at_random(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of even levels, none may be rounded off its number: no loop does that. A box has numbers for ends."""
    x = awkward(BFLOAT16)
    for regularizer in (Grid(levels=Levels(step=0.3, offset=0.1)), Box(lower=-0.3, upper=0.1)):

        def step(regularizer: Any = regularizer) -> Any:
            return proximal_step(x, regularizer, 1.0, rounding=AT_RANDOM)

        (by_loops, figures), (by_numpy, same) = both_ways(step, monkeypatch)
        assert_same_bits(by_loops, by_numpy)
        assert figures == same
        assert figures.total.penalty is not None
        assert figures.total.penalty.value == penalty(by_loops, regularizer).total.penalty.value == 0.0


def test_a_step_over_the_loss_gradients_has_the_same_bits(monkeypatch: pytest.MonkeyPatch) -> None:
    """The result may take their place too."""
    x = awkward(FLOAT32)

    def step() -> Any:
        g = awkward(FLOAT32, 1).copy()
        return proximal_step(x, L1Norm(strength=0.1), 0.7, out=g, loss_gradients=g)

    (by_loops, figures), (by_numpy, same) = both_ways(step, monkeypatch)
    assert_same_bits(by_loops, by_numpy)
    assert figures == same


@every_data_type
def test_steps_on_elements_that_stand_askew_have_the_same_bits(
    dtype: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As they do in a message, behind fields of any length."""
    x, regularizer = awkward(dtype), L1Norm(strength=0.1)
    askew = np.frombuffer(b"\0\0\0" + x.tobytes(), np.uint8)[3:].view(dtype)
    assert askew.flags.aligned == (dtype.itemsize == 1)
    for new, figures in both_ways(lambda: proximal_step(askew, regularizer, 0.7), monkeypatch):
        straight, same = proximal_step(x, regularizer, 0.7)
        assert_same_bits(new, straight)
        assert figures == same


@pytest.mark.parametrize(
    ("case", "dtype"),
    [
        pytest.param(case, dtype, id=f"{case.label}-{dtype}")
        for case in LOOPED
        for dtype in (compilation.DATA_TYPES if case.label == "l1_norm" else [FLOAT32])
    ],
)
def test_penalties_have_the_same_bits(case: Case, dtype: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """The sum and its expansion, and the count of nonzeros."""
    x = awkward(dtype)
    by_loops, by_numpy = both_ways(lambda: penalty(x, case.regularizer), monkeypatch)
    assert by_loops == by_numpy


@pytest.mark.usefixtures("every_thread")
@pytest.mark.parametrize("threads", [1, 2, 3])
def test_threads_have_the_same_bits(threads: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """However many work at once."""
    x = np.tile(awkward(FLOAT32), 4)
    (by_loops, figures), (by_numpy, same) = both_ways(
        lambda: proximal_step(x, L1Norm(strength=0.1), 0.7, threads=threads), monkeypatch
    )
    assert_same_bits(by_loops, by_numpy)
    assert figures == same


def test_loops_and_numpy_take_turns_in_one_call(monkeypatch: pytest.MonkeyPatch) -> None:
    """Chunks long and short, across blocks: the lanes go on from where the other left them."""
    x = awkward(FLOAT32)
    layout = Layout(x.dtype, (Segment("w", x.shape, L1Norm(strength=0.1)),))
    call = Call(Method.PROXIMAL_STEP, layout, step_size=0.7)
    cuts = [0, 3, 70_000, 70_100, 200_007, BLOCK - 1, BLOCK + 40_000, SIZE]

    def in_chunks() -> Any:
        with Run(call, MemoryBudget(0)) as run:
            results = [
                result for begin, end in pairwise(cuts) for result in run.feed(Chunk(begin, x[begin:end]))
            ]
            return np.concatenate([result.values for result in results]), run.finish()

    with pieces_of_at_least(10_000, monkeypatch):
        in_chunks()
        compilation.wait_until_compiled()
        mixed, figures = in_chunks()
    with pieces_of_at_least(1 << 62, monkeypatch):
        whole, same = proximal_step(x, L1Norm(strength=0.1), 0.7)
    assert_same_bits(mixed, whole)
    assert figures.total == same.total


@pytest.mark.parametrize("place", [0, 255, 256, BLOCK, SIZE - 1])
@pytest.mark.parametrize("name", ["parameters", "loss_gradients"])
@pytest.mark.parametrize("dtype", [FLOAT32, FLOAT16, BFLOAT16], ids=str)
def test_what_is_not_finite_is_named(
    place: int, name: str, dtype: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By its own index, also where the result is written over the parameters."""
    arrays = {"parameters": np.ones(SIZE, dtype), "loss_gradients": np.ones(SIZE, dtype)}

    def step() -> Any:
        parameters = arrays["parameters"].copy()
        return proximal_step(
            parameters, L1Norm(strength=0.1), 0.7, out=parameters, loss_gradients=arrays["loss_gradients"]
        )

    both_ways(step, monkeypatch)
    arrays[name][place] = np.inf
    with pieces_of_at_least(1, monkeypatch), pytest.raises(ValueNotFinite) as caught:
        step()
    assert (caught.value.element, caught.value.field) == (place, name)


def test_no_figures_no_sums(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without figures the loop counts nothing, and the result is the same."""
    x = awkward(FLOAT64)
    choice = FigureChoice(penalty=False, nonzeros=False, squared_distance=False)
    (by_loops, figures), (by_numpy, same) = both_ways(
        lambda: proximal_step(x, L1Norm(strength=0.1), 0.7, figures=choice), monkeypatch
    )
    assert_same_bits(by_loops, by_numpy)
    assert figures == same
    assert figures.total.penalty is None
