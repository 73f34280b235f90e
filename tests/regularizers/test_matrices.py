"""What is true of matrices alone: sets up to rounding, roots, ties, LAPACK's ways, and bits on any BLAS."""

from __future__ import annotations

import math
import subprocess
import sys
import textwrap
import tracemalloc
from collections.abc import Callable
from itertools import product
from threading import Barrier, Thread
from typing import Any

import ml_dtypes
import numpy as np
import pytest
from numpy.typing import NDArray
from regularization_kernels import (
    NuclearBall,
    NuclearNorm,
    Orthogonality,
    RankBall,
    SpectralBall,
    SpectralNorm,
    SpectralNormalization,
    Stiefel,
    compilation,
    penalty,
    proximal_step,
)
from regularization_kernels.engine import Rounding, RoundingMode
from regularization_kernels.regularizers.matrices import lapack, linear_algebra
from regularization_kernels.regularizers.matrices.blas import held_blas
from regularization_kernels.regularizers.matrices.orthogonality import roots
from threadpoolctl import threadpool_limits

from tests.support.engine_streams import elements_of

Wide = NDArray[np.float64]

PENALTIES = (
    NuclearNorm(strength=0.3),
    SpectralNorm(strength=3.0),
    SpectralBall(radius=1.5),
    NuclearBall(radius=2.5),
    RankBall(rank=3),
    Orthogonality(strength=0.4),
    Stiefel(),
)
SETS = [
    SpectralBall(radius=1.5),
    SpectralBall(radius=1e-3),
    NuclearBall(radius=2.5),
    NuclearBall(radius=1e-3),
    RankBall(rank=1),
    RankBall(rank=3),
    Stiefel(),
]
SHORT = [np.float32, np.float16, ml_dtypes.bfloat16, np.int16]
ROUNDINGS = (Rounding(), Rounding(RoundingMode.STOCHASTIC, 7))

every_set = pytest.mark.parametrize("regularizer", SETS, ids=repr)
every_penalty = pytest.mark.parametrize("regularizer", PENALTIES, ids=lambda r: r.name)


def a_matrix(*shape: int, seed: int = 0, scale: float = 1.0) -> Wide:
    """A random matrix."""
    return np.random.default_rng(seed).normal(size=shape) * scale


def with_values(values: Any, rows: int, columns: int, seed: int = 0) -> Wide:
    """A matrix with these singular values."""
    random = np.random.default_rng(seed)
    u, v = (np.linalg.qr(random.normal(size=(n, len(values))))[0] for n in (rows, columns))
    return np.asarray((u * np.asarray(values)) @ v.T)


def step(regularizer: Any, x: Wide, step_size: float = 0.6) -> Wide:
    """The kernel's own step."""
    out = np.empty_like(x)
    regularizer.on(x.shape).prox(x, step_size, out)
    return out


def values_of(x: Wide) -> Wide:
    """NumPy's singular values."""
    return np.asarray(np.linalg.svd(x, compute_uv=False))


@every_set
@pytest.mark.parametrize("dtype", SHORT, ids=lambda dtype: dtype.__name__)
@pytest.mark.parametrize("shape", [(40, 30), (200, 7), (3, 3), (6, 1)], ids=str)
def test_a_rounded_projection_is_inside_and_stays(regularizer: Any, dtype: Any, shape: Any) -> None:
    """In short numbers the new parameters have penalty 0, however rounded, and a second step leaves them."""
    if getattr(regularizer, "rank", 0) > min(shape):
        return
    # Fixed point has no numbers beyond 1, and what saturates may leave any set but a box.
    scales = (0.01, 1.0) if np.dtype(dtype).kind == "i" else (0.01, 1.0, 100.0)
    for scale, rounding in product(scales, ROUNDINGS):
        x = elements_of(a_matrix(*shape, scale=scale), np.dtype(dtype))
        once, summary = proximal_step(x, regularizer, 1.0, rounding=rounding)
        assert summary.total.penalty is not None
        assert summary.total.penalty.value == 0.0
        again, _ = proximal_step(once, regularizer, 1.0)
        assert again.tobytes() == once.tobytes()


@every_set
def test_a_projection_is_inside_and_stays(regularizer: Any) -> None:
    """In float64 likewise, for small matrices of all shapes and scales, where LAPACK's errors are largest."""
    random = np.random.default_rng(3)
    for _ in range(400):
        rows, columns = sorted(random.integers(1, 7, 2), reverse=True)
        if getattr(regularizer, "rank", 0) > columns:
            continue
        x = random.normal(size=(rows, columns)) * 10.0 ** random.uniform(-3, 3, size=(rows, 1))
        p = step(regularizer, x)
        assert regularizer.on(x.shape).value(p) == 0.0
        np.testing.assert_array_equal(step(regularizer, p), p)


