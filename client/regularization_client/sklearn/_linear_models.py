"""What the estimators share: how they are fitted, at one strength or at one that cross-validation chooses."""

from __future__ import annotations

import warnings
from abc import abstractmethod
from collections.abc import Callable
from typing import Any

import numpy as np
from google.protobuf.message import Message
from regularization.v1.regularizers_pb2 import L1Norm
from sklearn.base import BaseEstimator
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import check_cv
from sklearn.utils.validation import check_is_fitted

from .._client import Client
from .._errors import ArgumentError
from .._modified import Modified
from ..solvers import Solution, cross_validate, minimize
from ..solvers._checks import check_strength
from ..solvers._strengths import scaled
from ._losses import LinearLoss

_DEFAULT_STRENGTH = 0.01


class LinearModel(BaseEstimator):  # type: ignore[misc] # scikit-learn has no types
    """A linear model with a penalty on its coefficients."""

    regularizer: Message | Modified | None
    fit_intercept: bool
    tol: float
    max_iter: int
    make_client: Callable[[], Client] | None

    def _fitted(self, loss: LinearLoss, targets: Any) -> Solution:
        """Return the parameters of least loss plus penalty, and take note of how they were found."""
        with (self.make_client or Client)() as client:
            solution = self._solved(loss, targets, client)
        self.n_iter_ = solution.iterations
        if not solution.converged:
            warnings.warn(
                f"the residual is {solution.residual:.1e} after {solution.iterations} iterations, and tol "
                f"is {self.tol:.1e}: give a larger max_iter, or scale the features",
                ConvergenceWarning,
                stacklevel=3,
            )
        return solution

    @abstractmethod
    def _solved(self, loss: LinearLoss, targets: Any, client: Client) -> Solution:
        """Return the solution at the strength that is given, or chosen."""

    def _penalty(self, default: Message) -> Message | Modified:
        """Return the regularizer of the coefficients.

        Raises:
            ArgumentError: If it is none.
        """
        if self.regularizer is None:
            return default
        if not isinstance(self.regularizer, Message | Modified):
            raise ArgumentError(
                "regularizer must be one of the schema's messages, Modified, or None for the default, got "
                f"{type(self.regularizer).__name__}"
            )
        return self.regularizer


class AtOneStrength(LinearModel):
    """A linear model whose strength is given."""

    strength: float

    def __init__(
        self,
        regularizer: Message | Modified | None = None,
        *,
        strength: float = 1.0,
        fit_intercept: bool = True,
        tol: float = 1e-6,
        max_iter: int = 10_000,
        make_client: Callable[[], Client] | None = None,
    ) -> None:
        self.regularizer = regularizer
        self.strength = strength
        self.fit_intercept = fit_intercept
        self.tol = tol
        self.max_iter = max_iter
        self.make_client = make_client

    def _solved(self, loss: LinearLoss, targets: Any, client: Client) -> Solution:
        del targets
        check_strength(self.strength, "strength")
        return minimize(
            loss.of(np.arange(loss.samples)),
            loss.start,
            scaled(loss.regularizers(self._penalty(L1Norm(strength=_DEFAULT_STRENGTH))), self.strength),
            client,
            tol=self.tol,
            max_iterations=self.max_iter,
        )


class AtBestStrength(LinearModel):
    """A linear model whose strength cross-validation chooses."""

    _chooses_classes = False

    def __init__(
        self,
        regularizer: Message | Modified | None = None,
        *,
        strengths: Any = None,
        count: int = 100,
        ratio: float = 1e-3,
        cv: Any = None,
        selection: str = "min",
        fit_intercept: bool = True,
        tol: float = 1e-6,
        max_iter: int = 10_000,
        make_client: Callable[[], Client] | None = None,
    ) -> None:
        self.regularizer = regularizer
        self.strengths = strengths
        self.count = count
        self.ratio = ratio
        self.cv = cv
        self.selection = selection
        self.fit_intercept = fit_intercept
        self.tol = tol
        self.max_iter = max_iter
        self.make_client = make_client

    def plot_path(self, axes: Any = None) -> Any:
        """Draw the coefficients over the strengths, and a line at the strength that was chosen.

        Args:
            axes: Those of matplotlib to draw on; None for new ones.

        Returns:
            The axes.

        Raises:
            ImportError: If matplotlib is not installed.
            NotFittedError: If nothing was fitted yet.
        """
        check_is_fitted(self)
        if axes is None:
            from matplotlib import pyplot

            _, axes = pyplot.subplots()
        drawn = self.strengths_ > 0
        axes.semilogx(self.strengths_[drawn], self.coef_path_[drawn].reshape(int(drawn.sum()), -1))
        axes.axvline(self.strength_, color="0.5", linestyle="--")
        axes.set(xlabel="strength", ylabel="coefficient")
        axes.invert_xaxis()
        return axes

    def _solved(self, loss: LinearLoss, targets: Any, client: Client) -> Solution:
        splitter = check_cv(self.cv, targets, classifier=self._chooses_classes)
        found = cross_validate(
            loss.of,
            loss.error,
            loss.samples,
            loss.start,
            loss.regularizers(self._penalty(L1Norm())),
            client,
            folds=list(splitter.split(np.zeros((loss.samples, 1)), targets)),
            selection=self.selection,  # type: ignore[arg-type] # it is checked there
            strengths=self.strengths,
            count=self.count,
            ratio=self.ratio,
            tol=self.tol,
            max_iterations=self.max_iter,
        )
        self.strength_ = found.strength
        self.strengths_ = found.path.strengths
        self.errors_ = found.errors
        self.coef_path_ = np.stack([loss.model(each.x)[0].T for each in found.path.solutions])
        return found.solution
