"""The ball of the nuclear norm, and positive semidefinite matrices."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from regularization_kernels import NuclearBall, PositiveSemidefinite, SpectralNorm

from tests.regularizers.test_matrices import a_matrix, step, values_of


def test_the_nuclear_ball_is_reached_from_far_and_near() -> None:
    """Singular values add up to the radius to a few units in its last place, however large they were."""
    for scale in (1.001, 3.0, 100.0, 1e8, 1e30, 1e300):
        for shape in ((4, 3), (60, 80)):
            x = a_matrix(*shape)
            x *= scale * 0.7 / values_of(x).sum()
            p = step(NuclearBall(radius=0.7), x)
            assert values_of(p).sum() == pytest.approx(0.7, rel=1e-13)
            assert NuclearBall(radius=0.7).on(shape).value(p) == 0.0


def test_moreau_decomposition_of_the_spectral_norm() -> None:
    """A matrix is the step of t·largest singular value plus the projection onto the ball of its dual norm."""
    for shape in ((5, 3), (30, 40)):
        x = a_matrix(*shape, seed=4)
        cut = step(SpectralNorm(strength=2.5), x, 0.8)
        np.testing.assert_allclose(cut + step(NuclearBall(radius=2.0), x), x, rtol=0, atol=1e-14 * 40)


@pytest.mark.parametrize("size", [1e-300, 1e-30, 1.0, 1e30, 1e300])
def test_the_nearest_semidefinite_matrix_loses_negative_eigenvalues(size: float) -> None:
    """Of the symmetric part; what gives a matrix and its negative adds up to that part."""
    x = a_matrix(9, 9, scale=size)
    p, q = step(PositiveSemidefinite(), x), step(PositiveSemidefinite(), -x)
    symmetric = x / 2 + x.T / 2
    for new in (p, q):
        np.testing.assert_array_equal(new, new.T)
        assert np.linalg.eigvalsh(new)[0] >= -1e-13 * size
    np.testing.assert_allclose(p - q, symmetric, rtol=0, atol=1e-13 * size)
    assert abs(float(np.sum((p / size) * (q / size)))) <= 1e-12


def test_a_few_positive_eigenvalues_are_not_lost_among_large_negative_ones() -> None:
    """The step is inside, though it is smaller by ten orders than what it is made of."""
    vectors = np.linalg.qr(a_matrix(8, 8, seed=1))[0]
    x = (vectors * np.array([-1e10] * 6 + [1.0, 2.0])) @ vectors.T
    p = step(PositiveSemidefinite(), x)
    assert PositiveSemidefinite().on(x.shape).value(p) == 0.0
    np.testing.assert_array_equal(step(PositiveSemidefinite(), p), p)


def test_symmetric_matrices_are_decomposed_where_the_quick_algorithm_fails(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """By another, with the same values and vectors, which give the same step."""
    x = a_matrix(7, 7)
    expected = step(PositiveSemidefinite(), x)

    def fail(*_: Any) -> None:
        raise np.linalg.LinAlgError

    monkeypatch.setattr(np.linalg, "eigh", fail)
    monkeypatch.setattr(np.linalg, "eigvalsh", fail)
    np.testing.assert_allclose(step(PositiveSemidefinite(), x), expected, rtol=0, atol=1e-14)
    assert PositiveSemidefinite().on(x.shape).value(expected) == 0.0
