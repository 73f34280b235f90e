"""Matrices by way of their Gram matrix: as near to the decomposition as the bounds say, or not."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from itertools import product
from typing import Any

import ml_dtypes
import numpy as np
import pytest
from numpy.typing import NDArray
from regularization_kernels import NuclearNorm, RankBall, SpectralBall, proximal_step
from regularization_kernels.formats import spacings
from regularization_kernels.interruption import interruptible
from regularization_kernels.regularizers.matrices import gram_factors, spectral_ball
from regularization_kernels.regularizers.matrices import leading_eigenvectors as leading
from regularization_kernels.regularizers.matrices.gram_factors import gram_error
from regularization_kernels.regularizers.matrices.leading_eigenvectors import leading_eigenvectors
from regularization_kernels.regularizers.matrices.linear_algebra import (
    EPSILON,
    additions,
    gram,
    largest_at_most,
)
from regularization_kernels.regularizers.matrices.low_rank import nearest_of_low_rank
from threadpoolctl import threadpool_limits

Wide = NDArray[np.float64]

SHAPES = [(60, 60), (200, 30), (30, 200), (1200, 40)]
FLOATS = [np.float32, np.float16, ml_dtypes.bfloat16]
DTYPES = [*FLOATS, np.int16]


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """The matrices are small, so that more threads of BLAS would only get in each other's way."""
    with threadpool_limits(1, user_api="blas"):
        yield


every_shape = pytest.mark.parametrize("shape", SHAPES, ids=str)
every_penalty = pytest.mark.parametrize(
    "regularizer", [NuclearNorm(strength=9.0), SpectralBall(radius=9.0), RankBall(rank=4)], ids=repr
)
every_dtype = pytest.mark.parametrize("dtype", DTYPES, ids=lambda dtype: dtype.__name__)


def with_values(values: Any, shape: tuple[int, int], seed: int = 0) -> Wide:
    """A matrix with these singular values."""
    random = np.random.default_rng(seed)
    u, v = (np.linalg.qr(random.normal(size=(n, len(values))))[0] for n in shape)
    return np.asarray((u * np.asarray(values)) @ v.T)


