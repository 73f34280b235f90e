"""The contract's logarithm and cube root in slow plain Python, by their published descriptions alone."""

from __future__ import annotations

import math
import struct

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


def rule_cube_root(x: float) -> float:
    """The cube root of a finite number >= 0, as FreeBSD's ``s_cbrt.c`` has it: by high and low words."""
    if x == 0:
        return 0.0
    high = struct.unpack("<Q", struct.pack("<d", x))[0] >> 32
    if high < 0x00100000:
        lifted = struct.unpack("<Q", struct.pack("<d", x * 2.0**54))[0] >> 32
        high = lifted // 3 + 696219795
    else:
        high = high // 3 + 715094163
    t = struct.unpack("<d", struct.pack("<Q", high << 32))[0]
    r = (t * t) * (t / x)
    t *= (1.87595182427177009643 + r * (-1.88497979543377169875 + r * 1.621429720105354466140)) + (
        (r * r) * r
    ) * (-0.758397934778766047437 + r * 0.145996192886612446982)
    bits = struct.unpack("<Q", struct.pack("<d", t))[0]
    t = struct.unpack("<d", struct.pack("<Q", (bits + 0x80000000) & 0xFFFFFFFFC0000000))[0]
    r = x / (t * t)
    return t + t * ((r - t) / ((t + t) + r))
