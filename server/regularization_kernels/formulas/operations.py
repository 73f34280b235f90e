"""The operations that formulas of elements are made of, beside Python's own operators.

A formula is one function that serves a number, an array, and what ``evaluation`` traces. Numba compiles the
same function; for the operations here it has twins of its own (``compiled_loop``), with the same results.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from .evaluation import Traced

minimum, maximum, sqrt, copysign, sign = np.minimum, np.maximum, np.sqrt, np.copysign, np.sign
floor = np.floor
"""NumPy's, of numbers or arrays."""


def clip(x: Any, lower: Any, upper: Any) -> Any:
    """``min(max(x, lower), upper)``; NaN stays."""
    return np.clip(x, lower, upper)


def where(condition: Any, one: Any, other: Any) -> Any:
    """One of two where a condition holds, the other elsewhere."""
    if isinstance(condition, Traced):
        return condition.choose(one, other)
    if isinstance(condition, np.ndarray):
        return np.where(condition, one, other)
    return one if condition else other


def look_up(x: Any, values: tuple[float, ...], thresholds: tuple[float, ...]) -> Any:
    """The first value up to the first threshold, the second above it up to the second one, and so on."""
    if isinstance(x, Traced):
        return x.look_up(np.array(values), np.array(thresholds))
    return np.array(values)[np.searchsorted(thresholds, x)]


def is_zero(number: Any) -> bool:
    """Whether one number for all elements is 0; of numbers that differ, nothing is said."""
    return not isinstance(number, np.ndarray | Traced) and bool(number == 0.0)


def bits_of(x: Any) -> Any:
    """The bits of float64 numbers as int64."""
    return x.view(np.int64) if hasattr(x, "view") else np.float64(x).view(np.int64)


def number_of(bits: Any) -> Any:
    """The float64 numbers of bits in int64."""
    return bits.view(np.float64) if hasattr(bits, "view") else np.int64(bits).view(np.float64)
