"""Logarithm and exponential from additions, multiplications, divisions and bits alone.

A library's logarithm differs from the next one's in the last bit, and from itself on another processor.
These are made of operations that IEEE 754 rounds alike everywhere, so results have the same bits everywhere
too. Each function is made of the operations that formulas are made of, and serves in them.

The logarithm is fdlibm's (Sun Microsystems 1993, ``e_log.c``); its error is below one unit in the last place.
"""

from __future__ import annotations

from typing import Any

from ...formulas.operations import bits_of, number_of

_MANTISSA_BITS = 52
_EXPONENT_BIAS = 1023
_ROOT_HALF = 0x3FE6A09E00000000  # the bits of a number just below the square root of 1/2
_SMALLEST_NORMAL = 2.0**-1022
_LIFT, _LIFT_LOG = 2.0**54, 54 * 0.6931471805599453
_LN2_HIGH, _LN2_LOW = 6.93147180369123816490e-01, 1.90821492927058770002e-10
# Added to a number, it leaves the nearest integer in the last bits.
_INTEGERS = 1.5 * 2.0**52


def log_of_normal(x: Any) -> Any:
    """The natural logarithm of a normal number > 0; some number for any other."""
    bits = bits_of(x)
    exponent = (bits - _ROOT_HALF) >> _MANTISSA_BITS
    f = number_of(bits - (exponent << _MANTISSA_BITS)) - 1.0
    s = f / (2.0 + f)
    z = s * s
    w = z * z
    even = w * (3.999999999940941908e-01 + w * (2.222219843214978396e-01 + w * 1.531383769920937332e-01))
    odd = w * (2.857142874366239149e-01 + w * (1.818357216161805012e-01 + w * 1.479819860511658591e-01))
    odd = z * (6.666666666666735130e-01 + odd)
    half = 0.5 * (f * f)
    return exponent * _LN2_HIGH - ((half - (s * (half + (odd + even)) + exponent * _LN2_LOW)) - f)


def log(x: Any) -> Any:
    """The natural logarithm of a number > 0, a subnormal one too; some number for any other."""
    small = x < _SMALLEST_NORMAL
    return log_of_normal(x * (1.0 + small * (_LIFT - 1.0))) - small * _LIFT_LOG


def log1p(y: Any) -> Any:
    """The natural logarithm of 1 + y for finite y >= 0; NaN for an infinity and NaN."""
    u = 1.0 + y
    one = u - y
    lost = (1.0 - one) + (y - (u - one))
    return log_of_normal(u) + lost / u


def exp_roughly(x: Any) -> Any:
    """The exponential of a number from -708 to 700, to four digits; some number for any other."""
    powers = x * 1.4426950408889634
    integer = powers + _INTEGERS
    r = (powers - (integer - _INTEGERS)) * 0.6931471805599453
    two_to_it = number_of((bits_of(integer) + _EXPONENT_BIAS) << _MANTISSA_BITS)
    return two_to_it * (1.0 + r * (1.0 + r * (0.5 + r * (1.0 / 6.0 + r * (1.0 / 24.0)))))
