"""Levels in exact rationals, by their documented definition."""

from __future__ import annotations

import math
from fractions import Fraction
from typing import Any

_WHOLE = 2**52


def levels_near(levels: Any, x: float) -> list[float]:
    """Explicit levels, or the even ones around a number; far out the number itself."""
    if levels.explicit is not None:
        return [float(level) for level in levels.explicit]
    offset = math.remainder(levels.offset or 0.0, levels.step)
    # (x - offset) / step, as a quotient of whole numbers.
    (n, d), (a, b), (p, q) = (number.as_integer_ratio() for number in (x, offset, levels.step))
    dividend, divisor = (n * b - a * d) * q, d * b * p
    if abs(dividend) >= _WHOLE * divisor:
        return [x]
    whole = dividend // divisor
    return [offset + float(k) * levels.step for k in range(whole - 1, whole + 3)]


def nearest_level(levels: Any, x: float) -> float:
    """The nearest, of two the one of smaller magnitude, of these the positive one."""
    exact = Fraction(x)
    return min(levels_near(levels, x), key=lambda level: (abs(Fraction(level) - exact), abs(level), -level))
