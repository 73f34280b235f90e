"""What ``minimize`` returns is a minimizer, and says honestly how near."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from regularization_client import (
    ArgumentError,
    Box,
    Client,
    GroupLasso,
    Groups,
    InvalidRequestError,
    Joint,
    L1Norm,
    L2Norm,
    Modified,
    SquaredL2Norm,
)
from regularization_client.solvers import minimize

from tests.support.cases import CASES
from tests.support.cases.row import Case
from tests.support.instances import message_of
from tests.support.least_squares import LeastSquares, coordinate_descent, first_of_each, recording

Array = NDArray[np.float64]
PROBLEM = LeastSquares.random(60, (20,))
CONVEX = first_of_each(case for case in CASES if case.regularizer.traits.convex)


@pytest.mark.parametrize("strength", [0.3, 0.03, 0.001])
def test_the_lasso_is_coordinate_descent_s(client: Client, strength: float) -> None:
    """Another algorithm finds the same point, with the same zeros."""
    found = minimize(PROBLEM, np.zeros(20), L1Norm(strength=strength), client, tol=1e-12)
    expected = coordinate_descent(PROBLEM, strength)
    assert found.converged
    np.testing.assert_allclose(found.x, expected, rtol=0, atol=1e-10)
    np.testing.assert_array_equal(found.x == 0, expected == 0)
    assert found.objective == pytest.approx(
        PROBLEM(expected)[0] + strength * np.abs(expected).sum(), rel=1e-12
    )


@pytest.mark.parametrize("case", CONVEX, ids=lambda case: case.label)
def test_solutions_have_certificates(client: Client, case: Case) -> None:
    """Of every convex regularizer: less the loss's gradient is a subgradient of the documented penalty."""
    problem = LeastSquares.random(3 * case.size, case.shape, seed=1)
    start = case.row.onto_domain(case.regularizer, np.full(case.shape, 0.5))
    found = minimize(problem, start, message_of(case.regularizer), client, tol=1e-9)
    assert found.converged
    slope = -problem.gradient(found.x)
    off = case.row.certificate(case.regularizer, found.x, slope)
    assert off <= 1e-8 * float(np.linalg.norm(problem.gradient(np.zeros(case.shape)))) * case.row.accuracy


@pytest.mark.parametrize("step_size", ["backtracking", "given"])
@pytest.mark.parametrize("accelerated", [True, False])
@pytest.mark.parametrize("restart", ["gradient", None])
def test_all_ways_lead_to_the_same_point(
    client: Client, step_size: Any, accelerated: bool, restart: Any
) -> None:
    """With momentum or without, with given steps or found ones, from here or there."""
    size = step_size if step_size == "backtracking" else 1.0 / PROBLEM.lipschitz
    starts = (np.zeros(20), np.linspace(-5.0, 5.0, 20))
    for start in starts:
        found = minimize(
            PROBLEM,
            start,
            L1Norm(strength=0.05),
            client,
            step_size=size,
            accelerated=accelerated,
            restart=restart,
            tol=1e-11,
        )
        assert found.converged
        np.testing.assert_allclose(found.x, coordinate_descent(PROBLEM, 0.05), rtol=0, atol=1e-9)


def own_residual(problem: LeastSquares, x: Array, strength: float, step_size: float) -> float:
    """The residual at x relative to that at 0, by the definition."""

    def residual(at: Array) -> float:
        moved = at - step_size * problem.gradient(at)
        stepped = np.sign(moved) * np.maximum(np.abs(moved) - step_size * strength, 0.0)
        return float(np.linalg.norm(at - stepped)) / step_size

    return residual(x) / residual(np.zeros_like(x))


@pytest.mark.parametrize("iterations", [1, 2, 5, 10_000])
def test_the_residual_is_that_of_the_point_returned(client: Client, iterations: int) -> None:
    """Whether it converged or was cut short, and ``converged`` says which."""
    step_size = 1.0 / PROBLEM.lipschitz
    found = minimize(
        PROBLEM,
        np.zeros(20),
        L1Norm(strength=0.05),
        client,
        step_size=step_size,
        tol=1e-6,
        max_iterations=iterations,
    )
    expected = own_residual(PROBLEM, found.x, 0.05, step_size)
    assert found.residual == pytest.approx(expected, rel=1e-6)
    assert found.converged == (expected <= 1e-6) == (iterations == 10_000)
    assert found.iterations <= iterations


def test_warm_and_cold_starts_ask_for_the_same(client: Client) -> None:
    """The residual is relative to its value at 0, not at the start: who starts near needs fewer steps."""
    cold = minimize(PROBLEM, np.zeros(20), L1Norm(strength=0.05), client)
    warm = minimize(PROBLEM, cold.x, L1Norm(strength=0.05), client)
    assert warm.converged
    assert warm.iterations <= 3
    assert warm.residual <= 1e-8


