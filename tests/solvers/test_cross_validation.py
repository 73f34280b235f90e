"""Choosing a strength by what was held out."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from regularization_client import ArgumentError, Client, L1Norm
from regularization_client.solvers import cross_validate, minimize

from tests.support.least_squares import LeastSquares

Array = NDArray[np.float64]
PROBLEM = LeastSquares.random(60, (20,))


def loss_of(indices: NDArray[np.intp]) -> LeastSquares:
    """The loss on some samples."""
    return LeastSquares(PROBLEM.rows[indices], PROBLEM.targets[indices])


def error_of(x: Array, indices: NDArray[np.intp]) -> float:
    """The mean squared error on some samples."""
    return float(np.square(PROBLEM.rows[indices] @ x - PROBLEM.targets[indices]).mean())


def test_errors_are_those_of_solutions_without_the_fold(client: Client) -> None:
    """Fold by fold and strength by strength; the solutions of the path are from all samples."""
    halves = [(np.arange(30), np.arange(30, 60)), (np.arange(30, 60), np.arange(30))]
    strengths = [0.2, 0.05]
    found = cross_validate(
        loss_of, error_of, 60, np.zeros(20), L1Norm(), client, folds=halves, strengths=strengths, tol=1e-10
    )
    for (training, test), errors in zip(halves, found.errors, strict=True):
        for strength, error in zip(strengths, errors, strict=True):
            alone = minimize(loss_of(training), np.zeros(20), L1Norm(strength=strength), client, tol=1e-10)
            assert error == pytest.approx(error_of(alone.x, test), rel=1e-7)
    for strength, solution in zip(strengths, found.path.solutions, strict=True):
        whole = minimize(PROBLEM, np.zeros(20), L1Norm(strength=strength), client, tol=1e-10)
        np.testing.assert_allclose(solution.x, whole.x, atol=1e-8)


def test_they_are_scikit_learn_s(client: Client) -> None:
    """The errors of ``LassoCV`` on the same folds, and its choice."""
    linear_model = pytest.importorskip("sklearn.linear_model")
    model_selection = pytest.importorskip("sklearn.model_selection")
    folds = list(model_selection.KFold(4).split(PROBLEM.rows))
    found = cross_validate(
        loss_of, error_of, 60, np.zeros(20), L1Norm(), client, folds=folds, count=20, ratio=0.01, tol=1e-9
    )
    theirs = linear_model.LassoCV(
        alphas=found.path.strengths, cv=folds, fit_intercept=False, tol=1e-12, max_iter=10**6
    ).fit(PROBLEM.rows, PROBLEM.targets)
    np.testing.assert_allclose(found.errors.T, theirs.mse_path_, rtol=1e-6)
    assert found.strength == pytest.approx(theirs.alpha_)
    np.testing.assert_allclose(found.solution.x, theirs.coef_, atol=1e-7)


def test_folds_are_drawn_once(client: Client) -> None:
    """One loss for all samples and one for each fold, whatever the number of strengths; by the seed."""
    asked: list[NDArray[np.intp]] = []

    def asking(indices: NDArray[np.intp]) -> LeastSquares:
        asked.append(indices)
        return loss_of(indices)

    tested: list[NDArray[np.intp]] = []

    def testing(x: Array, indices: NDArray[np.intp]) -> float:
        tested.append(indices)
        return error_of(x, indices)

    options: dict[str, Any] = {"folds": 7, "strengths": [0.3, 0.2, 0.1], "tol": 1e-4}
    cross_validate(asking, testing, 60, np.zeros(20), L1Norm(), client, seed=4, **options)
    assert len(asked) == 8
    np.testing.assert_array_equal(asked[0], np.arange(60))
    folds = tested[::3]
    assert all(tested[i] is folds[i // 3] for i in range(21))
    np.testing.assert_array_equal(np.sort(np.concatenate(folds)), np.arange(60))
    assert {len(fold) for fold in folds} == {8, 9}
    for training, fold in zip(asked[1:], folds, strict=True):
        np.testing.assert_array_equal(np.sort(np.concatenate([training, fold])), np.arange(60))
    assert not all((np.diff(fold) == 1).all() for fold in folds)


def test_the_choice_is_by_the_rule_that_was_asked_for(client: Client) -> None:
    """The least mean error, or the strongest within one standard error; of equal ones the strongest."""
    found = cross_validate(
        loss_of,
        error_of,
        60,
        np.zeros(20),
        L1Norm(),
        client,
        selection="1se",
        strengths=[4.0, 3.0, 2.0, 1.0],
        tol=1e-4,
    )
    # By hand: means 5, 2.5, 2, 2 and standard errors 1, 0.5, 1, 0.
    errors = np.array([[4.0, 2.0, 1.0, 2.0], [6.0, 3.0, 3.0, 2.0]])
    made_up = replace(found, errors=errors)
    np.testing.assert_allclose(made_up.mean_errors, [5.0, 2.5, 2.0, 2.0])
    np.testing.assert_allclose(made_up.standard_errors, [1.0, 0.5, 1.0, 0.0])
    assert made_up.strength == 3.0
    assert made_up.solution is found.path.solutions[1]
    assert replace(made_up, selection="min").strength == 2.0


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"selection": "best"}, "selection must be 'min' or '1se', got 'best'"),
        ({"folds": 1}, "folds must be from 2 to the number of samples, 60, got 1"),
        ({"folds": 61}, "got 61"),
        ({"folds": [([0], [1])]}, "folds must be 2 or more, got 1"),
        ({"folds": [([0], [1]), ([0], [60])]}, r"folds\[1\]\[1\] must have indices from 0 to 59, got 60"),
        ({"folds": [([0], [-1]), ([0], [1])]}, r"folds\[0\]\[1\] must have indices from 0 to 59, got -1"),
        ({"folds": [([], [1]), ([0], [1])]}, r"folds\[0\]\[0\] must be a sequence of one index or more"),
        ({"strengths": [-1.0]}, "strengths must be a finite number >= 0"),
    ],
)
def test_arguments_are_checked(client: Client, options: dict[str, Any], message: str) -> None:
    """By name and value."""
    with pytest.raises(ArgumentError, match=message):
        cross_validate(loss_of, error_of, 60, np.zeros(20), L1Norm(), client, **options)


def test_errors_must_be_numbers(client: Client) -> None:
    """A NaN would never be the least, nor show."""
    nowhere: Callable[[Any, Any], float] = lambda x, indices: float("nan")  # noqa: E731 - a value for the test
    with pytest.raises(ArgumentError, match="error_of must return finite numbers, got nan"):
        cross_validate(loss_of, nowhere, 60, np.zeros(20), L1Norm(), client, strengths=[1.0])
