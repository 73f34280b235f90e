"""Spectral normalization divides by the largest singular value, which it has to 1e-12 whatever the matrix."""

from __future__ import annotations

import math
from typing import Any

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from regularization_kernels import SpectralNormalization, proximal_step
from regularization_kernels.errors import MethodUnsupported
from regularization_kernels.regularizers.matrices import spectral_normalization as module
from threadpoolctl import threadpool_limits

from tests.support.cases import matrices
from tests.support.oracles.matrices import as_matrix

Wide = NDArray[np.float64]

PLAIN = SpectralNormalization(target=1.0)
INSTANCES = [
    pytest.param(*instance, id=repr(instance[0]))
    for row in matrices.MAPS
    for instance in row.instances.values()
]
every_instance = pytest.mark.parametrize(("regularizer", "shape"), INSTANCES)


def normalized(regularizer: SpectralNormalization, x: Wide, step_size: float = 0.6) -> Wide:
    """The map, by the kernel alone."""
    out = np.full_like(x, np.nan)
    regularizer.on(x.shape).prox(x, step_size, out)
    return out


def largest(x: NDArray[Any], regularizer: SpectralNormalization = PLAIN) -> float:
    """The largest singular value of an array as the matrix that the contract says, by NumPy."""
    matrix = as_matrix(regularizer, x.astype(np.float64))
    return float(np.linalg.svd(matrix, compute_uv=False)[0])


def expected_value(regularizer: SpectralNormalization, x: Wide) -> float:
    """What the largest singular value must be afterwards."""
    return regularizer.target if regularizer.scale_up else min(largest(x, regularizer), regularizer.target)


def with_values(values: Any, rows: int, columns: int, seed: int = 0) -> Wide:
    """A matrix with these singular values."""
    random = np.random.default_rng(seed)
    u, v = (np.linalg.qr(random.normal(size=(n, len(values))))[0] for n in (rows, columns))
    return np.asarray((u * np.asarray(values)) @ v.T)


def check(regularizer: SpectralNormalization, x: Wide) -> None:
    """Assert the documented result: a multiple of x, with the right largest singular value."""
    p = normalized(regularizer, x)
    assert largest(p, regularizer) == pytest.approx(expected_value(regularizer, x), rel=1e-12)
    factor = expected_value(regularizer, x) / largest(x, regularizer)
    np.testing.assert_allclose(p, x * factor, rtol=1e-12, atol=0)


@every_instance
@pytest.mark.parametrize("scale", [0.01, 1.0, 100.0])
def test_the_largest_singular_value_is_the_target(regularizer: Any, shape: Any, scale: float) -> None:
    """Or stays where it is below, without scale_up; kernels of convolutions have a row for each output."""
    for seed in range(5):
        check(regularizer, np.random.default_rng(seed).normal(size=shape) * scale)


@pytest.mark.parametrize("scale_up", [False, True])
@pytest.mark.parametrize(
    "values",
    [
        [3.0, 1.0, 0.5],
        [3.0, 3.0, 3.0],
        [3.0, 3.0 * (1 - 1e-15), 1.0],
        [3.0, 3.0 * (1 - 1e-12), 1.0],
        [3.0, 3.0 * (1 - 1e-9), 1.0],
        [3.0, 3.0 * (1 - 1e-6), 1.0],
        [3.0, 3.0 * (1 - 1e-3), 1.0],
        [3.0, 2.99, 2.98, 2.97, 2.96],
        [3.0, 1e-200],
        [3.0],
    ],
    ids=str,
)
def test_singular_values_near_the_largest(values: list[float], scale_up: bool) -> None:
    """However near they are, the largest is found to 1e-12 of it."""
    for seed in range(4):
        x = with_values(values, 7, 9, seed)
        regularizer = SpectralNormalization(target=2.0, scale_up=scale_up)
        np.testing.assert_allclose(largest(normalized(regularizer, x)), 2.0, rtol=1e-12)


@pytest.mark.parametrize("rows", [2, 5, 40])
def test_a_start_that_misses_the_largest(rows: int) -> None:
    """The iteration may begin at right angles to what it seeks; the answer is right all the same."""
    start = 0.5 + np.arange(1, rows + 1) * 0.6180339887498949 % 1.0
    start /= np.linalg.norm(start)
    away = np.eye(rows)[0] - start * start[0]
    away /= np.linalg.norm(away)
    # Symmetric, with eigenvectors at the start and at right angles to it, where the larger one is.
    x = 1.0 * np.outer(start, start) + 5.0 * np.outer(away, away)
    check(SpectralNormalization(target=1.0), x)


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_any_matrix(data: st.DataObject) -> None:
    """Sparse, tied, of any shape and scale."""
    shape = data.draw(st.tuples(st.integers(1, 6), st.integers(1, 6)))
    elements = st.sampled_from([0.0, 0.0, 1.0, -1.0, 2.0, 0.3, -7.5])
    numbers = data.draw(st.lists(elements, min_size=math.prod(shape), max_size=math.prod(shape)))
    x = np.array(numbers).reshape(shape) * 10.0 ** data.draw(st.integers(-40, 40))
    regularizer = SpectralNormalization(
        target=10.0 ** data.draw(st.integers(-20, 20)), scale_up=data.draw(st.booleans())
    )
    if x.any():
        check(regularizer, x)
    else:
        np.testing.assert_array_equal(normalized(regularizer, x), x)


