"""The estimators are scikit-learn's in manners and, where it has the same model, in results."""

from __future__ import annotations

import doctest
import importlib
import pickle
from contextlib import nullcontext
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from regularization_client import (
    Box,
    Client,
    GroupLasso,
    Groups,
    L1Norm,
    Modified,
    Planned,
    SquaredL2Norm,
    TotalVariation,
)

from tests.support.least_squares import LeastSquares

sklearn = pytest.importorskip("sklearn")
from regularization_client.sklearn import (  # noqa: E402 - it needs scikit-learn
    ProximalClassifier,
    ProximalClassifierCV,
    ProximalRegressor,
    ProximalRegressorCV,
)
from sklearn.base import clone  # noqa: E402 - likewise
from sklearn.datasets import load_diabetes, load_iris  # noqa: E402
from sklearn.exceptions import ConvergenceWarning  # noqa: E402
from sklearn.linear_model import (  # noqa: E402
    Lasso,
    LassoCV,
    LogisticRegression,
    MultiTaskLasso,
)
from sklearn.model_selection import GridSearchCV, KFold  # noqa: E402
from sklearn.pipeline import make_pipeline  # noqa: E402
from sklearn.preprocessing import StandardScaler  # noqa: E402
from sklearn.utils.estimator_checks import check_estimator  # noqa: E402

Array = NDArray[np.float64]


SHARED: list[Client] = []


def shared_client() -> Any:
    """The client that all tests share, which a fit leaves open; a function that can be pickled."""
    return nullcontext(SHARED[0])


@pytest.fixture(scope="session")
def make_client(client: Client) -> Any:
    """How estimators get a client."""
    SHARED.append(client)
    return shared_client


@pytest.mark.timeout(600)
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    "estimator",
    [
        ProximalRegressor(tol=1e-3),
        ProximalClassifier(tol=1e-3),
        ProximalRegressorCV(strengths=(0.01,), cv=2, tol=1e-3),
        ProximalClassifierCV(strengths=(0.1,), cv=2, tol=1e-3),
    ],
    ids=lambda estimator: type(estimator).__name__,
)
def test_scikit_learn_s_own_checks_pass(estimator: Any, make_client: Any) -> None:
    """All of ``check_estimator``: cloning, shapes, messages, pickling, repeated fits and the rest."""
    check_estimator(estimator.set_params(make_client=make_client))


def test_the_lasso_is_scikit_learn_s(make_client: Any) -> None:
    """On diabetes with an intercept: coefficients, intercept and predictions."""
    features, targets = load_diabetes(return_X_y=True)
    ours = ProximalRegressor(L1Norm(strength=0.1), tol=1e-10, make_client=make_client).fit(features, targets)
    theirs = Lasso(alpha=0.1, tol=1e-12).fit(features, targets)
    np.testing.assert_allclose(ours.coef_, theirs.coef_, atol=1e-5)
    assert ours.intercept_ == pytest.approx(theirs.intercept_)
    np.testing.assert_allclose(ours.predict(features), theirs.predict(features), rtol=1e-7)


def test_several_targets_are_a_matrix(make_client: Any) -> None:
    """Rows of it as groups are scikit-learn's multi-task lasso."""
    random = np.random.default_rng(0)
    features = random.standard_normal((80, 6)) + 2.0
    targets = features @ (random.standard_normal((6, 3)) * [[1], [0], [2], [0], [0], [1]]) + 1.0
    rows = GroupLasso(strength=0.4, groups=Groups(axis=0))
    ours = ProximalRegressor(rows, tol=1e-10, make_client=make_client).fit(features, targets)
    theirs = MultiTaskLasso(alpha=0.4, tol=1e-12, max_iter=10**5).fit(features, targets)
    np.testing.assert_allclose(ours.coef_, theirs.coef_, atol=1e-7)
    np.testing.assert_allclose(ours.intercept_, theirs.intercept_, atol=1e-6)
    assert ours.predict(features).shape == (80, 3)


@pytest.mark.parametrize("classes", [2, 3])
def test_ridge_logistic_regression_is_scikit_learn_s(make_client: Any, classes: int) -> None:
    """Of two classes and of three, with ``strength = 1 / (C n)``."""
    features, y = load_iris(return_X_y=True)
    features, y = features[y < classes], np.array(["setosa", "versicolor", "virginica"])[y[y < classes]]
    ours = ProximalClassifier(
        SquaredL2Norm(strength=1 / (0.5 * len(y))), tol=1e-9, make_client=make_client
    ).fit(features, y)
    theirs = LogisticRegression(C=0.5, tol=1e-12, max_iter=10**5).fit(features, y)
    np.testing.assert_allclose(ours.coef_, theirs.coef_, atol=1e-5)
    np.testing.assert_allclose(ours.predict_proba(features), theirs.predict_proba(features), atol=1e-5)
    np.testing.assert_array_equal(ours.predict(features), theirs.predict(features))


def test_any_other_regularizer_will_do(make_client: Any) -> None:
    """Coefficients that are piecewise constant, and such that are nonnegative and sparse."""
    features = np.random.default_rng(0).standard_normal((100, 8))
    targets = features @ np.repeat([1.0, 4.0], 4) - 3.0
    pieces = ProximalRegressor(TotalVariation(strength=0.1), make_client=make_client).fit(features, targets)
    assert len(np.unique(pieces.coef_)) == 2
    positive = Modified(L1Norm(), box=Box(lower=0))
    # All that explains these targets is negative.
    none = ProximalRegressor(positive, strength=0.1, make_client=make_client).fit(
        features, -features.sum(axis=1)
    )
    assert not none.coef_.any()


