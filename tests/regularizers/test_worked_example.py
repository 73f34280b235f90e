"""The worked example of the conventions, to the stated numbers: θ = (0.8, −0.3, 0.5), λ = 0.1."""

from __future__ import annotations

import numpy as np
import pytest
from regularization_kernels import ElasticNet, L1Norm, SquaredL2Norm, gradient, penalty, proximal_step

THETA = np.array([0.8, -0.3, 0.5])
every_float = pytest.mark.parametrize("dtype", [np.float32, np.float64])


def penalty_of(theta: np.ndarray, regularizer: L1Norm | SquaredL2Norm | ElasticNet) -> float:
    """The penalty's value."""
    total = penalty(theta, regularizer).total.penalty
    assert total is not None
    return total.value


@every_float
def test_squared_l2_norm(dtype: type[np.floating]) -> None:
    """½·0.98 = 0.49, so the penalty is 0.049 and the gradient (0.08, −0.03, 0.05): mind the ½."""
    theta = THETA.astype(dtype)
    assert penalty_of(theta, SquaredL2Norm(strength=1.0)) == pytest.approx(0.49)
    assert penalty_of(theta, SquaredL2Norm(strength=0.1)) == pytest.approx(0.049)
    np.testing.assert_allclose(
        gradient(theta, SquaredL2Norm(strength=0.1))[0], [0.08, -0.03, 0.05], rtol=1e-6
    )


@every_float
def test_l1_norm(dtype: type[np.floating]) -> None:
    """Penalty 0.16, gradient (0.1, −0.1, 0.1), and a step subtracts 0.1·η from each magnitude."""
    theta = THETA.astype(dtype)
    l1 = L1Norm(strength=0.1)
    assert penalty_of(theta, l1) == pytest.approx(0.16)
    np.testing.assert_allclose(gradient(theta, l1)[0], [0.1, -0.1, 0.1], rtol=1e-6)
    for eta in (0.1, 1.0, 2.5):
        expected = np.sign(THETA) * (np.abs(THETA) - 0.1 * eta)
        stepped, summary = proximal_step(theta, l1, eta)
        np.testing.assert_allclose(stepped, expected, rtol=1e-5)
        assert summary.total.penalty is not None
        assert summary.total.squared_distance is not None
        assert summary.total.penalty.value == pytest.approx(0.1 * np.sum(np.abs(expected)), rel=1e-6)
        assert summary.total.squared_distance.value == pytest.approx(3 * (0.1 * eta) ** 2, rel=1e-5)
        assert summary.total.nonzeros == 3


def test_elastic_net_adds_the_two() -> None:
    """Penalty 0.16 + 0.049 with both strengths 0.1."""
    assert penalty_of(THETA, ElasticNet(l1_strength=0.1, l2_strength=0.1)) == pytest.approx(0.209)


@every_float
def test_subgradient_steps_oscillate_and_never_reach_zero(dtype: type[np.floating]) -> None:
    """Plain subgradient steps end up jumping to and fro across zero without reaching it."""
    theta = THETA.astype(dtype)
    signs = []
    for _ in range(200):
        theta = theta - dtype(0.1) * gradient(theta, L1Norm(strength=0.1))[0]
        assert np.all(theta != 0)
        signs.append(float(np.sign(theta[1])))
    assert signs[-4:] in ([1.0, -1.0, 1.0, -1.0], [-1.0, 1.0, -1.0, 1.0])
    assert 0 < abs(float(theta[1])) < 0.01


@every_float
def test_proximal_steps_reach_exact_zero(dtype: type[np.floating]) -> None:
    """With η = 0.1 the second component is exactly 0 after 29 to 31 steps, and stays there."""
    theta = THETA.astype(dtype)
    reached = 0
    for count in range(1, 101):
        theta, _ = proximal_step(theta, L1Norm(strength=0.1), 0.1)
        if theta[1] == 0 and not reached:
            reached = count
        assert (theta[1] == 0) == bool(reached)
    assert 29 <= reached <= 31
    np.testing.assert_array_equal(theta, np.zeros(3))
