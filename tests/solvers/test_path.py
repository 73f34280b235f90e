"""Solutions over a range of strengths."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from regularization_client import (
    ArgumentError,
    Client,
    ElasticNet,
    Joint,
    L1Norm,
    L2Norm,
    Modified,
    Planned,
    Slope,
    SlopeStrengths,
    SparseGroupLasso,
    SquaredL2Norm,
    TotalVariation,
)
from regularization_client.solvers import minimize, path, strength_max
from regularization_client.solvers._strengths import scaled

from tests.support.least_squares import LeastSquares, coordinate_descent, exact_lasso, recording

Array = NDArray[np.float64]
PROBLEM = LeastSquares.random(60, (20,))


@pytest.fixture(scope="module")
def diabetes() -> LeastSquares:
    """Ten features of 442 patients, and what is to be predicted, less its mean."""
    datasets = pytest.importorskip("sklearn.datasets")
    features, targets = datasets.load_diabetes(return_X_y=True)
    return LeastSquares(np.ascontiguousarray(features), targets - targets.mean())


def test_the_diabetes_path_is_scikit_learn_s(client: Client, diabetes: LeastSquares) -> None:
    """Strengths from the largest correlation on; at each the coefficients, which conditions say exactly."""
    linear_model = pytest.importorskip("sklearn.linear_model")
    found = path(diabetes, np.zeros(10), L1Norm(), client, count=60, ratio=0.02, tol=1e-12)
    strongest = float(np.abs(diabetes.gradient(np.zeros(10))).max())
    np.testing.assert_allclose(found.strengths, np.geomspace(strongest, 0.02 * strongest, 60), rtol=1e-12)
    assert found.converged
    _, theirs, _ = linear_model.lasso_path(
        diabetes.rows, diabetes.targets, alphas=found.strengths, tol=1e-12, max_iter=10**5
    )
    for strength, ours, other in zip(found.strengths, found.x, theirs.T, strict=True):
        exact = exact_lasso(diabetes, strength, ours)
        np.testing.assert_allclose(ours, exact, rtol=0, atol=3e-7)
        np.testing.assert_allclose(other, exact, rtol=0, atol=3e-7)


def test_a_path_takes_far_fewer_steps_than_its_solutions_alone(
    client: Client, diabetes: LeastSquares
) -> None:
    """Less than four tenths of what they take from 0, and they are the same solutions."""
    found = path(diabetes, np.zeros(10), L1Norm(), client, count=40, ratio=0.05)
    cold = [minimize(diabetes, np.zeros(10), L1Norm(strength=each), client) for each in found.strengths]
    assert found.converged
    np.testing.assert_allclose(found.x, [each.x for each in cold], atol=1e-3)
    assert found.iterations == sum(each.iterations for each in found.solutions)
    assert found.iterations <= 0.4 * sum(each.iterations for each in cold)


def test_a_solution_further_on_the_same_line_is_found_at_once(client: Client) -> None:
    """Between two strengths at which features come or go, solutions of the lasso lie on a line."""
    strengths = np.array([0.2, 0.199, 0.198, 0.1975])
    found = path(PROBLEM, np.zeros(20), L1Norm(), client, strengths=strengths, tol=1e-9)
    assert len({(x != 0).tobytes() for x in found.x}) == 1
    first, second, *others = (each.iterations for each in found.solutions)
    assert min(first, second) > 10
    assert max(others) <= 3


def test_strengths_may_be_equal_or_far_apart(client: Client) -> None:
    """Wherever the last two solutions lead, the next one is found."""
    found = path(PROBLEM, np.zeros(20), L1Norm(), client, strengths=[1.0, 1.0, 0.99, 0.01, 0.0], tol=1e-11)
    for strength, x in zip(found.strengths.tolist(), found.x, strict=True):
        np.testing.assert_allclose(x, coordinate_descent(PROBLEM, strength), atol=1e-8)


def test_a_path_does_not_leave_where_the_loss_is_finite(client: Client) -> None:
    """The last two solutions lead beyond a barrier at 1; the next one is on this side of it."""
    calls: list[Array] = []

    def barrier(x: Array) -> tuple[float, Array]:
        with np.errstate(invalid="ignore"):
            return float(np.sum((x - 2) ** 2 / 2 - 0.01 * np.log(1 - x))), x - 2 + 0.01 / (1 - x)

    found = path(
        recording(barrier, calls), [0.0], L1Norm(), client, strengths=[1.9, 1.2, 0.5, 0.0], tol=1e-11
    )
    pull = 2 - found.strengths
    expected = (1 + pull - np.sqrt((1 - pull) ** 2 + 0.04)) / 2
    np.testing.assert_allclose(found.x[:, 0], expected, rtol=1e-9)
    assert any((x > 1).any() for x in calls)


def test_a_plan_is_refused(client: Client) -> None:
    """Its strengths are those of a step of training, and not a solver's to choose."""
    plan = Planned("policy", step=0)
    for solver in (
        lambda: minimize(PROBLEM, np.zeros(20), plan, client),  # type: ignore[arg-type] # it is none
        lambda: path(PROBLEM, np.zeros(20), plan, client),  # type: ignore[arg-type] # likewise
        lambda: strength_max(np.ones(20), plan, client),  # type: ignore[arg-type] # likewise
    ):
        with pytest.raises(ArgumentError, match="solvers take no plan"):
            solver()