@pytest.mark.parametrize("size", [5e-324, 1e-310, 1e-200, 1e-30, 1e30, 1e200, 1e308])
def test_ends_of_the_range(size: float) -> None:
    """Neither squares nor quotients leave the range."""
    x = np.array([[1.0, 0.0], [0.0, 0.25], [0.5, 0.5]]) * size
    up = normalized(SpectralNormalization(target=1.0, scale_up=True), x)
    assert largest(up) == pytest.approx(1.0, rel=1e-12)
    down = normalized(SpectralNormalization(target=1.0), x)
    if size < 1:
        np.testing.assert_array_equal(down, x)
    else:
        assert largest(down) == pytest.approx(1.0, rel=1e-12)


@pytest.mark.parametrize("scale_up", [False, True])
def test_zero_and_nothing_stay(scale_up: bool) -> None:
    """A zero matrix has no direction to be scaled in, and an empty one no elements."""
    regularizer = SpectralNormalization(target=1.0, scale_up=scale_up)
    for shape in ((3, 2), (0, 4), (4, 0), (0, 0), (2, 0, 3), (0, 2, 3)):
        np.testing.assert_array_equal(normalized(regularizer, np.zeros(shape)), np.zeros(shape))


@every_instance
def test_what_is_at_most_the_target_stays(regularizer: Any, shape: Any) -> None:
    """To the bit, without scale_up; and a second time changes nothing but by rounding."""
    x = np.random.default_rng(1).normal(size=shape)
    once = normalized(regularizer, x)
    np.testing.assert_allclose(normalized(regularizer, once), once, rtol=1e-12, atol=0)
    if not regularizer.scale_up:
        below = once * 0.99
        np.testing.assert_array_equal(normalized(regularizer, below), below)


@every_instance
def test_numbers_that_are_not_finite(regularizer: Any, shape: Any) -> None:
    """NaN and infinity make everything NaN, never silently something else."""
    for number in (np.nan, np.inf, -np.inf):
        x = np.random.default_rng(2).normal(size=shape)
        x.ravel()[1] = number
        assert np.all(np.isnan(normalized(regularizer, x)))


@every_instance
def test_the_step_size_does_not_matter(regularizer: Any, shape: Any) -> None:
    """No bit changes, at 0 either; nor where the result lies over the input, which else is not modified."""
    x = np.random.default_rng(3).normal(size=shape) * 10
    before = x.copy()
    expected = normalized(regularizer, x)
    for step_size in (0.0, 1e-300, 7.0):
        np.testing.assert_array_equal(normalized(regularizer, x, step_size), expected)
    np.testing.assert_array_equal(x, before)
    regularizer.on(shape).prox(x, 1.0, x)
    np.testing.assert_array_equal(x, expected)


@every_instance
@pytest.mark.parametrize("dtype", [np.float32, np.float16, ml_dtypes.bfloat16], ids=lambda d: d.__name__)
def test_short_numbers_are_the_float64_result_rounded_once(regularizer: Any, shape: Any, dtype: Any) -> None:
    """Through the engine, whose summary has penalty 0."""
    x = (np.random.default_rng(4).normal(size=shape) * 3).astype(dtype)
    out, summary = proximal_step(x, regularizer, 0.6)
    wide = normalized(regularizer, x.astype(np.float64))
    np.testing.assert_allclose(out.astype(np.float64), wide, rtol=float(ml_dtypes.finfo(dtype).eps) / 2)
    assert summary.total.penalty is not None
    assert summary.total.penalty.value == 0.0
    assert largest(out, regularizer) == pytest.approx(
        expected_value(regularizer, x.astype(np.float64)), rel=2e-2
    )


def test_there_is_neither_gradient_nor_penalty() -> None:
    """A gradient is refused; in a sum of penalties it is 0."""
    x = np.ones((3, 2))
    with pytest.raises(MethodUnsupported):
        SpectralNormalization(target=1.0).on(x.shape).gradient(x, np.empty_like(x))
    assert SpectralNormalization(target=1.0).on(x.shape).value(x) == 0.0


def test_bits_do_not_depend_on_threads_of_blas() -> None:
    """By the iteration and by LAPACK, of matrices that are large enough to be cut over threads."""
    random = np.random.default_rng(5)
    for x in (random.normal(size=(300, 200)), random.normal(size=(300, 200)) + 1.0):
        found = []
        for threads in (1, 2):
            with threadpool_limits(threads, user_api="blas"):
                found.append(normalized(SpectralNormalization(target=1.0), x).tobytes())
        assert found[0] == found[1]


@pytest.mark.parametrize(
    ("values", "exact"),
    [([3.0, 1.0, 0.5], False), ([3.0, 3.0, 3.0], False), ([3.0, 2.9999, 1.0], True), ([3.0, 2.99], True)],
    ids=str,
)
def test_lapack_is_asked_where_the_iteration_cannot_tell(
    values: list[float], exact: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And only there: one value far above the others, or as many as there are, are found without it."""
    asked = []
    exactly = module.singular_values

    def counting(x: Wide) -> Wide:
        asked.append(x.shape)
        return exactly(x)

    monkeypatch.setattr(module, "singular_values", counting)
    x = with_values(values, len(values), 9)
    assert largest(normalized(SpectralNormalization(target=1.0), x)) == pytest.approx(1.0, rel=1e-12)
    assert bool(asked) == exact
