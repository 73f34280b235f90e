"""Linear regression."""

from __future__ import annotations

from typing import Any, Self

import numpy as np
from sklearn.base import MultiOutputMixin, RegressorMixin
from sklearn.utils.validation import check_is_fitted, validate_data

from ._linear_models import AtBestStrength, AtOneStrength, LinearModel
from ._losses import HalfSquares


class _Regression(MultiOutputMixin, RegressorMixin, LinearModel):  # type: ignore[misc] # scikit-learn has no types
    """What regression is, at whichever strength."""

    def fit(self, X: Any, y: Any) -> Self:  # noqa: N803 - scikit-learn's name
        """Fit coefficients and intercept.

        Args:
            X: (samples, features), real and finite.
            y: (samples,), or (samples, targets): then the regularizer sees a (features, targets) matrix.

        Raises:
            ValueError: If these or the parameters are not what they must be.
            RegularizationError: If a call of the server fails.
        """
        X, y = validate_data(self, X, y, dtype=np.float64, multi_output=True, y_numeric=True)  # noqa: N806
        loss = HalfSquares(X, np.asarray(y, dtype=np.float64), with_intercept=self.fit_intercept)
        coefficients, intercept = loss.model(self._fitted(loss, y).x)
        self.coef_ = coefficients.T
        self.intercept_ = intercept if intercept.ndim else float(intercept)
        return self

    def predict(self, X: Any) -> Any:  # noqa: N803 - scikit-learn's name
        """Return the predictions for samples, shaped as the targets were.

        Args:
            X: (samples, features).
        """
        check_is_fitted(self)
        X = validate_data(self, X, dtype=np.float64, reset=False)  # noqa: N806
        return X @ self.coef_.T + self.intercept_


class ProximalRegressor(_Regression, AtOneStrength):
    """Linear regression with any regularizer: the least of ``||y - Xw - b||² / (2n)`` plus the penalty of w.

    Args:
        regularizer: A message of the schema, or ``Modified``: of the coefficients, (features,) or, for
            several targets, (features, targets). None for ``L1Norm(strength=0.01)``.
        strength: What the regularizer's strengths are multiplied by, >= 0.
        fit_intercept: Whether there is an intercept, which is not penalized.
        tol: How small the residual is to be: see ``regularization_client.solvers.minimize``.
        max_iter: The most iterations, >= 1.
        make_client: Called for each fit, to give a client, which is closed after it; None for a server in
            this process. ``functools.partial(Client, "localhost:50051")`` can be copied and pickled.

    Attributes:
        coef_: (features,), or (targets, features).
        intercept_: A number, or (targets,).
        n_iter_: Iterations taken.
        n_features_in_: The number of features.

    Example:
        >>> import numpy as np
        >>> from regularization_client import TotalVariation
        >>> from regularization_client.sklearn import ProximalRegressor
        >>> X = np.random.default_rng(0).normal(size=(200, 6))
        >>> y = X @ [1, 1, 1, 5, 5, 5] + 2
        >>> fitted = ProximalRegressor(TotalVariation(strength=0.1)).fit(X, y)
        >>> bool(fitted.coef_[0] == fitted.coef_[1] == fitted.coef_[2])
        True
    """


class ProximalRegressorCV(_Regression, AtBestStrength):
    """Linear regression whose strength is the one that predicts best what was held out.

    Args:
        regularizer: See ``ProximalRegressor``; None for ``L1Norm()``. Its strengths are multiplied by those
            of the path.
        strengths: The strengths of the path; None for ``count`` of them, from the least at which the penalty
            is 0 down to ``ratio`` of it.
        count: How many there are, 1 to 10,000.
        ratio: The last over the first, above 0 and below 1.
        cv: The number of folds, a splitter of scikit-learn, or pairs of indices; None for 5 folds.
        selection: "min" for the strength of the least mean error; "1se" for the strongest within one standard
            error of that.
        fit_intercept: See ``ProximalRegressor``.
        tol: See ``ProximalRegressor``.
        max_iter: The most iterations for each strength.
        make_client: See ``ProximalRegressor``.

    Attributes:
        coef_: (features,), or (targets, features), fitted to all samples at the strength chosen.
        intercept_: A number, or (targets,).
        strength_: The strength chosen.
        strengths_: Those of the path, descending.
        errors_: Half the mean squared error of each fold at each strength: (folds, strengths).
        coef_path_: The coefficients at each strength, fitted to all samples: (strengths, ...).
        n_iter_: Iterations taken at the strength chosen.
        n_features_in_: The number of features.
    """