def test_given_strengths_are_taken_from_the_strongest_on(client: Client) -> None:
    """In any order, 0 among them; each solution is that of its strength."""
    found = path(PROBLEM, np.zeros(20), L1Norm(), client, strengths=[0.01, 0.3, 0.0, 0.1], tol=1e-11)
    assert found.strengths.tolist() == [0.3, 0.1, 0.01, 0.0]
    for strength, x in zip(found.strengths.tolist(), found.x, strict=True):
        np.testing.assert_allclose(x, coordinate_descent(PROBLEM, strength), atol=1e-8)


def test_what_is_exempt_is_fitted_before_the_path_begins(client: Client) -> None:
    """The least strength is that of the gradient where the intercept alone is fitted, as glmnet has it."""
    rows, targets = PROBLEM.rows + 1.0, PROBLEM.targets + 5.0

    def loss(parameters: dict[str, Array]) -> tuple[float, dict[str, Any]]:
        residuals = rows @ parameters["weights"] + parameters["intercept"] - targets
        slopes = residuals / 60
        return float(residuals @ slopes) / 2, {"weights": rows.T @ slopes, "intercept": slopes.sum()}

    start = {"weights": np.zeros(20), "intercept": 0.0}
    found = path(loss, start, {"weights": L1Norm(), "*": None}, client, count=2, ratio=0.9, tol=1e-11)
    expected = np.abs(rows.T @ (targets - targets.mean())).max() / 60
    assert found.strengths[0] == pytest.approx(expected, rel=1e-8)
    assert not found.x["weights"][0].any()
    assert found.x["intercept"][0] == pytest.approx(targets.mean())
    assert found.x["weights"][1].any()


def test_directions_that_are_free_are_fitted_too(client: Client) -> None:
    """Total variation leaves constants free: the path begins at the best of them."""
    found = path(PROBLEM, np.zeros(20), TotalVariation(), client, count=2, ratio=0.9, tol=1e-11)
    sums = PROBLEM.rows.sum(axis=1)
    constant = float(sums @ PROBLEM.targets / (sums @ sums))
    np.testing.assert_allclose(found.x[0], constant, rtol=1e-8)
    assert len(np.unique(found.x[1])) == 2


def test_a_strength_multiplies_all_strengths() -> None:
    """Wherever a message has some; one unset counts as 1, and the caller's message is not changed."""
    joint = Joint(L2Norm(strength=2.0))
    rules = {
        "a": L1Norm(),
        "b": ElasticNet(l1_strength=1.0, l2_strength=2.0),
        "c": SparseGroupLasso(l1_strength=0.5, group_strength=0.25),
        "d": Slope(strengths=SlopeStrengths(values=[3.0, 1.0])),
        "e": Slope(oscar={"l1_strength": 1.0, "pairwise_strength": 0.5}),
        "f": Modified(L1Norm(strength=2.0), smoothing=7.0),
        "g": joint,
        "h": joint,
        "i": None,
    }
    tenfold: Any = scaled(rules, 10.0)
    assert tenfold["a"] == L1Norm(strength=10.0)
    assert tenfold["b"] == ElasticNet(l1_strength=10.0, l2_strength=20.0)
    assert tenfold["c"] == SparseGroupLasso(l1_strength=5.0, group_strength=2.5)
    assert tenfold["d"] == Slope(strengths=SlopeStrengths(values=[30.0, 10.0]))
    assert tenfold["e"] == Slope(oscar={"l1_strength": 10.0, "pairwise_strength": 5.0})
    assert tenfold["f"] == Modified(L1Norm(strength=20.0), smoothing=7.0)
    assert tenfold["g"] is tenfold["h"]
    assert tenfold["g"] == Joint(L2Norm(strength=20.0))
    assert tenfold["i"] is None
    assert joint == Joint(L2Norm(strength=2.0))
    assert rules["d"] == Slope(strengths=SlopeStrengths(values=[3.0, 1.0]))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"strengths": []}, "at least one number"),
        ({"strengths": 3.0}, "must be a sequence"),
        ({"strengths": [1.0, -1.0]}, r"each of strengths must be a finite number >= 0, got -1\.0"),
        ({"strengths": [1.0, math.nan]}, "a finite number >= 0, got nan"),
        ({"strengths": [1.0, math.inf]}, "got inf"),
        ({"strengths": ["much"]}, "strengths must be numbers"),
        ({"count": 0}, "count must be a whole number >= 1, got 0"),
        ({"count": 10**12}, "count must be at most 10000, got 1000000000000"),
        ({"ratio": 1.0}, "ratio must be above 0 and below 1"),
        ({"ratio": math.nan}, "ratio"),
        ({"ratio": "half"}, "ratio must be above 0 and below 1, got half"),
        ({"tol": -1.0}, "tol"),
    ],
)
def test_arguments_are_checked(client: Client, options: dict[str, Any], message: str) -> None:
    """By name and value, before anything is made of them."""
    with pytest.raises(ArgumentError, match=message):
        path(PROBLEM, np.zeros(20), L1Norm(), client, **options)


def test_a_path_that_has_no_beginning_is_refused(client: Client) -> None:
    """Where no strength brings the penalty to 0, or none is needed."""
    with pytest.raises(ArgumentError, match="flat at 0"):
        path(PROBLEM, np.zeros(20), SquaredL2Norm(), client)
    with pytest.raises(ArgumentError, match="give strengths"):
        path(lambda x: (0.0, 0 * x), np.zeros(20), L1Norm(), client)
    ridge = path(PROBLEM, np.zeros(20), SquaredL2Norm(), client, strengths=[1.0])
    hessian = PROBLEM.rows.T @ PROBLEM.rows / 60 + np.eye(20)
    np.testing.assert_allclose(
        ridge.x[0], np.linalg.solve(hessian, PROBLEM.rows.T @ PROBLEM.targets / 60), atol=1e-7
    )
