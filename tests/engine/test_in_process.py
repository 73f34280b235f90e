"""The functions on whole arrays give the bits of a stream, with any number of threads."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from regularization_kernels import L1Norm, errors, gradient, penalty, proximal_step
from regularization_kernels.engine import FigureChoice, Layout, Method, Segment

from tests.support.cases import CASES, Case
from tests.support.engine_streams import a_call, stream
from tests.support.inputs import feasible, rng


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.label)
def test_they_are_the_stream_of_one_segment(case: Case, dtype: type[np.floating[Any]]) -> None:
    """For every row, in the array's own shape and type, and over the input where asked."""
    x = feasible(case, rng(case, 30).normal(size=case.shape)).astype(dtype)
    x = feasible(case, x.astype(np.float64)).astype(dtype)
    g = rng(case, 31).normal(size=case.shape).astype(dtype)
    layout = Layout(np.dtype(dtype), (Segment("", case.shape, case.regularizer),))
    flat = {"parameters": x.ravel(), "loss_gradients": g.ravel()}
    expected = stream(a_call(Method.PROXIMAL_STEP, layout), flat)
    out, summary = proximal_step(x, case.regularizer, 0.37, loss_gradients=g)
    assert (out.shape, out.dtype) == (case.shape, np.dtype(dtype))
    assert (out.tobytes(), summary.total) == (expected.bits()[0], expected.summary.total)
    over = x.copy()
    assert proximal_step(over, case.regularizer, 0.37, loss_gradients=g, out=over)[0] is over
    assert over.tobytes() == out.tobytes()
    expected = stream(a_call(Method.GRADIENT, layout), flat)
    out, summary = gradient(x, case.regularizer, loss_gradients=g)
    assert (out.tobytes(), summary.total) == (expected.bits()[0], expected.summary.total)
    assert penalty(x, case.regularizer).total.penalty == expected.summary.total.penalty


@pytest.mark.usefixtures("every_thread")
@pytest.mark.parametrize("threads", [1, 2, 3, 7])
def test_threads_change_no_bit(threads: int) -> None:
    """A vector of several blocks, cut over threads."""
    x = np.random.default_rng(8).normal(size=2**20 + 77).astype(np.float32)
    expected, summary = proximal_step(x, L1Norm(strength=0.3), 0.1)
    got, other = proximal_step(x, L1Norm(strength=0.3), 0.1, threads=threads)
    assert got.tobytes() == expected.tobytes()
    assert other == summary


def test_figures_are_given_where_asked_for() -> None:
    """And nothing else is counted."""
    choice = FigureChoice(penalty=False, nonzeros=True, squared_distance=False)
    _, summary = proximal_step(np.ones(4), L1Norm(strength=0.3), 0.1, figures=choice)
    assert (summary.total.penalty, summary.total.nonzeros, summary.total.squared_distance) == (None, 4, None)


def test_no_regularizer_is_the_identity() -> None:
    """Penalty 0, gradient 0, and a step that stays or only goes forward."""
    x, g = np.array([1.0, -2.0]), np.array([1.0, 1.0])
    np.testing.assert_array_equal(proximal_step(x, None, 0.5)[0], x)
    np.testing.assert_array_equal(proximal_step(x, None, 0.5, loss_gradients=g)[0], x - 0.5 * g)
    np.testing.assert_array_equal(gradient(x, None)[0], [0.0, 0.0])
    total = penalty(x, None).total.penalty
    assert total is not None
    assert total.value == 0.0


@pytest.mark.parametrize("data_type", ["int64", "uint16", "bool", "complex64", ">f4"])
def test_arrays_of_other_types_are_refused(data_type: str) -> None:
    """By the name of the type."""
    with pytest.raises(errors.DataTypeUnsupported, match=str(np.dtype(data_type))):
        penalty(np.zeros(3, data_type), L1Norm(strength=1.0))


@pytest.mark.parametrize(("blocks", "threads"), [(1, 1), (2, 2), (11, 2), (12, 3), (40, 10)])
def test_short_vectors_are_not_worth_many_threads(
    blocks: int, threads: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each is woken and has sums of its own: two from two blocks on, then one for four."""
    at_work = []

    def on_threads(work: Callable[[int], Any], parts: int) -> list[Any]:
        at_work.append(parts)
        return [work(part) for part in range(parts)]

    monkeypatch.setattr("regularization_kernels.engine.parallel.on_threads", on_threads)
    proximal_step(np.zeros(blocks * 2**18, np.float32), L1Norm(strength=1.0), 1.0, threads=16)
    assert at_work == ([threads] if threads > 1 else [])


@pytest.mark.parametrize("elements", [0, 1, 2**17 - 1, 2**17 + 1, 2**19])
@pytest.mark.parametrize("threads", [1, 2])
def test_a_result_of_another_length_is_refused(elements: int, threads: int) -> None:
    """Before anything is computed: loops go by the parameters' length."""
    out = np.zeros(elements, np.float32)
    with pytest.raises(ValueError, match="out must have"):
        proximal_step(np.ones(2**17, np.float32), L1Norm(strength=0.3), 0.1, out=out, threads=threads)
    assert not out.any()
