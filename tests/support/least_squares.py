"""Least squares problems to minimize, and what is true of their solutions."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tests.support.cases.row import Case

Array = NDArray[np.float64]


@dataclass(frozen=True)
class LeastSquares:
    """``||A x - b||² / (2n)`` of x of any shape, where the rows of A are samples."""

    rows: Array
    targets: Array

    @classmethod
    def random(cls, samples: int, shape: tuple[int, ...], seed: int = 0, spread: float = 1.0) -> LeastSquares:
        """One whose columns' sizes range over a factor of ``spread``, and whose targets no x fits."""
        random = np.random.default_rng(seed)
        features = math.prod(shape)
        sizes = np.geomspace(1.0, 1.0 / spread, features)
        rows = random.standard_normal((samples, features)) * random.permutation(sizes)
        x = np.where(random.random(features) < 0.2, random.standard_normal(features), 0.0)
        targets = rows @ x + 0.1 * random.standard_normal(samples)
        return cls(rows, targets)

    def __call__(self, x: Any) -> tuple[float, Array]:
        """Value and gradient."""
        residuals = self.rows @ np.ravel(x) - self.targets
        gradient = self.rows.T @ residuals / len(self.targets)
        return float(residuals @ residuals) / (2 * len(self.targets)), gradient.reshape(np.shape(x))

    def gradient(self, x: Any) -> Array:
        """The gradient alone."""
        return self(x)[1]

    @property
    def lipschitz(self) -> float:
        """The gradient's Lipschitz constant."""
        return float(np.linalg.norm(self.rows, 2)) ** 2 / len(self.targets)


def coordinate_descent(problem: LeastSquares, strength: float, sweeps: int = 5_000) -> Array:
    """The lasso's solution by descent along one coordinate at a time."""
    rows, n = problem.rows, len(problem.targets)
    x, residuals = np.zeros(rows.shape[1]), problem.targets.copy()
    curvatures = (rows * rows).sum(axis=0) / n
    for _ in range(sweeps):
        before = x.copy()
        for j in range(x.size):
            pull = float(rows[:, j] @ residuals) / n + curvatures[j] * x[j]
            new = math.copysign(max(abs(pull) - strength, 0.0), pull) / curvatures[j]
            residuals += rows[:, j] * (x[j] - new)
            x[j] = new
        if np.max(np.abs(x - before)) <= 1e-15 * np.max(np.abs(x), initial=0.0):
            break
    return x


def exact_lasso(problem: LeastSquares, strength: float, near: Array) -> Array:
    """The lasso's solution by its conditions, given one that has the same signs.

    Where x is not 0 the gradient is ``-strength * sign(x)``, which are equations for these x; elsewhere its
    magnitude is at most the strength.

    Args:
        problem: Whose columns are independent where ``near`` is not 0.
        strength: That of the L1 norm.
        near: A point with the solution's signs, which is checked: no other solution has others.
    """
    support, signs = np.flatnonzero(near), np.sign(near)
    rows, samples = problem.rows[:, support], len(problem.targets)
    triangle = np.linalg.qr(rows, mode="r")
    x = np.zeros_like(near)
    for _ in range(3):  # of which the second and third take off what rounding left
        slopes = (problem.gradient(x) + strength * signs)[support]
        x[support] -= np.linalg.solve(triangle, np.linalg.solve(triangle.T, samples * slopes))
    assert (np.sign(x) == signs).all()
    assert (np.abs(problem.gradient(x)[signs == 0]) <= strength * (1 + 1e-9)).all()
    return x


def first_of_each(cases: Iterable[Case]) -> list[Case]:
    """A case of each row: a solver sees of a regularizer no more than its steps, whose laws try them all."""
    firsts: dict[str, Case] = {}
    for case in cases:
        firsts.setdefault(case.row.name, case)
    return list(firsts.values())


Recorded = Callable[[Any], tuple[float, Any]]


def recording(function: Recorded, calls: list[Any]) -> Recorded:
    """The same function, which notes a copy of every argument."""

    def recorded(x: Any) -> tuple[float, Any]:
        calls.append(np.array(x))
        return function(x)

    return recorded
