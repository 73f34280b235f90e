"""Solutions over a range of strengths."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Unpack

import numpy as np
import numpy.typing as npt

from .._client import Client
from .._errors import ArgumentError
from .._request.layout import Unplanned
from ._checks import check_count, check_strength, check_unplanned, is_positive
from ._minimize import Method, MinimizeOptions, Solution, solve
from ._problem import Loss, Point, Problem, ValueAndGradient
from ._strengths import scaled
from ._strongest import strength_max
from ._structure import Arrays, Structure, Vector

MOST_STRENGTHS = 10_000
_MOST_DOUBLINGS = 60
_CLEARLY_LESS = 0.99


@dataclass(frozen=True, eq=False)
class Path:
    """Solutions from the strongest regularization to the weakest."""

    strengths: npt.NDArray[np.float64]
    """What the regularizer's strengths were multiplied by, descending."""

    solutions: tuple[Solution, ...]
    """One for each strength."""

    @property
    def x(self) -> Any:
        """The parameters of all solutions: the first axis is that of the strengths."""
        first = self.solutions[0].x
        if isinstance(first, dict):
            return {name: np.stack([each.x[name] for each in self.solutions]) for name in first}
        return np.stack([each.x for each in self.solutions])

    @property
    def iterations(self) -> int:
        """Steps taken in all."""
        return sum(each.iterations for each in self.solutions)

    @property
    def converged(self) -> bool:
        """Whether every solution is one."""
        return all(each.converged for each in self.solutions)


def path(
    value_and_gradient: ValueAndGradient,
    x0: Arrays,
    regularizer: Unplanned,
    client: Client,
    *,
    strengths: npt.ArrayLike | None = None,
    count: int = 100,
    ratio: float = 1e-3,
    **options: Unpack[MinimizeOptions],
) -> Path:
    """Minimize a smooth loss plus a penalty at many strengths, each from the solution before.

    Args:
        value_and_gradient: See ``minimize``.
        x0: Where the first solution starts; see ``minimize``.
        regularizer: As calls of the client take it. A strength of the path multiplies all its strengths, and
            is the strength itself where that is 1 or unset. What has none, exempt or in a set, stays as it
            is.
        client: Whose server takes the steps.
        strengths: The strengths, finite and >= 0, in any order. None for a geometric sequence that begins at
            ``strength_max``, at the point of least loss among those of penalty 0.
        count: How many there are in that sequence, 1 to 10,000.
        ratio: Its last over its first, above 0 and below 1.
        **options: See ``minimize``: step_size, accelerated, restart, tol, max_iterations.

    Raises:
        ArgumentError: If the arguments do not fit together; see also ``minimize`` and ``strength_max``.
        RegularizationError: If a call fails.

    Example:
        >>> import numpy as np
        >>> from regularization_client import Client, L1Norm
        >>> from regularization_client.solvers import path
        >>> target = np.array([3.0, -0.5, 1.0])
        >>> def half_square(x):
        ...     return 0.5 * np.sum((x - target) ** 2), x - target
        >>> with Client() as client:
        ...     found = path(half_square, np.zeros(3), L1Norm(), client, count=3, ratio=0.25)
        >>> found.strengths, found.x
        (array([3.  , 1.5 , 0.75]), array([[0.  , 0.  , 0.  ],
               [1.5 , 0.  , 0.  ],
               [2.25, 0.  , 0.25]]))
    """
    structure = Structure.of(x0)
    start = structure.vector(x0, "x0")
    course = Course(Loss(value_and_gradient, structure), regularizer, client, Method(**options))
    return course.run(start, strengths, count, ratio)


