"""Linear classification."""

from __future__ import annotations

from typing import Any, Self

import numpy as np
from scipy.special import expit, softmax
from sklearn.base import ClassifierMixin
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_is_fitted, column_or_1d, validate_data

from .._errors import ArgumentError
from ._linear_models import AtBestStrength, AtOneStrength, LinearModel
from ._losses import CrossEntropy, LinearLoss, Logistic


class _Classification(ClassifierMixin, LinearModel):  # type: ignore[misc] # scikit-learn has no types
    """What classification is, at whichever strength."""

    _chooses_classes = True

    def fit(self, X: Any, y: Any) -> Self:  # noqa: N803 - scikit-learn's name
        """Fit coefficients and intercepts.

        Args:
            X: (samples, features), real and finite.
            y: (samples,), the classes: two, or more. Of more the regularizer sees a (features, classes)
                matrix, of two (features,).

        Raises:
            ValueError: If these or the parameters are not what they must be.
            RegularizationError: If a call of the server fails.
        """
        X, y = validate_data(self, X, y, dtype=np.float64)  # noqa: N806
        y = column_or_1d(y, warn=True)
        check_classification_targets(y)
        self.classes_, places = np.unique(y, return_inverse=True)
        if len(self.classes_) < 2:
            raise ArgumentError("y must have two classes or more, got one class")
        loss = self._loss(X, places)
        coefficients, intercept = loss.model(self._fitted(loss, y).x)
        self.coef_ = np.atleast_2d(coefficients.T)
        self.intercept_ = np.atleast_1d(intercept)
        return self

    def decision_function(self, X: Any) -> Any:  # noqa: N803 - scikit-learn's name
        """Return the scores of samples: (samples, classes); of two classes (samples,), that of the second.

        Args:
            X: (samples, features).
        """
        check_is_fitted(self)
        X = validate_data(self, X, dtype=np.float64, reset=False)  # noqa: N806
        scores = X @ self.coef_.T + self.intercept_
        return scores[:, 0] if len(self.classes_) == 2 else scores

    def predict_proba(self, X: Any) -> Any:  # noqa: N803 - scikit-learn's name
        """Return the probability of each class: (samples, classes).

        Args:
            X: (samples, features).
        """
        scores = self.decision_function(X)
        if scores.ndim == 1:
            return np.stack([expit(-scores), expit(scores)], axis=1)
        return softmax(scores, axis=1)

    def predict(self, X: Any) -> Any:  # noqa: N803 - scikit-learn's name
        """Return the most probable class of each sample: (samples,).

        Args:
            X: (samples, features).
        """
        scores = self.decision_function(X)
        return self.classes_[(scores > 0).astype(int) if scores.ndim == 1 else scores.argmax(axis=1)]

    def _loss(self, features: Any, places: Any) -> LinearLoss:
        count = len(self.classes_)
        if count == 2:
            return Logistic(features, places.astype(np.float64), with_intercept=self.fit_intercept)
        return CrossEntropy(features, np.eye(count)[places], with_intercept=self.fit_intercept)


class ProximalClassifier(_Classification, AtOneStrength):
    """Logistic regression with any regularizer: the least mean logistic loss plus penalty.

    Of more than two classes it is the cross-entropy of the softmax of their scores.

    Args:
        regularizer: A message of the schema, or ``Modified``: of the coefficients, (features,) or, for more
            than two classes, (features, classes). None for ``L1Norm(strength=0.01)``.
        strength: What the regularizer's strengths are multiplied by, >= 0. It goes with the mean loss:
            ``1 / (C * n)`` in the terms of scikit-learn's ``LogisticRegression``.
        fit_intercept: Whether there are intercepts, which are not penalized.
        tol: How small the residual is to be: see ``regularization_client.solvers.minimize``.
        max_iter: The most iterations, >= 1.
        make_client: See ``ProximalRegressor``.

    Attributes:
        classes_: The classes.
        coef_: (1, features) of two classes, else (classes, features).
        intercept_: (1,) of two classes, else (classes,).
        n_iter_: Iterations taken.
        n_features_in_: The number of features.
    """


class ProximalClassifierCV(_Classification, AtBestStrength):
    """Logistic regression whose strength is the one that predicts best what was held out.

    Args:
        regularizer: See ``ProximalClassifier``; None for ``L1Norm()``. Its strengths are multiplied by those
            of the path.
        strengths: See ``ProximalRegressorCV``.
        count: See ``ProximalRegressorCV``.
        ratio: See ``ProximalRegressorCV``.
        cv: See ``ProximalRegressorCV``; folds have the classes in equal shares.
        selection: See ``ProximalRegressorCV``.
        fit_intercept: See ``ProximalClassifier``.
        tol: See ``ProximalClassifier``.
        max_iter: The most iterations for each strength.
        make_client: See ``ProximalRegressor``.

    Attributes:
        classes_: The classes.
        coef_: As ``ProximalClassifier``, fitted to all samples at the strength chosen.
        intercept_: Likewise.
        strength_: The strength chosen.
        strengths_: Those of the path, descending.
        errors_: The mean logistic loss, or cross-entropy, of each fold at each strength: (folds, strengths).
        coef_path_: The coefficients at each strength, fitted to all samples: (strengths, ...).
        n_iter_: Iterations taken at the strength chosen.
        n_features_in_: The number of features.
    """
