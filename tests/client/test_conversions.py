"""The elastic net in other conventions, against their formulas."""

from __future__ import annotations

import numpy as np
import pytest
from regularization_client import ArgumentError, Client, elastic_net_from_mix, elastic_net_from_sklearn

THETA = np.array([0.8, -0.3, 0.5])
ABSOLUTE, SQUARED = 1.6, 0.98


@pytest.mark.parametrize("strength", [0.0, 0.1, 3.0])
@pytest.mark.parametrize("mix", [0.0, 0.25, 1.0])
def test_the_mix_has_no_half(client: Client, strength: float, mix: float) -> None:
    """λ(α·Σ|θ| + (1 - α)·Σθ²)."""
    expected = strength * (mix * ABSOLUTE + (1 - mix) * SQUARED)
    assert client.penalty(THETA, elastic_net_from_mix(strength, mix)).penalty == pytest.approx(expected)


@pytest.mark.parametrize("alpha", [0.0, 0.1, 3.0])
@pytest.mark.parametrize("l1_ratio", [0.0, 0.25, 1.0])
def test_sklearn_s_has_a_half(client: Client, alpha: float, l1_ratio: float) -> None:
    """alpha·l1_ratio·Σ|θ| + alpha·(1 - l1_ratio)·½·Σθ²."""
    expected = alpha * l1_ratio * ABSOLUTE + 0.5 * alpha * (1 - l1_ratio) * SQUARED
    assert client.penalty(THETA, elastic_net_from_sklearn(alpha, l1_ratio)).penalty == pytest.approx(expected)


def test_sklearn_s_solution_is_a_fixed_point(client: Client) -> None:
    """Proximal gradient descent on the mean squared error over 2 stays where scikit-learn's solver ends."""
    from sklearn.linear_model import ElasticNet  # type: ignore[import-untyped] # has none

    generator = np.random.default_rng(7)
    data = generator.standard_normal((40, 6))
    labels = data @ np.array([1.0, -2.0, 0.0, 0.0, 0.5, 0.0]) + 0.1 * generator.standard_normal(40)
    solution = ElasticNet(alpha=0.3, l1_ratio=0.7, fit_intercept=False, tol=1e-14, max_iter=100_000).fit(
        data, labels
    )
    gradients = data.T @ (data @ solution.coef_ - labels) / len(labels)
    step = client.proximal_step(
        solution.coef_, elastic_net_from_sklearn(0.3, 0.7), step_size=0.1, loss_gradients=gradients
    )
    np.testing.assert_allclose(step.parameters, solution.coef_, atol=1e-9)


@pytest.mark.parametrize(
    ("strength", "share"), [(-1.0, 0.5), (float("nan"), 0.5), (1.0, 1.5), (1.0, float("nan"))]
)
def test_numbers_out_of_range_are_refused(strength: float, share: float) -> None:
    """Before anything is built of them."""
    with pytest.raises(ArgumentError):
        elastic_net_from_mix(strength, share)
    with pytest.raises(ArgumentError):
        elastic_net_from_sklearn(strength, share)
