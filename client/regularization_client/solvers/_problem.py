"""What is minimized: a smooth loss, which the caller computes, plus a penalty, whose steps a server takes."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any, TypeAlias

import numpy as np

from .._client import Client
from .._config import Figure
from .._errors import ArgumentError
from .._request.layout import Unplanned
from ._checks import check_unplanned
from ._structure import Structure, Vector

PENALTY: tuple[Figure, ...] = ("penalty",)
"""The figures of a call that is asked for the penalty alone."""

ValueAndGradient: TypeAlias = Callable[[Any], tuple[Any, Any]]
"""Gives a loss and its gradient at parameters: a read-only float64 array, or such arrays by name."""


@dataclass(frozen=True, eq=False)
class Loss:
    """A smooth function of parameters of one structure."""

    value_and_gradient: ValueAndGradient
    structure: Structure

    @cached_property
    def origin(self) -> Point:
        """The point where all parameters are 0."""
        return self.at(np.zeros(self.structure.size))

    def at(self, x: Vector) -> Point:
        """Return a point, at which the loss is computed when it is first asked for."""
        return Point(x, self)

    def finite_at(self, x: Vector, place: str) -> Point:
        """Return a point where the loss must be finite.

        Raises:
            ArgumentError: If loss or gradient is not finite, or no loss or gradient at all.
        """
        point = self.at(x)
        point.check_finite(place)
        return point


@dataclass(frozen=True, eq=False)
class Point:
    """Parameters, and the loss there.

    Reading loss or gradient raises ``ArgumentError`` where the caller's function does not give a number and a
    gradient of the parameters' structure.
    """

    x: Vector
    of: Loss

    @property
    def loss(self) -> float:
        """The loss."""
        return self._answer[0]

    @property
    def gradient(self) -> Vector:
        """Its gradient."""
        return self._answer[1]

    @property
    def is_finite(self) -> bool:
        """Whether loss and gradient are."""
        return math.isfinite(self.loss) and bool(np.isfinite(self.gradient).all())

    def check_finite(self, place: str) -> None:
        """Check that loss and gradient are finite.

        Raises:
            ArgumentError: If they are not.
        """
        if not self.is_finite:
            got = "NaN or infinity in the gradient" if math.isfinite(self.loss) else f"the loss {self.loss}"
            raise ArgumentError(f"value_and_gradient must return finite numbers {place}, got {got}")

    @cached_property
    def _answer(self) -> tuple[float, Vector]:
        answer = self.of.value_and_gradient(self.of.structure.shown(self.x))
        try:
            value, gradient = answer
            loss = float(value)
        except (TypeError, ValueError) as error:
            raise ArgumentError(
                f"value_and_gradient must return a number and the gradient, got {type(answer).__name__}"
            ) from error
        return loss, self.of.structure.vector(gradient, "the gradient of value_and_gradient")


@dataclass(frozen=True, slots=True)
class Problem:
    """A loss plus a penalty."""

    loss: Loss
    regularizer: Unplanned
    client: Client

    def __post_init__(self) -> None:
        check_unplanned(self.regularizer)

    def step(self, point: Point, step_size: float) -> Point:
        """Return where a proximal gradient step leads."""
        structure = self.loss.structure
        reached = np.empty_like(point.x)
        self.client.proximal_step(
            structure.arrays(point.x),
            self.regularizer,
            step_size=step_size,
            loss_gradients=structure.arrays(point.gradient),
            out=structure.arrays(reached),
            figures=(),
        )
        return self.loss.at(reached)

    def residual(self, point: Point, step_size: float) -> float:
        """Return how far a point is from being a minimizer: the length of its step over the step size."""
        return distance(self.step(point, step_size), point) / step_size

    def objective(self, point: Point) -> float:
        """Return loss plus penalty."""
        arrays = self.loss.structure.arrays(point.x)
        return point.loss + self.client.penalty(arrays, self.regularizer, figures=PENALTY).penalty


def distance(a: Point, b: Point) -> float:
    """Return the Euclidean distance of two points."""
    return float(np.linalg.norm(a.x - b.x))
