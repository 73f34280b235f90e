"""Proximal gradient descent, accelerated."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Literal, TypedDict

import numpy as np

from .._client import Client
from .._errors import ArgumentError
from .._request.layout import Unplanned
from ._checks import check_count, is_positive
from ._problem import Loss, Point, Problem, ValueAndGradient, distance
from ._step_sizes import Backtracking, Fixed, StepSizes, first_step_size
from ._structure import Arrays, Structure

_LEAST_SCALE = 1e-3
"""Share of the loss gradient at 0 that residuals are relative to at least: near the strength from which on 0
is the minimizer, the residual at 0 tells nothing."""


@dataclass(frozen=True, eq=False)
class Solution:
    """What a solver found."""

    x: Any
    """The parameters: float64, structured as those that the solver started from."""

    objective: float
    """Loss plus penalty there."""

    residual: float
    """How far they are from a minimizer: the norm of ``(x - step(x)) / step_size``, relative to what it is at
    0, or to a thousandth of the loss gradient there if that is more. It is measured at ``x`` itself."""

    iterations: int
    """Steps taken."""

    converged: bool
    """Whether the residual is at most the tolerance; False where the iterations ran out before."""

    step_size: float
    """That of the last step."""


class MinimizeOptions(TypedDict, total=False):
    """Keywords about how to minimize: see ``minimize``."""

    step_size: float | Literal["backtracking"]
    """The size of steps, or how to find one."""

    accelerated: bool
    """Whether steps have momentum."""

    restart: Literal["gradient"] | None
    """When momentum is dropped."""

    tol: float
    """How small the residual is to be."""

    max_iterations: int
    """The most steps for one solution."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Method:
    """How to minimize: see ``minimize``."""

    step_size: float | Literal["backtracking"] = "backtracking"
    accelerated: bool = True
    restart: Literal["gradient"] | None = "gradient"
    tol: float = 1e-8
    max_iterations: int = 10_000

    def __post_init__(self) -> None:
        if self.step_size != "backtracking" and not is_positive(self.step_size):
            raise ArgumentError(
                f"step_size must be 'backtracking' or a finite number > 0, got {self.step_size!r}"
            )
        if self.restart not in ("gradient", None):
            raise ArgumentError(f"restart must be 'gradient' or None, got {self.restart!r}")
        if not is_positive(self.tol):
            raise ArgumentError(f"tol must be a finite number > 0, got {self.tol!r}")
        check_count(self.max_iterations, "max_iterations")


def minimize(
    value_and_gradient: ValueAndGradient,
    x0: Arrays,
    regularizer: Unplanned,
    client: Client,
    *,
    step_size: float | Literal["backtracking"] = "backtracking",
    accelerated: bool = True,
    restart: Literal["gradient"] | None = "gradient",
    tol: float = 1e-8,
    max_iterations: int = 10_000,
) -> Solution:
    """Minimize a smooth loss plus a penalty by proximal gradient descent.

    It ends where the step from x leads nowhere: where ``||x - step(x)|| / step_size`` is at most ``tol``
    times what it is at 0. So a warm start asks for no more and no less than a cold one. For convex losses and
    penalties that is a minimizer; otherwise it is a point that the steps leave as it is.

    Each iteration is one call of the server, and one of ``value_and_gradient``, or two where it is
    accelerated and backtracks.

    Args:
        value_and_gradient: Gives the loss at parameters and its gradient. It is called with a read-only
            float64 array, or a dict of such, as ``x0`` is structured.
        x0: Where to start; an array of real numbers, or arrays by name. Whole numbers are numbers, not fixed
            point. It is not changed.
        regularizer: As calls of the client take it.
        client: Whose server takes the steps.
        step_size: Their size, at most the inverse of the gradient's Lipschitz constant; or "backtracking",
            which finds one, shortens it where the loss bends more, and tries longer ones after restarts.
        accelerated: Whether to step from a point ahead, by Nesterov's momentum (FISTA).
        restart: "gradient" drops the momentum where it leads uphill; None never does.
        tol: How small the residual is to be, > 0.
        max_iterations: The most steps, >= 1.

    Raises:
        ArgumentError: If the arguments do not fit together, the loss or gradient is not finite where it must
            be, or the gradient is not the loss's.
        RegularizationError: If a call fails.

    Source: Beck and Teboulle (2009), A fast iterative shrinkage-thresholding algorithm; O'Donoghue and Candès
    (2015), Adaptive restart for accelerated gradient schemes.

    Example:
        >>> import numpy as np
        >>> from regularization_client import Client, L1Norm
        >>> from regularization_client.solvers import minimize
        >>> target = np.array([3.0, -0.5, 1.0])
        >>> def half_square(x):
        ...     return 0.5 * np.sum((x - target) ** 2), x - target
        >>> with Client() as client:
        ...     solution = minimize(half_square, np.zeros(3), L1Norm(strength=1.0), client)
        >>> solution.x, solution.objective, solution.converged
        (array([2., 0., 0.]), 3.125, True)
    """
    method = Method(
        step_size=step_size,
        accelerated=accelerated,
        restart=restart,
        tol=tol,
        max_iterations=max_iterations,
    )
    structure = Structure.of(x0)
    problem = Problem(Loss(value_and_gradient, structure), regularizer, client)
    return solve(problem, problem.loss.finite_at(structure.vector(x0, "x0"), "at x0"), method)


