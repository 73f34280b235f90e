"""``n_of_m`` along the inputs of a weight gives the masks that sparse matrix units take."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from regularization_kernels import BlockSparsity, NOfM, TransposableSparsity, penalty, proximal_step
from regularization_kernels.engine import Layout, Method, Segment
from regularization_kernels.errors import GradientUndefined, GroupsInvalid

from tests.support.engine_streams import a_call, stream

WEIGHTS = {"dense": (6, 16), "pointwise": (6, 16, 1, 1), "convolution": (6, 16, 3, 5)}
every_weight = pytest.mark.parametrize("shape", WEIGHTS.values(), ids=WEIGHTS)
KINDS = {
    "normal": lambda x: x,
    "ties": np.round,
    "zeros": lambda x: np.where(np.abs(x) < 0.7, 0.0, x),
    "negative_zeros": lambda x: np.where(np.abs(x) < 0.7, -0.0, x),
}


def two_of_four(weight: NDArray[Any]) -> NDArray[np.bool_]:
    """Which weights stay, by the rule of the hardware: of a weight (out, in, …), along the inputs.

    The weight is written as a matrix with a column for each input, as a product with the inputs takes it; of
    each four columns of a row the two largest magnitudes stay, of equal ones the first.
    """
    outputs, inputs, *kernel = weight.shape
    taps = int(np.prod(kernel, dtype=int))
    matrix = [weight.reshape(outputs, inputs, taps)[o, :, t] for o in range(outputs) for t in range(taps)]
    mask = np.zeros((outputs, taps, inputs), dtype=bool)
    for at, row in enumerate(matrix):
        for begin in range(0, inputs, 4):
            order = sorted(range(begin, begin + 4), key=lambda column: (-abs(float(row[column])), column))
            mask[at // taps, at % taps, order[:2]] = True
    return mask.swapaxes(1, 2).reshape(weight.shape)


@every_weight
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("dtype", [np.float32, np.float64], ids=lambda dtype: dtype.__name__)
def test_weights_that_stay_are_those_that_hardware_takes(
    shape: tuple[int, ...], kind: str, dtype: Any
) -> None:
    """In each four inputs of an output, two; the others are 0, and what stays keeps its bits."""
    weight = KINDS[kind](np.random.default_rng(4).normal(size=shape)).astype(dtype)
    mask = two_of_four(weight)
    new, figures = proximal_step(weight, NOfM(n=2, m=4, axis=1), 1.0)
    np.testing.assert_array_equal(new, np.where(mask, weight, 0.0))
    np.testing.assert_array_equal(np.signbit(new), mask & np.signbit(weight))
    assert figures.total.nonzeros == np.count_nonzero(mask & (weight != 0))
    assert penalty(new, NOfM(n=2, m=4, axis=1)).total.penalty.value == 0.0
    inside = np.array_equal(new, weight)
    assert penalty(weight, NOfM(n=2, m=4, axis=1)).total.penalty.value == (0.0 if inside else np.inf)


def test_unset_the_axis_is_the_last() -> None:
    """Of a matrix (out, in) that of the inputs, so a run never goes on in the next row."""
    weight = np.random.default_rng(5).normal(size=(3, 8))
    unset, _ = proximal_step(weight, NOfM(n=2, m=4), 1.0)
    last, _ = proximal_step(weight, NOfM(n=2, m=4, axis=1), 1.0)
    np.testing.assert_array_equal(unset, np.where(two_of_four(weight), weight, 0.0))
    np.testing.assert_array_equal(unset, last)
    with pytest.raises(GroupsInvalid, match="divide the 6 elements along axis 1, got 4"):
        NOfM(n=2, m=4).on((2, 6))


def test_a_scalar_is_one_element_along_its_only_axis() -> None:
    """It has runs of one."""
    assert NOfM(n=1, m=1).on(()).value(np.array(3.0)) == 0.0
    with pytest.raises(GroupsInvalid, match="below the segment's 0 axes"):
        NOfM(n=1, m=1, axis=0).on(())


@pytest.mark.parametrize("m", [1, 4, 2**31, 2**62, 2**63 - 1])
@pytest.mark.parametrize("shape", [(0,), (0, 3), (3, 0), (2**62, 0), (0, 2**62)], ids=str)
def test_nothing_fits_whatever_the_other_lengths_are(shape: tuple[int, ...], m: int) -> None:
    """A segment without elements has no runs, along whichever axis m divides."""
    for axis, length in enumerate(shape):
        if length % m:
            with pytest.raises(GroupsInvalid, match="must divide"):
                NOfM(n=1, m=m, axis=axis).on(shape)
            continue
        prepared = NOfM(n=1, m=m, axis=axis).on(shape)
        x = np.empty(0)
        prepared.prox(x, 1.0, x)
        prepared.gradient(x, x)
        assert prepared.value(x) == 0.0


@pytest.mark.parametrize(("axis", "block"), [(0, 4 * 15), (1, 4 * 5), (2, 5)])
def test_the_segment_may_be_cut_after_every_m_lengths_of_the_axis(axis: int, block: int) -> None:
    """So no more than these wait: runs along any axis are computed as the elements come."""
    shape = (8, 4, 5) if axis == 1 else (8, 3, 5)
    prepared = NOfM(n=2, m=5 if axis == 2 else 4, axis=axis).on(shape)
    elements = int(np.prod(shape))
    cuts = {prepared.cut(position) for position in range(elements + 3)}
    assert cuts == set(range(0, elements + 1, block))
    layout = Layout(np.dtype(np.float32), (Segment("w", shape, prepared.regularizer),))
    x = np.random.default_rng(6).normal(size=elements).astype(np.float32)
    call = a_call(Method.PROXIMAL_STEP, layout)
    for places in (range(elements), [7, 40, 59], [block, block + 3], [block - 1]):
        assert stream(call, {"parameters": x}, places).bits() == stream(call, {"parameters": x}).bits()


def test_a_gradient_outside_names_the_first_element_of_the_run() -> None:
    """Of runs that interleave, as of others."""
    x = np.zeros((2, 4, 3))
    x[1, :3, 2] = 1.0
    prepared = NOfM(n=2, m=4, axis=1).on(x.shape)
    with pytest.raises(GradientUndefined, match="at most 2 nonzero elements in a run of 4") as caught:
        prepared.gradient(x, np.empty_like(x))
    assert caught.value.element == 12 + 2


def test_what_is_unknown_spreads_along_its_run_alone() -> None:
    """NaN, and an infinity in a run that is outside; in step and gradient."""
    x = np.ones((4, 3))
    x[:2] = 0.0
    x[2, 0], x[3, 1] = np.nan, np.inf
    new = np.empty_like(x)
    NOfM(n=1, m=4, axis=0).on(x.shape).prox(x, 1.0, new)
    np.testing.assert_array_equal(
        new, np.array([[np.nan, np.nan, 0], [np.nan, np.nan, 0], [np.nan, np.nan, 1], [np.nan, np.nan, 0]])
    )
    slope = np.empty_like(x)
    NOfM(n=2, m=4, axis=0).on(x.shape).gradient(x, slope)
    np.testing.assert_array_equal(slope, np.where(np.arange(3) == 0, np.nan, np.zeros((4, 3))))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("shape", [(12, 16), (8, 16, 3, 1)], ids=str)
def test_a_transposable_weight_is_two_of_four_both_ways(shape: tuple[int, ...], kind: str) -> None:
    """``n_of_m`` moves neither it nor its transpose, and the transpose's step is the same, but for ties."""
    weight = KINDS[kind](np.random.default_rng(6).normal(size=shape))
    new, figures = proximal_step(weight, TransposableSparsity(n=2), 1.0)
    for axis in (0, 1):
        np.testing.assert_array_equal(proximal_step(new, NOfM(n=2, m=4, axis=axis), 1.0)[0], new)
    across = np.ascontiguousarray(np.swapaxes(weight, 0, 1))
    turned, also = proximal_step(across, TransposableSparsity(n=2), 1.0)
    kept, kept_turned = (float(np.sum(np.square(each))) for each in (new, turned))
    assert kept == pytest.approx(kept_turned, rel=1e-14)
    assert kept <= float(np.sum(np.square(np.where(two_of_four(weight), weight, 0.0))))
    if kind == "normal":
        np.testing.assert_array_equal(np.swapaxes(turned, 0, 1), new)
        assert figures.total.nonzeros == also.total.nonzeros > 0.43 * weight.size