@pytest.mark.parametrize("shape", [(3, 3), (30, 40)], ids=str)
def test_what_counts_as_inside_is_what_a_step_leaves_alone(shape: tuple[int, int]) -> None:
    """To the bit, on both sides of every set's border, whichever of LAPACK's algorithms is asked."""
    few = min(shape)
    inside = set()
    for factor in (0.0, 0.1, 0.4, 0.5, 0.6, 0.9, 0.99, 1.0, 1.01, 1.1, 1.9, 2.0, 2.1, 5.0):
        for seed in range(5):
            ball = SpectralBall(radius=2.0).on(shape)
            slack = ball.regularizer.excess(np.zeros(shape), np.array([2.0]), ball.data_type).slack()
            low = RankBall(rank=1).on(shape)
            tiny = low.regularizer.excess(np.zeros(shape), np.eye(1, few)[0], low.data_type).slack()
            frame = Stiefel().on((40, few))
            for regularizer, x in (
                (ball, with_values([2.0 + factor * slack, *[1.0] * (few - 1)], *shape, seed=seed)),
                (low, with_values([1.0, factor * tiny], *shape, seed=seed)),
                (frame, with_values([1.0] * (few - 1) + [1.0 + factor * 1e-13], 40, few, seed=seed)),
            ):
                stays = np.array_equal(step(regularizer, x), x)
                assert stays == (regularizer.value(x) == 0.0)
                inside.add((regularizer.name, stays))
    assert len(inside) == 6


def test_a_ball_cuts_singular_values_off_far_and_near() -> None:
    """At a bit above the radius and at 1e30 times it, to a few units in the last place of the radius."""
    for scale in (1.01, 3.0, 100.0, 1e8, 1e30):
        for shape in ((4, 3), (60, 80)):
            x = a_matrix(*shape)
            x *= scale * 0.7 / values_of(x)[0]
            p = step(SpectralBall(radius=0.7), x)
            u, s, vt = np.linalg.svd(x, full_matrices=False)
            np.testing.assert_allclose(p, (u * np.minimum(s, 0.7)) @ vt, rtol=0, atol=1e-13)


def test_moreau_decomposition_of_the_nuclear_norm() -> None:
    """A matrix is the step of t·nuclear norm plus the projection onto the ball of its dual norm."""
    for shape in ((5, 3), (30, 40)):
        x = a_matrix(*shape, seed=4)
        shrunk = step(NuclearNorm(strength=0.5), x, 0.8)
        np.testing.assert_allclose(shrunk + step(SpectralBall(radius=0.4), x), x, rtol=0, atol=1e-14 * 40)


@pytest.mark.parametrize("size", [1e-300, 1e-30, 1.0, 1e30, 1e300])
def test_the_spectral_norm_takes_its_threshold_off_the_largest(size: float) -> None:
    """The new singular values are the old ones up to a level, and together lower by the threshold."""
    x = with_values(np.array([5.0, 4.0, 4.0, 1.0]) * size, 6, 5)
    p = values_of(step(SpectralNorm(strength=2.5 * size), x, 2.0))
    level = (13.0 - 5.0) / 3 * size
    np.testing.assert_allclose(p, [level, level, level, 1.0 * size, 0.0], rtol=1e-13, atol=1e-14 * size)
    assert not step(SpectralNorm(strength=14.0 * size), x, 1.0).any()


def test_ties_share_the_gradient_of_the_spectral_norm() -> None:
    """For singular values that are equal it is the shortest, the mean over them; float32 has more ties."""
    u = np.linalg.qr(a_matrix(6, 6))[0]
    out = np.empty_like(u)
    SpectralNorm(strength=3.0).on(u.shape).gradient(2.0 * u, out)
    np.testing.assert_allclose(out, 0.5 * u, rtol=0, atol=1e-15)
    x = with_values([1.0, 1.0 - 1e-8, 0.5], 6, 5)
    for dtype, length in ((np.float64, 1.0), (np.float32, math.sqrt(0.5))):
        slope = np.empty_like(x)
        SpectralNorm(strength=1.0).on(x.shape, np.dtype(dtype)).gradient(x, slope)
        assert np.linalg.norm(slope) == pytest.approx(length, rel=1e-12)


def test_a_rank_of_the_shorter_side_is_no_bound() -> None:
    """Every matrix is inside, and stays."""
    for shape in ((3, 5), (5, 3)):
        x = a_matrix(*shape)
        np.testing.assert_array_equal(step(RankBall(rank=3), x), x)
        assert RankBall(rank=3).on(shape).value(x) == 0.0


