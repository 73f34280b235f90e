"""What callers must not give, checked alike wherever they can."""

from __future__ import annotations

import math

import numpy as np

from .._errors import ArgumentError
from .._planned import Planned


def check_count(number: object, name: str) -> None:
    """Check that a number is whole and above 0.

    Raises:
        ArgumentError: If it is not.
    """
    if not isinstance(number, int | np.integer) or isinstance(number, bool) or number < 1:
        raise ArgumentError(f"{name} must be a whole number >= 1, got {number!r}")


def check_strength(number: object, name: str) -> None:
    """Check that a number is finite and not negative.

    Raises:
        ArgumentError: If it is not.
    """
    if not _is_number(number) or not 0 <= number < math.inf:  # type: ignore[operator] # a number
        raise ArgumentError(f"{name} must be a finite number >= 0, got {number!r}")


def is_positive(number: object) -> bool:
    """Return whether something is a finite number above 0."""
    return _is_number(number) and 0 < number < math.inf  # type: ignore[operator] # a number


def check_unplanned(regularizer: object) -> None:
    """Check that a regularizer is not one of a plan, whose strengths are those of a step of training.

    Raises:
        ArgumentError: If it is.
    """
    if isinstance(regularizer, Planned):
        raise ArgumentError("regularizer must be one, or several by name or pattern: solvers take no plan")


def _is_number(number: object) -> bool:
    is_real = isinstance(number, int | float | np.integer | np.floating)
    return is_real and not isinstance(number, bool)