@dataclass(frozen=True, slots=True)
class Course:
    """What all solutions of a path have in common."""

    loss: Loss
    regularizer: Unplanned
    client: Client
    method: Method

    def __post_init__(self) -> None:
        check_unplanned(self.regularizer)

    def run(self, start: Vector, strengths: npt.ArrayLike | None, count: int, ratio: float) -> Path:
        """Return the solutions at the strengths that ``path`` is asked for.

        Raises:
            ArgumentError: As ``path``.
        """
        if strengths is None:
            return self._from_strongest(start, count, ratio)
        return self.along(checked_strengths(strengths), start)

    def along(self, strengths: npt.NDArray[np.float64], start: Vector, like: Solution | None = None) -> Path:
        """Return the solutions at these strengths, each from where those before lead.

        Solutions are smooth in the strength nearly everywhere, and for many penalties piecewise linear: so
        each next one is looked for further on in the direction of the last two.

        Args:
            strengths: Descending.
            start: Where the first starts.
            like: A solution with whose step size it begins.
        """
        solutions: list[Solution] = []
        last = ahead = self.loss.finite_at(start, "at x0")
        for strength, share in zip(strengths.tolist(), _shares(strengths), strict=True):
            like = self._at(strength, last, like, ahead)
            reached = self.loss.at(self.loss.structure.vector(like.x, "x"))
            ahead = self.loss.at(reached.x + share * (reached.x - last.x)) if share else reached
            last = reached
            solutions.append(like)
        return Path(strengths, tuple(solutions))

    def _from_strongest(self, start: Vector, count: int, ratio: float) -> Path:
        check_count(count, "count")
        if count > MOST_STRENGTHS:
            raise ArgumentError(f"count must be at most {MOST_STRENGTHS}, got {count}")
        if not is_positive(ratio) or ratio >= 1:
            raise ArgumentError(f"ratio must be above 0 and below 1, got {ratio}")
        strongest, simplest = self._strongest(start)
        if strongest == 0:
            raise ArgumentError("the loss is least where the penalty is 0: give strengths")
        strengths = strongest * np.geomspace(1.0, ratio, count)
        return self.along(strengths, self.loss.structure.vector(simplest.x, "x"), simplest)

    def _strongest(self, start: Vector) -> tuple[float, Solution]:
        """Return the least strength at which the penalty is 0, and the solution there.

        At a solution that has a penalty, the gradient needs all of its strength, if not more. So where it
        needs less the penalty is 0, and what it needs is the least strength for which it is.
        """
        gradient = self.loss.origin.gradient
        tried = 2 * (self._needed(gradient) or float(np.linalg.norm(gradient)) or 1.0)
        solution, point = None, self.loss.finite_at(start, "at x0")
        for _ in range(_MOST_DOUBLINGS):
            solution = self._at(tried, point, solution)
            point = self.loss.at(self.loss.structure.vector(solution.x, "x"))
            needed = self._needed(point.gradient)
            if needed < _CLEARLY_LESS * tried:
                return needed, solution
            tried *= 2
        raise ArgumentError(f"at strength {tried} there still is a penalty: give strengths")

    def _needed(self, gradient: Vector) -> float:
        return strength_max(self.loss.structure.arrays(gradient), self.regularizer, self.client)

    def _at(
        self, strength: float, start: Point, like: Solution | None, ahead: Point | None = None
    ) -> Solution:
        problem = Problem(self.loss, scaled(self.regularizer, strength), self.client)
        return solve(problem, start, self.method, ahead=ahead, like=like)


def _shares(strengths: npt.NDArray[np.float64]) -> list[float]:
    """Return by how much of its last move each solution will move again, if it is linear in the strength.

    It is at most 1, so that curves are not left by far; and 0 at the ends and between equal strengths.
    """
    gaps = -np.diff(strengths)
    shares = np.zeros(len(strengths))
    np.divide(np.minimum(gaps[1:], gaps[:-1]), gaps[:-1], out=shares[1:-1], where=gaps[:-1] > 0)
    return shares.tolist()


def checked_strengths(strengths: npt.ArrayLike) -> npt.NDArray[np.float64]:
    """Return strengths in descending order.

    Raises:
        ArgumentError: If they are no finite numbers >= 0, or there are none.
    """
    try:
        numbers = np.array(strengths, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise ArgumentError(f"strengths must be numbers, got {strengths!r}") from error
    if numbers.ndim != 1 or not numbers.size:
        raise ArgumentError(f"strengths must be a sequence of at least one number, got {strengths!r}")
    for number in numbers.tolist():
        check_strength(number, "each of strengths")
    return np.sort(numbers)[::-1]
