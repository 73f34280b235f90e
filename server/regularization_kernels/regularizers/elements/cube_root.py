"""The cube root from additions, multiplications, divisions and bits alone: the same bits everywhere.

It is the one of FreeBSD's library (``s_cbrt.c``, Evans and Gaskell 2009): a third of the exponent, a
polynomial for 23 bits, and one of Newton's steps for 53. Its error is below 0.667 units in the last place.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ...formulas.operations import bits_of, number_of, where

_SMALLEST_NORMAL = 2.0**-1022
_LIFT, _LOWERING = 2.0**54, 2.0**-18
_HIGH_WORD, _WITHOUT_SIGN = 32, 0x7FFFFFFF
_BIAS = 715094163  # two thirds of the exponent's bias, less what centres the error
_THIRD, _THIRD_SHIFT = 0x55555556, 32  # times and shift: the third of a number below 2^31, rounded down
_HALF_OF_THE_LAST, _TWENTY_THREE_BITS = 0x80000000, -0x40000000


def _of_normal(x: Any) -> Any:
    high = (bits_of(x) >> _HIGH_WORD) & _WITHOUT_SIGN  # known to be small, several can be multiplied at once
    t = number_of((((high * _THIRD) >> _THIRD_SHIFT) + _BIAS) << _HIGH_WORD)
    r = (t * t) * (t / x)
    even = 1.87595182427177009643 + r * (-1.88497979543377169875 + r * 1.621429720105354466140)
    odd = -0.758397934778766047437 + r * 0.145996192886612446982
    t = t * (even + ((r * r) * r) * odd)
    t = number_of((bits_of(t) + _HALF_OF_THE_LAST) & _TWENTY_THREE_BITS)
    r = x / (t * t)
    return t + t * ((r - t) / ((t + t) + r))


def cube_root(x: Any) -> Any:
    """The cube root of a number >= 0, a subnormal one too; infinity and NaN stay."""
    small = x < _SMALLEST_NORMAL
    root = _of_normal(x * (1.0 + small * (_LIFT - 1.0))) * (1.0 + small * (_LOWERING - 1.0))
    return where((x > 0.0) & (x < np.inf), root, x)