def test_without_an_intercept_there_is_none(make_client: Any) -> None:
    """Features are then not centred either."""
    features, targets = load_diabetes(return_X_y=True)
    ours = ProximalRegressor(
        L1Norm(strength=0.1), fit_intercept=False, tol=1e-8, make_client=make_client
    ).fit(features + 0.1, targets)
    theirs = Lasso(alpha=0.1, fit_intercept=False, tol=1e-12, max_iter=10**6).fit(features + 0.1, targets)
    assert ours.intercept_ == 0.0
    np.testing.assert_allclose(ours.predict(features), theirs.predict(features), rtol=1e-4, atol=1e-3)


@pytest.mark.parametrize("selection", ["min", "1se"])
def test_cross_validation_is_lasso_cv_s(make_client: Any, selection: str) -> None:
    """Errors on the same folds, twice ours being theirs; the least chooses alike, and 1se no weaker."""
    features, targets = load_diabetes(return_X_y=True)
    folds = list(KFold(3).split(features))
    ours = ProximalRegressorCV(
        count=8, ratio=0.02, cv=folds, selection=selection, tol=1e-8, make_client=make_client
    ).fit(features, targets)
    theirs = LassoCV(alphas=ours.strengths_, cv=folds, tol=1e-10, max_iter=10**5).fit(features, targets)
    np.testing.assert_allclose(2 * ours.errors_.T, theirs.mse_path_, rtol=1e-6)
    if selection == "min":
        assert ours.strength_ == pytest.approx(theirs.alpha_)
        np.testing.assert_allclose(ours.coef_, theirs.coef_, atol=1e-2)
    else:
        means = theirs.mse_path_.mean(axis=1)
        error = theirs.mse_path_[means.argmin()].std(ddof=1) / 3**0.5
        assert ours.strength_ == theirs.alphas_[means <= means.min() + error].max()
    assert ours.coef_path_.shape == (8, 10)


def test_the_path_can_be_drawn(make_client: Any) -> None:
    """A line for each coefficient, over the strengths, and one where the choice is."""
    figure = pytest.importorskip("matplotlib.figure")
    features, targets = load_diabetes(return_X_y=True)
    found = ProximalRegressorCV(count=4, cv=2, make_client=make_client).fit(features, targets)
    axes = found.plot_path(figure.Figure().subplots())
    *coefficients, choice = axes.get_lines()
    for line, values in zip(coefficients, found.coef_path_.T, strict=True):
        np.testing.assert_array_equal(line.get_xdata(), found.strengths_)
        np.testing.assert_array_equal(line.get_ydata(), values)
    assert choice.get_xdata()[0] == found.strength_
    assert axes.get_xscale() == "log"


def test_examples_in_docstrings_are_true() -> None:
    """They are run, and print what they say."""
    done = doctest.testmod(importlib.import_module("regularization_client.sklearn._regression"))
    assert done.attempted
    assert not done.failed


def test_classes_are_spread_evenly_over_folds(make_client: Any) -> None:
    """Iris is sorted by class: without that a fold would have classes that its training never saw."""
    features, y = load_iris(return_X_y=True)
    found = ProximalClassifierCV(count=5, ratio=0.01, cv=3, tol=1e-3, make_client=make_client)
    found.fit(features, y)
    assert found.score(features, y) > 0.9
    assert found.errors_.shape == (3, 5)
    assert found.coef_path_.shape == (5, 3, 4)


def test_they_go_into_pipelines_and_searches(make_client: Any) -> None:
    """Cloned with their regularizer, searched over its strength, pickled when fitted."""
    features, targets = load_diabetes(return_X_y=True)
    model = make_pipeline(StandardScaler(), ProximalRegressor(L1Norm(), make_client=make_client))
    search = GridSearchCV(model, {"proximalregressor__strength": [0.1, 100.0]}, cv=2).fit(features, targets)
    assert search.best_params_ == {"proximalregressor__strength": 0.1}
    copy = pickle.loads(pickle.dumps(search.best_estimator_))  # noqa: S301 - of its own making
    np.testing.assert_array_equal(copy.predict(features), search.predict(features))
    assert clone(model)[-1].regularizer == L1Norm()


def test_a_fit_that_is_cut_short_warns(make_client: Any) -> None:
    """With the residual, as scikit-learn's own do."""
    problem = LeastSquares.random(60, (20,), spread=30.0)
    with pytest.warns(ConvergenceWarning, match="the residual is .* after 3 iterations, and tol is 1.0e-06"):
        ProximalRegressor(max_iter=3, make_client=make_client).fit(problem.rows, problem.targets)


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"regularizer": "lasso"}, "regularizer must be one of the schema's messages"),
        ({"regularizer": Planned("policy", step=0)}, "regularizer must be one of the schema's messages"),
        ({"strength": -1.0}, "strength must be a finite number >= 0, got -1.0"),
        ({"strength": "much"}, "strength must be a finite number >= 0, got 'much'"),
        ({"tol": 0.0}, "tol must be a finite number > 0"),
        ({"max_iter": 0}, "max_iterations must be a whole number"),
    ],
)
def test_parameters_are_checked_when_fitted(
    make_client: Any, parameters: dict[str, Any], message: str
) -> None:
    """As ``ValueError``, which scikit-learn's users expect."""
    problem = LeastSquares.random(60, (20,))
    with pytest.raises(ValueError, match=message):
        ProximalRegressor(make_client=make_client, **parameters).fit(problem.rows, problem.targets)