def solve(
    problem: Problem,
    start: Point,
    method: Method,
    *,
    ahead: Point | None = None,
    like: Solution | None = None,
) -> Solution:
    """Minimize loss plus penalty.

    Args:
        problem: Loss and penalty.
        start: Where to start; the loss must be finite there.
        method: How.
        ahead: Where the solution is guessed to be: from there the first step is taken, if the loss is finite
            there, as if momentum had led from the start to it. None for the start.
        like: A solution of a similar problem, with whose step size backtracking begins.

    Raises:
        RegularizationError: As ``minimize``.
    """
    origin = problem.loss.origin if start.x.any() else start
    if not origin.is_finite:
        origin = start  # a loss that is infinite at 0, as one of logarithms is
    steps: StepSizes
    if isinstance(method.step_size, str):
        steps = Backtracking(like.step_size if like else first_step_size(start))
    else:
        steps = Fixed(method.step_size)
    first = ahead if ahead is not None and ahead.is_finite else start
    return _Descent(problem, method, steps, _scale(problem, origin, steps.current)).run(start, first)


def _scale(problem: Problem, origin: Point, step_size: float) -> float:
    """Return what residuals are relative to; 1 where loss and penalty have no slope at 0."""
    least = _LEAST_SCALE * float(np.linalg.norm(origin.gradient))
    return max(problem.residual(origin, step_size), least) or 1.0


@dataclass(slots=True)
class _Descent:
    """A run of proximal gradient descent."""

    problem: Problem
    method: Method
    steps: StepSizes
    scale: float
    momentum: float = 1.0
    """Nesterov's t: 1 where the next step has no momentum behind it."""

    def run(self, last: Point, ahead: Point) -> Solution:
        """Step until a step leads nowhere, or often enough.

        Args:
            last: Where it starts.
            ahead: From where it takes the first step.
        """
        for iteration in range(1, self.method.max_iterations + 1):
            reached = self.steps.step(self.problem, ahead)
            residual = distance(reached, ahead) / self.steps.current / self.scale
            is_small = residual <= self.method.tol
            # The first point may be outside a set, and one ahead is no result of a step.
            if is_small and ahead is last and iteration > 1:
                return self._solution(last, residual, iteration)
            if is_small:
                self.momentum = 1.0
                last = ahead = reached
            else:
                last, ahead = reached, self._ahead(last, ahead, reached)
        residual = self.problem.residual(last, self.steps.current) / self.scale
        return self._solution(last, residual, self.method.max_iterations)

    def _ahead(self, last: Point, ahead: Point, reached: Point) -> Point:
        """Return the point from which to step next."""
        if not self.method.accelerated:
            return reached
        if self.method.restart and float((ahead.x - reached.x) @ (reached.x - last.x)) > 0:
            return self._restarted(reached)
        momentum = (1 + math.sqrt(1 + 4 * self.momentum**2)) / 2
        share = (self.momentum - 1) / momentum
        self.momentum = momentum
        if share == 0:
            return reached
        further = self.problem.loss.at(reached.x + share * (reached.x - last.x))
        return further if further.is_finite else self._restarted(reached)

    def _restarted(self, reached: Point) -> Point:
        self.momentum = 1.0
        self.steps.restart()
        return reached

    def _solution(self, point: Point, residual: float, iterations: int) -> Solution:
        return Solution(
            x=self.problem.loss.structure.arrays(point.x),
            objective=self.problem.objective(point),
            residual=residual,
            iterations=iterations,
            converged=residual <= self.method.tol,
            step_size=self.steps.current,
        )