def test_the_nearest_orthonormal_columns_of_a_deficient_matrix() -> None:
    """One of many is given, at the least distance, also of the zero matrix."""
    for x in (np.zeros((4, 3)), with_values([2.0], 4, 3), with_values([3.0, 0.5], 5, 5)):
        p = step(Stiefel(), x)
        np.testing.assert_allclose(p.T @ p, np.eye(x.shape[1]), rtol=0, atol=1e-14)
        expected = math.sqrt(float(np.sum((values_of(x) - 1.0) ** 2)))
        assert np.linalg.norm(p - x) == pytest.approx(expected, rel=1e-13)


@pytest.mark.parametrize("shape", [(3, 0), (0, 0)], ids=str)
def test_no_columns_are_orthonormal(shape: tuple[int, int]) -> None:
    """A matrix without elements is inside of every set that takes its shape."""
    empty = np.empty(shape)
    for regularizer in (Stiefel(), SpectralBall(radius=0.0), RankBall(rank=0)):
        ready = regularizer.on(shape)
        assert ready.value(empty) == 0.0
        assert step(regularizer, empty).shape == shape
        ready.gradient(empty, empty)


def test_orthogonality_tends_to_orthonormal_columns() -> None:
    """As its strength grows, its step becomes the nearest matrix with orthonormal columns."""
    x = a_matrix(5, 3)
    np.testing.assert_allclose(
        step(Orthogonality(strength=1e12), x, 1.0), step(Stiefel(), x), rtol=0, atol=1e-11
    )


def test_orthogonality_of_a_transpose_differs_by_a_constant() -> None:
    """Columns beyond the number of rows cannot be orthonormal: each adds a quarter of the strength."""
    x = a_matrix(3, 7)
    wide, tall = (Orthogonality(strength=2.0).on(w.shape) for w in (x, x.T))
    assert wide.value(x) == pytest.approx(tall.value(np.ascontiguousarray(x.T)) + 2.0, rel=1e-14)
    miss = x.T @ x - np.eye(7)
    assert wide.value(x) == pytest.approx(0.5 * float(np.sum(miss * miss)), rel=1e-14)


@pytest.mark.parametrize("t", [1e-300, 1e-12, 0.3, 1 - 1e-9, 1.0, 1 + 2.0**-52, 1 + 1e-9, 3.0, 1e12, 1e300])
def test_roots_of_the_orthogonality_step(t: float) -> None:
    """They solve the equation to its rounding errors, and no r >= 0 has a lower objective."""
    values = np.array([1e100, 1e30, 7.0, 1.0 + 1e-9, 1.0, 0.2, 1e-9, 1e-30, 1e-100, 0.0])
    found = roots(values, t)
    assert np.all(np.diff(found) <= 0)
    for s, r in zip(values.tolist(), found.tolist(), strict=True):
        size = r * (t * r * r + abs(1 - t)) + s
        assert abs(r * (t * r * r + (1 - t)) - s) <= 8e-16 * size
        if s <= 7.0 and t <= 1e12:
            grid = np.concatenate([np.linspace(0, 8, 4001), r * np.linspace(0.9, 1.1, 201)])
            costs = t / 4 * (grid**2 - 1) ** 2 + (grid - s) ** 2 / 2
            least = t / 4 * (r**2 - 1) ** 2 + (r - s) ** 2 / 2
            assert least <= costs.min() + 1e-13 * max(1.0, t)


def test_roots_of_what_is_not_a_number() -> None:
    """NaN stays NaN, and takes no other with it."""
    found = roots(np.array([2.0, np.nan]), 0.5)
    assert math.isnan(found[1])
    assert found[0] == roots(np.array([2.0]), 0.5)[0]


def on_threads(threads: int, work: Callable[[], bytes]) -> bytes:
    """What comes of work while BLAS has so many threads."""
    with threadpool_limits(threads, user_api="blas"):
        return work()


@every_penalty
def test_bits_do_not_depend_on_threads_of_blas(regularizer: Any) -> None:
    """Step and penalty of a matrix that is large enough to be cut over threads."""
    x = a_matrix(300, 200, scale=0.3)

    def work() -> bytes:
        p, summary = proximal_step(x, regularizer, 0.6)
        value = penalty(x, regularizer).total.penalty
        assert summary.total.penalty is not None
        assert value is not None
        return p.tobytes() + repr((summary.total.penalty.value, value.value)).encode()

    assert on_threads(1, work) == on_threads(2, work)


