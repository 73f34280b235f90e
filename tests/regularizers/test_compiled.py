"""Compiled loops and NumPy give the same bits: results, sums and errors."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise, product
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from regularization_kernels import L1Norm, compilation, penalty, proximal_step
from regularization_kernels.engine import (
    Call,
    Chunk,
    FigureChoice,
    Layout,
    MemoryBudget,
    Method,
    Run,
    Segment,
)
from regularization_kernels.errors import ValueNotFinite
from regularization_kernels.regularizers.elements.base import ElementRegularizer
from regularization_kernels.summation import BLOCK

from tests.support.cases import CASES, Case

LOOPED = [case for case in CASES if isinstance(case.regularizer, ElementRegularizer)]
every_looped_case = pytest.mark.parametrize("case", LOOPED, ids=lambda case: case.label)
every_data_type = pytest.mark.parametrize("dtype", compilation.DATA_TYPES, ids=str)
FLOAT32, FLOAT64 = compilation.DATA_TYPES
SIZE = BLOCK + 70_001


@dataclass(frozen=True)
class Way:
    """What a step reads, and where it writes: for each way a loop of its own is compiled."""

    dtype: np.dtype[Any]
    forward: bool
    in_place: bool
    finite: bool

    def __str__(self) -> str:
        operands = "loss_gradients" if self.forward else "plain"
        place = "over" if self.in_place else "apart"
        return f"{self.dtype}-{operands}-{place}-{'finite' if self.finite else 'not_finite'}"


# Compiling takes all the time: one row is tried in every way, the others in two that have everything in them.
WAYS = [
    Way(dtype, forward, in_place, finite)
    for dtype, forward in product(compilation.DATA_TYPES, [False, True])
    for in_place, finite in [(False, True), (False, False), (True, True)]
]
TWO_WAYS = [Way(FLOAT32, False, False, False), Way(FLOAT64, True, True, True)]
STEPS = [
    pytest.param(case, way, id=f"{case.label}-{way}")
    for case in LOOPED
    for way in (WAYS if case.label == "l1_norm" else TWO_WAYS)
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


def awkward(dtype: Any, seed: int = 0, *, finite: bool = True) -> NDArray[Any]:
    """Numbers of all sizes, zeros of both signs, ties with thresholds, and maybe NaN and infinities."""
    random = np.random.default_rng(seed)
    x = (random.normal(size=SIZE) * 10.0 ** random.integers(-12, 12, SIZE)).astype(dtype)
    x[::97], x[5::97], x[11::31] = 0.0, -0.0, dtype.type(0.07)
    if not finite:
        x[[3, 1000, SIZE - 1]] = np.nan, np.inf, -np.inf
    return x


def assert_same_bits(one: NDArray[Any], other: NDArray[Any]) -> None:
    """Assert that two arrays are alike to the bit, signs of zeros and NaN included."""
    np.testing.assert_array_equal(one.view(np.uint8), other.view(np.uint8))


@pytest.mark.parametrize(("case", "way"), STEPS)
def test_steps_have_the_same_bits(case: Case, way: Way, monkeypatch: pytest.MonkeyPatch) -> None:
    """New parameters and all figures: forward or not, written over the parameters or not, NaN propagated."""
    operands = {"loss_gradients": awkward(way.dtype, 1)} if way.forward else {}

    def step() -> Any:
        x = awkward(way.dtype, finite=way.finite)
        operands["out"] = x if way.in_place else np.empty_like(x)
        return proximal_step(x, case.regularizer, 0.7, propagate_non_finite=not way.finite, **operands)

    (by_loops, figures), (by_numpy, same) = both_ways(step, monkeypatch)
    assert_same_bits(by_loops, by_numpy)
    assert repr(figures) == repr(same)


def test_a_step_over_the_loss_gradients_has_the_same_bits(monkeypatch: pytest.MonkeyPatch) -> None:
    """The result may take their place too."""
    x = awkward(FLOAT32)

    def step() -> Any:
        g = awkward(FLOAT32, 1)
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
    assert not askew.flags.aligned
    for new, figures in both_ways(lambda: proximal_step(askew, regularizer, 0.7), monkeypatch):
        straight, same = proximal_step(x, regularizer, 0.7)
        assert_same_bits(new, straight)
        assert figures == same


@every_looped_case
def test_penalties_have_the_same_bits(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    """The sum and its expansion, and the count of nonzeros."""
    x = awkward(FLOAT32)
    by_loops, by_numpy = both_ways(lambda: penalty(x, case.regularizer), monkeypatch)
    assert by_loops == by_numpy


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
def test_what_is_not_finite_is_named(place: int, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """By its own index, also where the result is written over the parameters."""
    arrays = {"parameters": np.ones(SIZE, np.float32), "loss_gradients": np.ones(SIZE, np.float32)}

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