@pytest.mark.parametrize("kind", KINDS)
def test_blocks_that_stay_are_those_of_largest_norm(kind: str) -> None:
    """Of a kernel (out, in, height, width): outputs in threes, and all that two inputs have."""
    weight = KINDS[kind](np.random.default_rng(8).normal(size=(6, 8, 2, 2)))
    new, figures = proximal_step(weight, BlockSparsity(fraction=0.25, rows=3, columns=8), 1.0)
    blocks = weight.astype(np.float64).reshape(2, 3, 4, 8).transpose(0, 2, 1, 3).reshape(8, 24)
    order = np.argsort(-np.sum(np.square(blocks), axis=1), kind="stable")
    blocks[order[2:]] = 0.0
    expected = blocks.reshape(2, 4, 3, 8).transpose(0, 2, 1, 3).reshape(weight.shape)
    np.testing.assert_array_equal(new, expected.astype(weight.dtype))
    assert figures.total.nonzeros == np.count_nonzero(expected)


def test_the_best_pattern_may_leave_a_row_short() -> None:
    """Three rows and columns with two each, beside one element by itself, are better than all with two."""
    weight = np.array([[5.0, 1e-3, 0, 0], [0, 1, 1, 1e-3], [1e-3, 0, 1, 1], [0, 1, 1e-3, 1]])
    expected = np.where(weight == 1e-3, 0.0, weight)
    np.testing.assert_array_equal(proximal_step(weight, TransposableSparsity(n=2), 1.0)[0], expected)