def spectra(few: int) -> dict[str, Wide]:
    """Singular values, at most 1, in all ways that matter to a threshold of 0.3."""
    return {
        "even": np.linspace(1.0, 0.0, few),
        "falling": 0.7 ** np.arange(few),
        "low": np.where(np.arange(few) < 4, 0.9, 0.0),
        "at the threshold": 0.3 + np.linspace(1e-6, -1e-6, few),
        "equal": np.full(few, 0.8),
        "two sizes": np.where(np.arange(few) < few // 2, 1.0, 1e-9),
    }


def decomposed(x: Wide, change: Callable[[Wide], Wide]) -> Wide:
    """A matrix with its singular values changed, by NumPy's decomposition."""
    u, values, vt = np.linalg.svd(x, full_matrices=False)
    return np.asarray((u * change(values)) @ vt)


def half_of_rounding(x: Wide, dtype: Any) -> float:
    """Half of the most that rounding a matrix to a data type moves it, in the norm of all elements."""
    return 0.25 * float(np.linalg.norm(spacings(x, np.dtype(dtype))))


def own_error(x: Wide) -> float:
    """What the decomposition that is compared with is off by itself."""
    return 1e-13 * float(np.linalg.norm(x))


@every_dtype
@every_shape
def test_the_step_of_the_nuclear_norm_is_the_decompositions(shape: tuple[int, int], dtype: Any) -> None:
    """By way of the Gram matrix it is off by less than rounding, and most matrices may go that way."""
    taken = 0
    for name, values in spectra(min(shape)).items():
        x = with_values(values, shape)
        factors = gram_factors.gram_factors(x, 0.3, np.dtype(dtype))
        taken += factors is not None
        out = np.empty_like(x)
        NuclearNorm(strength=0.3).on(shape, np.dtype(dtype)).prox(x, 1.0, out)
        expected = decomposed(x, lambda s: np.maximum(s - 0.3, 0.0))
        assert np.linalg.norm(out - expected) <= half_of_rounding(expected, dtype) + own_error(x), name
        assert not np.signbit(out[out == 0]).any()
    assert taken >= 4


@every_dtype
@every_shape
def test_the_projection_onto_the_ball_is_the_decompositions(shape: tuple[int, int], dtype: Any) -> None:
    """Likewise of a bound on the largest singular value; and its surplus to its own rounding."""
    taken = 0
    for name, values in spectra(min(shape)).items():
        x = with_values(values, shape)
        factors = gram_factors.gram_factors(x, 0.3, np.dtype(dtype))
        if factors is None:
            continue
        taken += 1
        surplus = factors.surplus(x, 0.3)
        for got, change in (
            (surplus, lambda s: np.maximum(s - 0.3, 0)),
            (x - surplus, lambda s: np.minimum(s, 0.3)),
        ):
            expected = decomposed(x, change)
            room = half_of_rounding(expected, dtype) + own_error(x)
            assert np.linalg.norm(got - expected) <= room, name
    assert taken >= 4


@every_shape
def test_the_bound_on_the_errors_holds(shape: tuple[int, int], monkeypatch: pytest.MonkeyPatch) -> None:
    """Of thresholds far below what is taken, too; and there the errors are more than rounding."""
    monkeypatch.setattr(gram_factors, "rounding_room", lambda *_: math.inf)
    worst = 0.0
    for values in spectra(min(shape)).values():
        x = with_values(values, shape)
        for threshold in 10.0 ** -np.arange(1, 9):
            factors = gram_factors.gram_factors(x, threshold, np.dtype(np.float32))
            assert factors is not None
            expected = decomposed(x, lambda s, t=threshold: np.maximum(s - t, 0.0))
            error = float(np.linalg.norm(factors.surplus(x, threshold) - expected))
            norm = float(np.linalg.norm(x))
            assert error <= gram_factors._error(shape, norm, values[0], threshold) + own_error(x)
            below = decomposed(x, lambda s, t=threshold: np.minimum(s, t))
            worst = max(worst, error / half_of_rounding(below, np.float32))
    assert worst > 1.0


@pytest.mark.parametrize("scale", [1e-60, 1e-30, 1.0, 1e30, 1e60])
def test_the_scale_of_a_matrix_does_not_matter(scale: float) -> None:
    """Matrix and threshold times a number give the step times that number, to rounding."""
    x = with_values(spectra(40)["even"], (50, 40)) * scale
    threshold = 0.3 * scale
    factors = gram_factors.gram_factors(x, threshold, np.dtype(np.float32))
    assert factors is not None
    expected = decomposed(x, lambda s: np.maximum(s - threshold, 0.0))
    np.testing.assert_allclose(factors.surplus(x, threshold), expected, rtol=0, atol=1e-12 * scale)
    x = with_values(0.9 ** np.arange(100), (100, 120)) * scale
    near = nearest_of_low_rank(x, 2, np.dtype(np.float32), lambda largest: 1e-12 * largest)
    assert near is not None
    expected = decomposed(x, lambda s: np.where(np.arange(100) < 2, s, 0.0))
    np.testing.assert_allclose(near, expected, rtol=0, atol=1e-8 * scale)


def test_what_rounding_would_show_is_decomposed() -> None:
    """In float64, with a small threshold, and where squares leave the range, there are no factors."""
    x, float32 = with_values(spectra(40)["even"], (50, 40)), np.dtype(np.float32)
    assert gram_factors.gram_factors(x, 0.3, np.dtype(np.float64)) is None
    assert gram_factors.gram_factors(x, 1e-5, float32) is None
    for tiny in (1e-300, 5e-324, 0.0):
        assert gram_factors.gram_factors(x, tiny, np.dtype(np.int8)) is None
    for wrong in (np.nan, np.inf, 1e200):
        y = x.copy()
        y[3, 4] = wrong
        assert gram_factors.gram_factors(y, 0.3, float32) is None
        assert nearest_of_low_rank(y, 1, float32, lambda _: 0.0) is None
    assert gram_factors.gram_factors(np.zeros((50, 40)), 0.3, float32) is None
    assert gram_factors.gram_factors(x * 1e-200, 0.3e-200, float32) is None


def test_all_below_a_threshold_is_nothing() -> None:
    """The step is zero to the bit, and the ball leaves the matrix, as soon as that is certain."""
    x = with_values(spectra(40)["even"], (50, 40))
    out = np.empty_like(x)
    NuclearNorm(strength=1.0 + 1e-9).on(x.shape, np.dtype(np.float32)).prox(x, 1.0, out)
    assert not out.any()
    SpectralBall(radius=1.0 + 1e-9).on(x.shape, np.dtype(np.float32)).prox(x, 1.0, out)
    np.testing.assert_array_equal(out, x)


@pytest.mark.parametrize("shape", [(3, 3), (512, 4), (513, 4), (4, 1500)], ids=str)
def test_a_gram_matrix_is_off_by_no_more_than_its_additions(shape: tuple[int, int]) -> None:
    """As compared with exact sums, in the norm of all elements."""
    x = np.random.default_rng(1).normal(size=shape) * 10.0 ** np.random.default_rng(2).uniform(
        -3, 3, size=shape
    )
    lines = x if shape[0] < shape[1] else x.T
    errors = [
        got - math.fsum(exact)
        for got, exact in zip(
            gram(x).reshape(-1),
            (
                [p for a, b in zip(left, right, strict=True) for p in two_product(a, b)]
                for left, right in product(lines.tolist(), repeat=2)
            ),
            strict=True,
        )
    ]
    bound = 0.5 * additions(max(shape)) * EPSILON * float(np.linalg.norm(x)) ** 2
    assert math.hypot(*errors) <= bound
    assert bound <= gram_error(shape, 1.0, 1.0) * float(np.linalg.norm(x)) ** 2


def two_product(a: float, b: float) -> tuple[float, float]:
    """A product and its rounding error, exactly (Dekker)."""
    high, low = _split(a)
    other_high, other_low = _split(b)
    rounded = a * b
    return rounded, low * other_low - (((rounded - high * other_high) - low * other_high) - high * other_low)


def _split(a: float) -> tuple[float, float]:
    high = a * 134217729.0 - (a * 134217729.0 - a)
    return high, a - high


@pytest.mark.parametrize("dtype", FLOATS, ids=lambda dtype: dtype.__name__)
@pytest.mark.parametrize("shape", [(300, 300), (200, 500), (500, 200)], ids=str)
def test_a_projection_onto_the_ball_stays(shape: tuple[int, int], dtype: Any) -> None:
    """Also of matrices whose singular values the ball makes equal: penalty 0, and the same bits again."""
    x = np.random.default_rng(5).normal(size=shape).astype(dtype)
    once, summary = proximal_step(x, SpectralBall(radius=9.0), 1.0)
    assert summary.total.penalty is not None
    assert summary.total.penalty.value == 0.0
    again, _ = proximal_step(once, SpectralBall(radius=9.0), 1.0)
    assert again.tobytes() == once.tobytes()


def test_near_the_balls_border_the_decomposition_decides(monkeypatch: pytest.MonkeyPatch) -> None:
    """A matrix is left alone or not as without the Gram matrix, on both sides of what is overlooked."""
    seen = set()
    for dtype, factor in product(
        (np.float32, np.float16), (-1e-7, -1e-12, 0.0, 1e-13, 1e-12, 5e-8, 1.19e-7, 1.2e-7, 1e-6)
    ):
        values = np.minimum(2.0 * (1.0 + factor), np.linspace(2.0 * (1.0 + factor), 0.1, 40))
        x = with_values(values, (60, 40))
        ball = SpectralBall(radius=2.0).on(x.shape, np.dtype(dtype))
        out, by_decomposition = np.empty_like(x), np.empty_like(x)
        ball.prox(x, 1.0, out)
        with monkeypatch.context() as patch:
            patch.setattr(spectral_ball, "gram_factors", lambda *_: None)
            ball.prox(x, 1.0, by_decomposition)
        stays = np.array_equal(out, x)
        assert stays == np.array_equal(by_decomposition, x)
        seen.add((dtype, stays))
    assert len(seen) == 4


@pytest.mark.parametrize("scale", [1e-300, 1.0, 1e300])
@every_shape
def test_a_bound_on_the_largest_singular_value_is_certain(shape: tuple[int, int], scale: float) -> None:
    """It holds where it is said to, and is said to hold but for a millionth."""
    for name, values in spectra(min(shape)).items():
        x = with_values(values, shape) * scale
        largest = float(np.linalg.norm(x, 2))
        assert not largest_at_most(x, largest * (1.0 - 1e-9)), name
        assert largest_at_most(x, largest * (1.0 + 2e-6)), name
    assert largest_at_most(np.zeros(shape), 0.0)


def symmetric_with(values: Any, seed: int = 3) -> Wide:
    """A symmetric matrix with these eigenvalues."""
    size = len(values)
    basis = np.linalg.qr(np.random.default_rng(seed).normal(size=(size, size)))[0]
    return np.asarray((basis * np.asarray(values)) @ basis.T)


@pytest.mark.parametrize("count", [0, 1, 5, 50, 51, 199, 200])
@pytest.mark.parametrize("indexable", [True, False], ids=["short", "long"])
def test_leading_eigenvectors_are_those_of_numpy(
    count: int, indexable: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Few of them or many, of even, falling and equal eigenvalues; also where there are too many to index."""
    if not indexable:
        monkeypatch.setattr(leading, "INDEXABLE", 1)
    spectra = {
        "even": np.linspace(1.0, 0.2, 200),
        "falling": 0.9 ** np.arange(200),
        "low": np.where(np.arange(200) < 5, 1.0, 1e-6),
        "equal": np.ones(200),
        "zero": np.zeros(200),
    }
    for name, values in spectra.items():
        symmetric, seen = symmetric_with(values), []
        found = leading_eigenvectors(symmetric, lambda given, seen=seen: seen.append(given) or count)
        assert found is not None, name
        expected, vectors = (part[..., ::-1] for part in np.linalg.eigh(symmetric))
        np.testing.assert_allclose(seen[0], expected, rtol=0, atol=1e-13, err_msg=name)
        np.testing.assert_allclose(found.values, expected, rtol=0, atol=1e-13, err_msg=name)
        own = found.vectors
        np.testing.assert_allclose(own.T @ own, np.eye(count), rtol=0, atol=1e-12, err_msg=name)
        missed = np.linalg.norm(symmetric @ own - own * values[:count])
        assert missed <= 1e-12, name
        assert found.residual <= 1e-12, name
        if 0 < count < 200 and expected[count - 1] - expected[count] > 1e-3:
            both = own.T @ vectors[:, :count]
            np.testing.assert_allclose(both @ both.T, np.eye(count), rtol=0, atol=1e-9, err_msg=name)


def test_vectors_that_do_not_lead_are_not_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where one of the leading eigenvectors was missed, or LAPACK does not converge, there are none."""
    symmetric = symmetric_with(np.linspace(1.0, 0.2, 40))
    assert leading_eigenvectors(symmetric, lambda _: 3) is not None
    vectors = np.linalg.eigh(symmetric)[1]
    for rows in (vectors.T[[36, 38, 39]], vectors.T[[0, 38, 39]], None):
        monkeypatch.setattr(leading, "last_eigenvectors", lambda *_, rows=rows: rows)
        assert leading_eigenvectors(symmetric, lambda _: 3) is None
    monkeypatch.setattr(leading, "all_eigenvectors", lambda *_: None)
    assert leading_eigenvectors(symmetric, lambda _: 30) is None
    monkeypatch.setattr(leading, "eigenvalues_of", lambda _: None)
    assert leading_eigenvectors(symmetric, lambda _: 0) is None
    x = with_values(np.linspace(1.0, 0.1, 40), (50, 40))
    assert gram_factors.gram_factors(x, 0.3, np.dtype(np.float32)) is None
    assert nearest_of_low_rank(x, 3, np.dtype(np.float32), lambda _: 0.0) is None


def test_what_few_vectors_miss_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    """As an error of the Gram matrix, which is not exceeded; where it is too much, all is decomposed."""
    x, float32 = with_values(0.8 ** np.arange(60), (60, 60)), np.dtype(np.float32)
    exact = leading.last_eigenvectors
    ends = []
    for off in (1e-13, 1e-9, 1e-6):

        def turned(form: Any, count: int, off: float = off) -> Wide | None:
            rows = exact(form, count)
            return None if rows is None else rows + off * np.random.default_rng(1).normal(size=rows.shape)

        monkeypatch.setattr(leading, "last_eigenvectors", turned)
        factors = gram_factors.gram_factors(x, 0.3, float32)
        near = nearest_of_low_rank(x, 3, float32, lambda _: 1e-12)
        ends.append((factors is None, near is None))
        if factors is not None:
            expected = decomposed(x, lambda s: np.maximum(s - 0.3, 0.0))
            error = float(np.linalg.norm(factors.surplus(x, 0.3) - expected))
            assert error <= half_of_rounding(expected, np.float32) + own_error(x)
        if near is not None:
            expected = decomposed(x, lambda s: np.where(np.arange(60) < 3, s, 0.0))
            assert np.linalg.norm(near - expected) <= half_of_rounding(expected, np.float32) + own_error(x)
    assert ends[0] == (False, False)
    assert ends[-1] == (True, True)


@every_dtype
@pytest.mark.parametrize("shape", [(220, 220), (210, 400), (400, 210), (60, 80)], ids=str)
def test_the_nearest_matrix_of_low_rank_is_the_decompositions(shape: tuple[int, int], dtype: Any) -> None:
    """It is off by less than rounding, for even and for falling singular values, however fast."""
    few = min(shape)
    for values in (np.linspace(1.0, 0.2, few), 0.9 ** np.arange(few), 0.5 ** np.arange(few)):
        x = with_values(values, shape)
        for rank in (1, 5):
            near = nearest_of_low_rank(x, rank, np.dtype(dtype), lambda _: 1e-12)
            assert near is not None
            expected = decomposed(x, lambda s, rank=rank: np.where(np.arange(few) < rank, s, 0.0))
            assert np.linalg.norm(near - expected) <= half_of_rounding(expected, dtype) + own_error(x)


def test_a_rank_at_equal_singular_values_is_decomposed() -> None:
    """Where the border is not told, or there is none, or rounding hides nothing, there is no short way."""
    x, float32 = with_values(np.repeat([1.0, 0.5], [10, 190]), (200, 200)), np.dtype(np.float32)
    assert nearest_of_low_rank(x, 5, float32, lambda _: 1e-12) is None
    assert nearest_of_low_rank(x, 10, float32, lambda _: 1e-12) is not None
    assert nearest_of_low_rank(x, 100, float32, lambda _: 1e-12) is None
    assert nearest_of_low_rank(x, 200, float32, lambda _: 1e-12) is None
    assert nearest_of_low_rank(x, 0, float32, lambda _: 1e-12) is None
    assert nearest_of_low_rank(x, 10, np.dtype(np.float64), lambda _: 1e-12) is None


@every_dtype
def test_a_matrix_of_low_rank_stays(dtype: Any) -> None:
    """To the bit, without a decomposition, also where its rank is lower than the bound."""
    for rank in (2, 8):
        x = with_values(np.linspace(0.5, 0.4, rank), (200, 180)).astype(np.float64)
        granted = float(np.linalg.norm(spacings(x, np.dtype(dtype))))
        assert nearest_of_low_rank(x, 8, np.dtype(dtype), lambda _, room=granted: room) is x


@pytest.mark.parametrize("dtype", DTYPES, ids=lambda dtype: dtype.__name__)
def test_a_projection_on_a_low_rank_stays(dtype: Any) -> None:
    """What was rounded has penalty 0, and another step leaves its bits."""
    x = with_values(0.9 ** np.arange(200) * 0.5, (220, 200))
    given = (x * 2**15).astype(np.int16) if dtype is np.int16 else x.astype(dtype)
    once, summary = proximal_step(given, RankBall(rank=6), 1.0)
    assert summary.total.penalty is not None
    assert summary.total.penalty.value == 0.0
    again, _ = proximal_step(once, RankBall(rank=6), 1.0)
    assert again.tobytes() == once.tobytes()


@every_penalty
def test_bits_do_not_depend_on_threads(regularizer: Any) -> None:
    """Of BLAS, neither in the Gram matrix nor in what is made of it."""
    x = np.random.default_rng(7).normal(size=(700, 500))
    results = []
    for threads in (1, 2):
        with threadpool_limits(threads, user_api="blas"):
            results.append(np.empty_like(x))
            regularizer.on(x.shape, np.dtype(np.float32)).prox(x, 1.0, results[-1])
    assert results[0].tobytes() == results[1].tobytes()


@every_penalty
def test_what_nobody_waits_for_stops_between_steps(regularizer: Any) -> None:
    """A check that gives the call up is asked, and ends it, however often it let it go on."""

    class GivenUpError(Exception):
        pass

    x, out = np.random.default_rng(6).normal(size=(1100, 200)), np.empty((1100, 200))
    prepared = regularizer.on(x.shape, np.dtype(np.float32))
    for patience in range(4):
        left = iter(range(patience))

        def check(left: Any = left) -> None:
            if next(left, None) is None:
                raise GivenUpError

        with interruptible(check), pytest.raises(GivenUpError):
            prepared.prox(x, 1.0, out)
