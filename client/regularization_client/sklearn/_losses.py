"""Losses of linear models: means over samples, of the scores that coefficients and intercept give them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.special import expit, log_softmax

from .._request.layout import Regularizer
from ..solvers._problem import ValueAndGradient
from ..solvers._structure import Vector

Parameters = Mapping[str, Vector]
"""``coef``, and ``intercept`` where there is one."""


class LinearLoss(ABC):
    """The loss of a linear model on samples.

    With an intercept the features are centred, and its column is as large as the largest of them: so it bends
    the loss no more than these do, and steps are no shorter for it.

    Args:
        features: (samples, features).
        targets: (samples,) for one score a sample, or (samples, scores).
        with_intercept: Whether there is an intercept, which is exempt from the penalty.
    """

    def __init__(self, features: Vector, targets: Vector, *, with_intercept: bool) -> None:
        self._with_intercept = with_intercept
        self._centre = features.mean(axis=0) if with_intercept else np.zeros(features.shape[1])
        self._rows = features - self._centre
        self._targets = targets
        self._column = float(np.sqrt(np.square(self._rows).mean(axis=0).max())) or 1.0

    @property
    def samples(self) -> int:
        """How many samples there are."""
        return len(self._rows)

    @property
    def start(self) -> dict[str, Vector]:
        """Parameters that are all 0."""
        scores = self._targets.shape[1:]
        start = {"coef": np.zeros((self._rows.shape[1], *scores))}
        return start | ({"intercept": np.zeros(scores)} if self._with_intercept else {})

    def regularizers(self, regularizer: Regularizer) -> dict[str, Regularizer]:
        """Return the regularizer of each parameter."""
        return {"coef": regularizer} | ({"intercept": None} if self._with_intercept else {})

    def of(self, indices: npt.NDArray[np.intp]) -> ValueAndGradient:
        """Return the loss on some of the samples as a function of the parameters."""
        rows, targets = self._rows[indices], self._targets[indices]

        def value_and_gradient(parameters: Parameters) -> tuple[float, dict[str, Vector]]:
            scores = self._scores(parameters, rows)
            slopes = self._slopes(scores, targets) / len(rows)
            gradient = {"coef": rows.T @ slopes}
            if self._with_intercept:
                gradient["intercept"] = self._column * slopes.sum(axis=0)
            return self._value(scores, targets), gradient

        return value_and_gradient

    def error(self, parameters: Parameters, indices: npt.NDArray[np.intp]) -> float:
        """Return the loss of parameters on some of the samples."""
        return self._value(self._scores(parameters, self._rows[indices]), self._targets[indices])

    def model(self, parameters: Parameters) -> tuple[Vector, Vector]:
        """Return coefficients and intercept for features as they were given."""
        coefficients = parameters["coef"]
        intercept = self._column * parameters["intercept"] if self._with_intercept else np.zeros(())
        return coefficients, np.asarray(intercept - self._centre @ coefficients)

    def _scores(self, parameters: Parameters, rows: Vector) -> Vector:
        scores: Vector = rows @ parameters["coef"]
        return scores + self._column * parameters["intercept"] if self._with_intercept else scores

    @abstractmethod
    def _value(self, scores: Vector, targets: Vector) -> float:
        """Return the mean loss of scores."""

    @abstractmethod
    def _slopes(self, scores: Vector, targets: Vector) -> Vector:
        """Return the derivative of each sample's loss with respect to its scores."""


class HalfSquares(LinearLoss):
    """Half the squared error, ``||y - score||² / 2``, the mean over samples: as the lasso of scikit-learn."""

    def _value(self, scores: Vector, targets: Vector) -> float:
        return float(np.square(scores - targets).sum() / (2 * len(scores)))

    def _slopes(self, scores: Vector, targets: Vector) -> Vector:
        return scores - targets


class Logistic(LinearLoss):
    """The logistic loss of one score, ``log(1 + exp(-score))`` for target 1 and of the negative for 0."""

    def _value(self, scores: Vector, targets: Vector) -> float:
        return float(np.logaddexp(0.0, (1 - 2 * targets) * scores).mean())

    def _slopes(self, scores: Vector, targets: Vector) -> Vector:
        return np.asarray(expit(scores)) - targets


class CrossEntropy(LinearLoss):
    """The cross-entropy of the softmax of several scores; targets have a 1 for the sample's class."""

    def _value(self, scores: Vector, targets: Vector) -> float:
        return -float((targets * log_softmax(scores, axis=1)).sum() / len(scores))

    def _slopes(self, scores: Vector, targets: Vector) -> Vector:
        slopes: Any = np.exp(log_softmax(scores, axis=1)) - targets
        return np.asarray(slopes)
