"""The contract's logarithm in slow plain Python, by its published description alone."""

from __future__ import annotations

import math

# fdlibm, e_log.c: the polynomial's coefficients, and log(2) in two parts.
_COEFFICIENTS = (
    6.666666666666735130e-01,
    3.999999999940941908e-01,
    2.857142874366239149e-01,
    2.222219843214978396e-01,
    1.818357216161805012e-01,
    1.531383769920937332e-01,
    1.479819860511658591e-01,
)
_LN2_HIGH, _LN2_LOW = 6.93147180369123816490e-01, 1.90821492927058770002e-10
_LEAST_FRACTION = float.fromhex("0x1.6a09ep-1")


def rule_log(x: float) -> float:
    """The natural logarithm of a normal number > 0."""
    fraction, exponent = math.frexp(x)
    if fraction < _LEAST_FRACTION:
        fraction, exponent = 2 * fraction, exponent - 1
    f = fraction - 1
    s = f / (2 + f)
    z = s * s
    w = z * z
    one, two, three, four, five, six, seven = _COEFFICIENTS
    even = w * (two + w * (four + w * six))
    odd = z * (one + w * (three + w * (five + w * seven)))
    half = 0.5 * (f * f)
    return exponent * _LN2_HIGH - ((half - (s * (half + (odd + even)) + exponent * _LN2_LOW)) - f)


def rule_log1p(y: float) -> float:
    """The natural logarithm of 1 + y, y >= 0: what rounding takes from the sum is made up for."""
    u = 1 + y
    lost = (1 - (u - y)) + (y - (u - (u - y)))
    return rule_log(u) + lost / u


def rule_entropy(x: float) -> float:
    """``x * log(x)``, 0 at 0, infinite below."""
    if x < 0:
        return math.inf
    return x * rule_log(x) if x else 0.0
