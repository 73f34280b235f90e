"""The strength that predicts best what was held out."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias, Unpack

import numpy as np
import numpy.typing as npt

from .._client import Client
from .._errors import ArgumentError
from .._request.layout import Unplanned
from ._checks import check_count
from ._minimize import Method, MinimizeOptions, Solution
from ._path import Course, Path
from ._problem import Loss, ValueAndGradient
from ._structure import Arrays, Structure

Indices: TypeAlias = npt.NDArray[np.intp]
"""Which samples."""

Selection: TypeAlias = Literal["min", "1se"]
"""Which strength to choose: that of the least error, or the strongest within one standard error of it."""

Folds: TypeAlias = int | Iterable[tuple[npt.ArrayLike, npt.ArrayLike]]
"""How many folds to draw, or the indices of the samples to train on and to test with, fold by fold."""


@dataclass(frozen=True, eq=False)
class CrossValidation:
    """Errors on held-out samples over a path, and the choice that they make."""

    path: Path
    """The solutions from all samples."""

    errors: npt.NDArray[np.float64]
    """The error of each fold at each strength: (folds, strengths)."""

    selection: Selection
    """How the choice is made."""

    @property
    def mean_errors(self) -> npt.NDArray[np.float64]:
        """The mean over folds at each strength."""
        return np.asarray(self.errors.mean(axis=0))

    @property
    def standard_errors(self) -> npt.NDArray[np.float64]:
        """The standard error of that mean, as if the folds were independent."""
        return np.asarray(self.errors.std(axis=0, ddof=1) / math.sqrt(len(self.errors)))

    @property
    def index(self) -> int:
        """The place of the chosen strength in the path; of equal errors the strongest."""
        best = int(np.argmin(self.mean_errors))
        if self.selection == "min":
            return best
        bound = self.mean_errors[best] + self.standard_errors[best]
        return int(np.flatnonzero(self.mean_errors <= bound)[0])

    @property
    def strength(self) -> float:
        """The chosen strength."""
        return float(self.path.strengths[self.index])

    @property
    def solution(self) -> Solution:
        """The solution from all samples at the chosen strength."""
        return self.path.solutions[self.index]


def cross_validate(
    loss_of: Callable[[Indices], ValueAndGradient],
    error_of: Callable[[Any, Indices], float],
    samples: int,
    x0: Arrays,
    regularizer: Unplanned,
    client: Client,
    *,
    folds: Folds = 5,
    seed: int = 0,
    selection: Selection = "min",
    strengths: npt.ArrayLike | None = None,
    count: int = 100,
    ratio: float = 1e-3,
    **options: Unpack[MinimizeOptions],
) -> CrossValidation:
    """Choose a strength by the error on samples that were held out.

    The folds are drawn once, and the strengths are those of a path over all samples: so every strength is
    judged by the same samples. Losses should be means over samples, not sums: a strength then means the same
    for a fold as for all.

    Args:
        loss_of: Gives, for the indices of samples, the loss of these as ``minimize`` takes it.
        error_of: Gives the error of parameters, structured as ``x0``, on the samples with these indices.
        samples: How many there are.
        x0: Where the first solution of each path starts; see ``minimize``.
        regularizer: See ``path``.
        client: Whose server takes the steps.
        folds: Their number, 2 up to that of the samples, for random folds of equal size; or what to train on
            and to test with, as splitters of scikit-learn give it.
        seed: Of the random folds.
        selection: "min" for the strength of the least mean error; "1se" for the strongest whose mean error is
            within one standard error of the least.
        strengths: See ``path``.
        count: See ``path``.
        ratio: See ``path``.
        **options: See ``minimize``: step_size, accelerated, restart, tol, max_iterations.

    Raises:
        ArgumentError: If the arguments do not fit together, or an error is not finite.
        RegularizationError: If a call fails.

    Source: Breiman, Friedman, Olshen and Stone (1984), Classification and regression trees (the rule of one
    standard error).
    """
    if selection not in ("min", "1se"):
        raise ArgumentError(f"selection must be 'min' or '1se', got {selection!r}")
    check_count(samples, "samples")
    pairs = _pairs(folds, samples, seed)
    structure, method = Structure.of(x0), Method(**options)
    start = structure.vector(x0, "x0")

    def course(indices: Indices) -> Course:
        return Course(Loss(loss_of(indices), structure), regularizer, client, method)

    whole = course(np.arange(samples))
    found = whole.run(start, strengths, count, ratio)
    errors = []
    for training, test in pairs:
        trained = course(training).along(found.strengths, start)
        errors.append([_error(error_of, solution, test) for solution in trained.solutions])
    return CrossValidation(found, np.array(errors), selection)


def _error(error_of: Callable[[Any, Indices], float], solution: Solution, test: Indices) -> float:
    error = float(error_of(solution.x, test))
    if not math.isfinite(error):
        raise ArgumentError(f"error_of must return finite numbers, got {error}")
    return error


def _pairs(folds: Folds, samples: int, seed: int) -> Sequence[tuple[Indices, Indices]]:
    """Return the indices to train on and to test with, fold by fold.

    Raises:
        ArgumentError: If there are fewer than 2 folds, one is empty, or an index is of no sample.
    """
    if isinstance(folds, int | np.integer):
        check_count(folds, "folds")
        if not 2 <= folds <= samples:
            raise ArgumentError(f"folds must be from 2 to the number of samples, {samples}, got {folds}")
        order = np.random.default_rng(seed).permutation(samples)
        tests = [np.sort(part) for part in np.array_split(order, folds)]
        return [(np.setdiff1d(np.arange(samples), test), test) for test in tests]
    pairs = [
        (_checked(training, samples, f"folds[{number}][0]"), _checked(test, samples, f"folds[{number}][1]"))
        for number, (training, test) in enumerate(folds)
    ]
    if len(pairs) < 2:
        raise ArgumentError(f"folds must be 2 or more, got {len(pairs)}")
    return pairs


def _checked(indices: npt.ArrayLike, samples: int, what: str) -> Indices:
    checked = np.asarray(indices)
    if checked.dtype.kind not in "iu" or checked.ndim != 1 or not checked.size:
        raise ArgumentError(f"{what} must be a sequence of one index or more, got {indices!r}")
    for outside in checked[(checked < 0) | (checked >= samples)].tolist():
        raise ArgumentError(f"{what} must have indices from 0 to {samples - 1}, got {outside}")
    return checked.astype(np.intp)