def test_the_start_stays_as_it_is(client: Client) -> None:
    """Neither the solver nor the loss, whose argument is read-only, can change it."""
    start = np.linspace(-1.0, 1.0, 20)
    kept = start.copy()

    def careless(x: Array) -> tuple[float, Array]:
        with pytest.raises(ValueError, match="read-only"):
            x[0] = 7.0
        return PROBLEM(x)

    minimize(careless, start, L1Norm(strength=0.05), client, max_iterations=5)
    np.testing.assert_array_equal(start, kept)


def test_arrays_by_name_have_regularizers_of_their_own(client: Client) -> None:
    """Some penalized, some exempt; the solution is structured likewise, and so is what the loss sees."""
    random = np.random.default_rng(5)
    rows, targets = random.standard_normal((50, 6)), random.standard_normal(50) + 3.0

    def loss(parameters: dict[str, Array]) -> tuple[float, dict[str, Array]]:
        residuals = rows @ parameters["weights"].ravel() + parameters["intercept"] - targets
        gradient = rows.T @ residuals / 50
        return float(residuals @ residuals) / 100, {
            "intercept": residuals.mean(),
            "weights": gradient.reshape(3, 2),
        }

    start = {"weights": np.zeros((3, 2)), "intercept": 0}
    groups = GroupLasso(strength=0.1, groups=Groups(axis=0))
    found = minimize(loss, start, {"weights": groups, "*": None}, client, tol=1e-11)
    _, gradient = loss(found.x)
    assert found.converged
    assert abs(float(gradient["intercept"])) < 1e-9
    for row, slope in zip(found.x["weights"], gradient["weights"], strict=True):
        if row.any():
            np.testing.assert_allclose(slope, -0.1 * row / np.linalg.norm(row), atol=1e-8)
        else:
            assert np.linalg.norm(slope) <= 0.1 + 1e-8


def test_modified_and_joint_regularizers_are_taken(client: Client) -> None:
    """Non-negative lasso by its conditions; the norm of two arrays together by that of one."""
    positive = Modified(L1Norm(strength=0.05), box=Box(lower=0))
    found = minimize(PROBLEM, np.zeros(20), positive, client, tol=1e-11)
    slope = PROBLEM.gradient(found.x) + 0.05
    assert (found.x >= 0).all()
    np.testing.assert_allclose(slope[found.x > 0], 0.0, atol=1e-9)
    assert (slope[found.x == 0] >= -1e-9).all()

    def halves(parameters: dict[str, Array]) -> tuple[float, dict[str, Array]]:
        value, gradient = PROBLEM(np.concatenate([parameters["a"], parameters["b"]]))
        return value, {"a": gradient[:8], "b": gradient[8:]}

    together = minimize(
        halves, {"a": np.zeros(8), "b": np.zeros(12)}, Joint(L2Norm(strength=0.2)), client, tol=1e-11
    )
    one = minimize(PROBLEM, np.zeros(20), L2Norm(strength=0.2), client, tol=1e-11)
    np.testing.assert_allclose(np.concatenate([together.x["a"], together.x["b"]]), one.x, atol=1e-9)


def test_from_the_least_strength_on_the_answer_is_zero(client: Client) -> None:
    """At once and exactly, although the residual at 0, to which others are relative, vanishes there."""
    strongest = float(np.abs(PROBLEM.gradient(np.zeros(20))).max())
    for factor in (1.0, 1.5, 1e6):
        found = minimize(PROBLEM, np.zeros(20), L1Norm(strength=factor * strongest), client)
        assert found.converged
        assert not found.x.any()
        assert found.iterations <= 3


def test_losses_that_are_not_quadratic_are_minimized(client: Client) -> None:
    """Of the exponential, whose curvature has no bound, from a start where steps must be short."""
    targets = np.array([1.0, 5.0, 0.2])

    def poisson(x: Array) -> tuple[float, Array]:
        with np.errstate(over="ignore"):
            means = np.exp(x)
            return float(np.sum(means - targets * x)), means - targets

    found = minimize(poisson, np.array([8.0, -3.0, 4.0]), SquaredL2Norm(strength=0.5), client, tol=1e-10)
    assert found.converged
    np.testing.assert_allclose(np.exp(found.x) - targets + 0.5 * found.x, 0.0, atol=1e-8)


def test_a_loss_may_be_infinite_at_zero_and_off_its_domain(client: Client) -> None:
    """A step that leaves the domain is shortened; the residual is then relative to that at the start."""

    def barrier(x: Array) -> tuple[float, Array]:
        with np.errstate(divide="ignore", invalid="ignore"):
            return float(np.sum(x - np.log(x))) if (x > 0).all() else math.inf, 1 - 1 / x

    found = minimize(barrier, np.array([3.0, 0.1]), L1Norm(strength=1.0), client, tol=1e-10)
    assert found.converged
    np.testing.assert_allclose(found.x, 0.5, rtol=1e-8)


