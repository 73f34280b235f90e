"""How long steps are: given, or as long as the loss's curvature lets them be."""

from __future__ import annotations

from abc import ABC, abstractmethod

import numpy as np

from .._errors import ArgumentError
from ._problem import Point, Problem

_NEARLY = 0.98
"""What a step is of the longest that the measured curvature would let it be."""

_SHORTEST, _LONGEST = 0.5, 0.9
"""What a step that was too long is multiplied by: at least, at most."""

_LONGER_AFTER_RESTART = 2.0
_LONGEST_STEP = 1e100
_MOST_ATTEMPTS = 30
_TRIED = 1e-3
"""Share of the parameters' size by which they are moved to see the curvature."""

_ROUNDING = 1e4 * np.finfo(np.float64).eps
"""Share of the loss below which a difference of two losses has too few digits to be judged by."""


class StepSizes(ABC):
    """Takes a solver's steps."""

    current: float
    """The step size of the last step, or of the next."""

    @abstractmethod
    def step(self, problem: Problem, point: Point) -> Point:
        """Return where a step from a point leads.

        Raises:
            ArgumentError: If the loss or its gradient at the point is not finite.
        """

    def restart(self) -> None:  # noqa: B027 - not every rule has something to do
        """Take note that the solver begins anew from the point where it is."""


class Fixed(StepSizes):
    """Steps of one size.

    Args:
        step_size: At most the inverse of the gradient's Lipschitz constant.
    """

    def __init__(self, step_size: float) -> None:
        self.current = step_size

    def step(self, problem: Problem, point: Point) -> Point:
        """Return where the step leads."""
        point.check_finite(f"where steps of size {self.current} lead; shorter ones may not")
        return problem.step(point, self.current)


class Backtracking(StepSizes):
    """Steps that become shorter where the loss rises above what the step size says of it.

    A step of size s from y to z is short enough where ``f(z) <= f(y) + <g(y), z - y> + ||z - y||² / (2·s)``
    (Beck and Teboulle 2009). Where rounding errors may be larger than what is compared there, it is where
    ``<g(z) - g(y), z - y> <= ||z - y||² / s`` (Becker, Candès and Grant 2011); for quadratic losses that is
    the same.

    Args:
        step_size: The first to be tried.
    """

    def __init__(self, step_size: float) -> None:
        self.current = step_size

    def step(self, problem: Problem, point: Point) -> Point:
        """Return where the longest step leads that is short enough and no longer than the last."""
        for _ in range(_MOST_ATTEMPTS):
            reached = problem.step(point, self.current)
            shorter = self._shorter(point, reached)
            if shorter is None:
                return reached
            self.current *= shorter
        raise ArgumentError(
            f"no step size is small enough, {self.current} is not either: value_and_gradient must return the "
            "gradient of its value, and both as exactly as float64 can have them"
        )

    def restart(self) -> None:
        """Let the next step be longer than the last."""
        self.current = min(self.current * _LONGER_AFTER_RESTART, _LONGEST_STEP)

    def _shorter(self, point: Point, reached: Point) -> float | None:
        """Return by how much to multiply the step size; None where the step is short enough."""
        if not reached.is_finite:
            return _SHORTEST
        moved = reached.x - point.x
        square = float(moved @ moved)
        if square == 0:
            return None
        rise = reached.loss - point.loss - float(point.gradient @ moved)
        if square / self.current < _ROUNDING * max(abs(point.loss), abs(reached.loss)):
            rise = float((reached.gradient - point.gradient) @ moved) / 2
        curvature = 2 * rise / square
        if curvature * self.current <= 1:
            return None
        return min(max(_NEARLY / (curvature * self.current), _SHORTEST), _LONGEST)


def first_step_size(start: Point) -> float:
    """Return the inverse of the curvature along the gradient, which is at most the largest that there is."""
    slope = float(np.linalg.norm(start.gradient))
    length = _TRIED * max(1.0, float(np.linalg.norm(start.x)))
    if slope == 0:
        return 1.0
    near = start.of.at(start.x - length / slope * start.gradient)
    change = float(np.linalg.norm(near.gradient - start.gradient)) if near.is_finite else 0.0
    return length / change if change > 0 else 1.0