def test_of_equal_patterns_the_first_stays() -> None:
    """That with the earliest elements; and tiny elements of a tile inside are not lost beside huge ones."""
    new, _ = proximal_step(np.ones((4, 4)), TransposableSparsity(n=2), 1.0)
    np.testing.assert_array_equal(new, [[1, 1, 0, 0], [1, 1, 0, 0], [0, 0, 1, 1], [0, 0, 1, 1]])
    inside = np.array([[1e300, 1e-300, 0, 0], [0, 5e-324, 0, 1], [0, 0, 0, 0], [-1, 0, 0, 0]])
    np.testing.assert_array_equal(proximal_step(inside, TransposableSparsity(n=2), 1.0)[0], inside)


def test_tiles_with_nan_or_outside_with_an_infinity_are_nan() -> None:
    """Other tiles are not; one that is inside stays, infinities and all."""
    weight = np.random.default_rng(7).normal(size=(4, 16))
    weight[1, 1], weight[2, 6], weight[:, 8:12] = np.nan, np.inf, np.diag([np.inf, 1.0, -np.inf, 2.0])
    new, _ = proximal_step(weight, TransposableSparsity(n=2), 1.0, propagate_non_finite=True)
    assert np.isnan(new[:, :8]).all()
    np.testing.assert_array_equal(new[:, 8:12], weight[:, 8:12])
    np.testing.assert_array_equal(
        new[:, 12:], proximal_step(weight[:, 12:].copy(), TransposableSparsity(n=2), 1.0)[0]
    )


def test_a_gradient_outside_names_the_tile() -> None:
    """By its first element."""
    weight = np.zeros((8, 8))
    weight[5, 4:7] = 1.0
    with pytest.raises(
        GradientUndefined, match="at most 2 nonzero elements in a row or column of a tile"
    ) as caught:
        TransposableSparsity(n=2).on((8, 8)).gradient(weight, np.empty((8, 8)))
    assert caught.value.element == 36