def test_a_restart_saves_more_than_half_of_the_steps(client: Client) -> None:
    """Of an ill-conditioned lasso to 1e-10: momentum without it goes round in circles."""
    problem = LeastSquares.random(200, (1000,), seed=3, spread=30.0)
    strongest = float(np.abs(problem.gradient(np.zeros(1000))).max())
    given: Any = (problem, np.zeros(1000), L1Norm(strength=0.1 * strongest), client)
    options: Any = {"step_size": 1.0 / problem.lipschitz, "tol": 1e-10}
    restarted = minimize(*given, **options)
    assert restarted.converged
    plain = minimize(*given, **options, restart=None, max_iterations=2 * restarted.iterations)
    assert not plain.converged


def test_calls_of_the_loss_are_counted_out(client: Client) -> None:
    """Steps of a given size take one evaluation each, and none is made twice at one point."""
    calls: list[Array] = []
    found = minimize(
        recording(PROBLEM, calls),
        np.zeros(20),
        L1Norm(strength=0.05),
        client,
        step_size=1.0 / PROBLEM.lipschitz,
    )
    assert len(calls) <= found.iterations + 2
    assert len({call.tobytes() for call in calls}) == len(calls)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"step_size": 0.0}, "step_size must be 'backtracking' or a finite number > 0, got 0.0"),
        ({"step_size": math.inf}, "step_size"),
        ({"step_size": "newton"}, "got 'newton'"),
        ({"restart": "speed"}, "restart must be 'gradient' or None, got 'speed'"),
        ({"tol": 0.0}, "tol must be a finite number > 0, got 0.0"),
        ({"tol": math.nan}, "tol"),
        ({"max_iterations": 0}, "max_iterations must be a whole number >= 1, got 0"),
        ({"max_iterations": 1.5}, "max_iterations"),
        ({"max_iterations": True}, "max_iterations"),
    ],
)
def test_options_are_checked(client: Client, options: dict[str, Any], message: str) -> None:
    """Before anything is computed, by name and value."""
    calls: list[Array] = []
    with pytest.raises(ArgumentError, match=message):
        minimize(recording(PROBLEM, calls), np.zeros(20), L1Norm(strength=0.05), client, **options)
    assert not calls


@pytest.mark.parametrize(
    ("loss", "message"),
    [
        (lambda x: 1.0, "must return a number and the gradient, got float"),
        (lambda x: (x, x), "must return a number and the gradient, got tuple"),
        (lambda x: (1.0, x[:2]), r"must have the shape \(3,\), got \(2,\)"),
        (
            lambda x: (1.0, {"x": x}),
            "the gradient of value_and_gradient must be one array, got a mapping of 'x'",
        ),
        (lambda x: (1.0, x * 1j), "must be of real numbers, got complex128"),
        (lambda x: (math.nan, x), "must return finite numbers at x0, got the loss nan"),
        (
            lambda x: (1.0, x / np.zeros(3)),
            "must return finite numbers at x0, got NaN or infinity in the gradient",
        ),
    ],
)
@pytest.mark.filterwarnings("ignore:invalid value")
@pytest.mark.filterwarnings("ignore:divide by zero")
def test_what_the_loss_returns_is_checked(client: Client, loss: Any, message: str) -> None:
    """A number, and an array of the parameters' shape, finite where they must be."""
    with pytest.raises(ArgumentError, match=message):
        minimize(loss, np.ones(3), L1Norm(strength=0.05), client)


def test_a_gradient_that_is_not_the_loss_s_is_found_out(client: Client) -> None:
    """No step is short enough then, and the error says why."""
    with pytest.raises(ArgumentError, match="no step size is small enough"):
        minimize(lambda x: (PROBLEM(x)[0], -PROBLEM(x)[1]), np.zeros(20), L1Norm(strength=0.05), client)


def test_steps_that_are_too_long_are_found_out(client: Client) -> None:
    """Where given steps lead out of all numbers, the error says so."""
    with pytest.raises(ArgumentError, match="shorter ones may not"), np.errstate(all="ignore"):
        minimize(PROBLEM, np.ones(20), L1Norm(strength=0.05), client, step_size=1e6 / PROBLEM.lipschitz)


def test_what_the_server_refuses_is_its_error(client: Client) -> None:
    """With its reason and place."""
    with pytest.raises(InvalidRequestError) as caught:
        minimize(PROBLEM, np.zeros(20), L1Norm(strength=-1.0), client)
    assert caught.value.reason == "ERROR_REASON_FIELD_OUT_OF_RANGE"


def test_start_values_are_numbers_of_any_type(client: Client) -> None:
    """Whole numbers are no fixed point here; the solution is float64 whatever came."""
    for data_type in (np.int8, np.float16, np.float32):
        found = minimize(PROBLEM, np.ones(20, data_type), L1Norm(strength=0.05), client)
        assert found.x.dtype == np.float64
        np.testing.assert_allclose(found.x, coordinate_descent(PROBLEM, 0.05), atol=1e-6)
    with pytest.raises(ArgumentError, match="x0 must be of real numbers"):
        minimize(PROBLEM, np.array(["a"] * 20), L1Norm(strength=0.05), client)
