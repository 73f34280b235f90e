"""What the oracle knows of one regularizer, and the ways to say it."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from mpmath import mpf

from ..numbers import Real
from ..sums import Terms

Shape = tuple[int, ...]
Vector = list[Real]
Message = Any
"""The regularizer's message of the schema."""

LAPACK = 2.0**-44
"""What a decomposition of a small matrix errs by, of its largest element."""


@dataclass(frozen=True)
class Row:
    """One regularizer.

    Attributes:
        sums: The terms of the penalty at numbers of binary64.
        gradient: The minimum-norm subgradient; None where there is none.
        step: The proximal step, with a step size for each element.
        convex: As a summary says it; None for a map.
        value_error: What values are off by, of the largest, where the schema promises no bits.
        sum_error: What terms are off by, relatively, where the schema promises no bits.
        by_element: Whether it is a sum over elements, which takes weights.
        inside: Whether a point is in the set, of an indicator.
        weighted: The row that takes its place where elements have weights; None where these multiply terms.
    """

    sums: Callable[[Message, Shape, list[float]], list[Terms]]
    gradient: Callable[[Message, Shape, Vector], Vector] | None
    step: Callable[[Message, Shape, Vector, Vector], Vector]
    convex: bool | None = True
    value_error: float = 0.0
    sum_error: float = 0.0
    by_element: bool = False
    inside: Callable[[Message, Shape, list[float]], bool] | None = None
    weighted: Callable[[list[float]], Row] | None = None


def sign(x: Real) -> int:
    """-1, 0 or 1."""
    return int(x > 0) - int(x < 0)


def soft(x: Real, threshold: Real) -> Real:
    """S(x, threshold) of the schema."""
    return sign(x) * max(abs(x) - threshold, mpf(0))


def best(candidates: list[Real], objective: Callable[[Real], Real]) -> Real:
    """The candidate with the smallest objective, which no other may come near to.

    Raises:
        ValueError: If another one is as good.
    """
    ranked = sorted((objective(each), each) for each in candidates)
    rivals = [each for each in ranked[1:] if each[0] - ranked[0][0] < mpf(2) ** -40]
    if any(abs(each[1] - ranked[0][1]) > mpf(2) ** -40 for each in rivals):
        raise ValueError(f"two minimizers: {ranked[0]} and {rivals[0]}")
    return ranked[0][1]


def by_element(
    term: Callable[[Message, float], float],
    slope: Callable[[Message, Real], Real],
    step: Callable[[Message, Real, Real], Real],
    *,
    scale: Callable[[Message], float] = lambda message: float(message.strength),
    convex: bool = True,
    sum_error: float = 0.0,
) -> Row:
    """A sum over elements: term, slope and step of one."""
    return Row(
        sums=lambda message, _, x: [Terms(scale(message), [term(message, each) for each in x])],
        gradient=lambda message, _, x: [slope(message, each) for each in x],
        step=lambda message, _, x, sizes: [
            step(message, each, size) for each, size in zip(x, sizes, strict=True)
        ],
        convex=convex,
        sum_error=sum_error,
        by_element=True,
    )


def of_set(
    inside: Callable[[Message, Shape, list[float]], bool],
    project: Callable[[Message, Shape, Vector], Vector],
    *,
    convex: bool = True,
    value_error: float = 0.0,
    by_element: bool = False,
) -> Row:
    """An indicator: whether a point is inside, and the nearest point that is; one inside stays."""
    return of_set_in_metric(
        inside,
        lambda message, shape, x, _: project(message, shape, x),
        convex=convex,
        value_error=value_error,
        by_element=by_element,
    )


def of_set_in_metric(
    inside: Callable[[Message, Shape, list[float]], bool],
    project: Callable[[Message, Shape, Vector, Vector], Vector],
    *,
    convex: bool = True,
    value_error: float = 0.0,
    by_element: bool = False,
) -> Row:
    """Likewise, where which point is nearest depends on the elements' step sizes."""

    def step(message: Message, shape: Shape, x: Vector, sizes: Vector) -> Vector:
        kept = inside(message, shape, [float(each) for each in x])
        return x if kept else project(message, shape, x, sizes)

    return Row(
        sums=lambda message, shape, x: [
            Terms(1.0, [0.0 if inside(message, shape, x) else math.inf, *[0.0] * (len(x) - 1)][: len(x)])
        ],
        gradient=lambda _, __, x: [mpf(0)] * len(x),
        step=step,
        convex=convex,
        value_error=value_error,
        by_element=by_element,
        inside=inside,
    )


def uniform_size(sizes: Vector) -> Real:
    """The one step size of a group or a segment.

    Raises:
        ValueError: If there are several.
    """
    if len(set(sizes)) > 1:
        raise ValueError("the oracle has one step size for a group")
    return sizes[0] if sizes else mpf(0)