USERS = """
    from threading import Thread
    from regularization_kernels.regularizers.matrices.blas import held_blas
    from threadpoolctl import threadpool_info

    def blas_threads():
        return {library["num_threads"] for library in threadpool_info() if library["user_api"] == "blas"}

    def user():
        for _ in range(200):
            with held_blas():
                with held_blas():
                    seen.append(blas_threads())
                seen.append(blas_threads())

    seen, at_first = [], blas_threads()
    users = [Thread(target=user) for _ in range(3)]
    for thread in users:
        thread.start()
    for thread in users:
        thread.join()
    assert seen == [{1}] * 1200
    assert blas_threads() == at_first
"""


def test_blas_has_one_thread_while_anyone_needs_it() -> None:
    """However many ask at once, and in one another; and as many as before afterwards."""
    # In a process of its own: what other tests gave up may still need it.
    subprocess.run([sys.executable, "-c", textwrap.dedent(USERS)], check=True)


def test_callers_do_not_wait_where_blas_has_one_thread_anyway() -> None:
    """As in a server's process: two matrices are decomposed at the same time."""
    with threadpool_limits(1, user_api="blas"):
        both = Barrier(2, timeout=30)

        def user() -> None:
            with held_blas():
                both.wait()

        users = [Thread(target=user) for _ in range(2)]
        for thread in users:
            thread.start()
        for thread in users:
            thread.join()
        assert not both.broken


def test_a_matrix_on_which_the_quick_algorithm_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    """LAPACK's other one takes over, with the same answer to rounding."""
    x = a_matrix(6, 4)
    expected = step(NuclearNorm(strength=0.5), x), NuclearNorm(strength=0.5).on(x.shape).value(x)
    monkeypatch.setattr(np.linalg, "svd", does_not_converge)
    monkeypatch.setattr(np.linalg, "svdvals", does_not_converge)
    np.testing.assert_allclose(step(NuclearNorm(strength=0.5), x), expected[0], rtol=1e-13, atol=1e-14)
    assert NuclearNorm(strength=0.5).on(x.shape).value(x) == pytest.approx(expected[1], rel=1e-14)
    # It counts in 32 bits. What is beyond them is not given to it.
    monkeypatch.setattr(linear_algebra, "INDEXABLE", x.size)
    with pytest.raises(np.linalg.LinAlgError, match="did not converge"):
        step(NuclearNorm(strength=0.5), x)


def does_not_converge(*_: Any, **__: Any) -> Any:
    """In the place of NumPy's decomposition."""
    raise np.linalg.LinAlgError("SVD did not converge")


@pytest.mark.parametrize("shape", [(1, 1), (5, 1), (1, 5), (40, 70), (70, 40)], ids=str)
def test_the_slow_decomposition(shape: tuple[int, int]) -> None:
    """Its factors are orthonormal, in order, and those of the matrix; the matrix is left as it is."""
    x = a_matrix(*shape, seed=8)
    given = x.copy()
    u, values, vt = lapack.slow_svd(x)
    np.testing.assert_allclose((u * values) @ vt, x, rtol=0, atol=1e-13)
    np.testing.assert_allclose(u.T @ u, np.eye(min(shape)), rtol=0, atol=1e-13)
    np.testing.assert_allclose(vt @ vt.T, np.eye(min(shape)), rtol=0, atol=1e-13)
    np.testing.assert_allclose(values, np.linalg.svd(x, compute_uv=False), rtol=1e-12)
    np.testing.assert_array_equal(x, given)


def test_routines_of_other_arguments_are_not_called() -> None:
    """A routine that does not take what it is given is refused, before memory is lost."""
    with pytest.raises(ImportError, match="takes other arguments than 7 places"):
        lapack._routine("dgbtrf", 7)


@pytest.mark.parametrize("regularizer", [*PENALTIES, SpectralNormalization(target=1.0)], ids=lambda r: r.name)
@pytest.mark.parametrize("shape", [(300, 300), (600, 400), (500, 50)], ids=str)
@pytest.mark.parametrize("dtype", [np.float64, np.float32], ids=lambda dtype: dtype.__name__)
def test_memory_is_what_is_taken_from_the_budget(
    regularizer: Any, shape: tuple[int, int], dtype: Any
) -> None:
    """What a step and a penalty allocate, in float64 numbers, is at most the workspace."""
    x, out = a_matrix(*shape), np.empty(shape)
    ready = regularizer.on(shape, np.dtype(dtype))
    for work in (lambda: ready.prox(x, 0.6, out), lambda: ready.value(x)):
        work()
        compilation.wait_until_compiled()
        tracemalloc.start()
        work()
        most = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert most <= 8 * ready.workspace(x.size)
