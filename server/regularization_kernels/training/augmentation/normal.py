"""Normal numbers that are made of integers, so that they have the same bits on every machine.

The message ``Noise`` of training/v1/augmentation.proto says how, and how good they are.
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from ...arrays import Float64Array
    from .randomness import Words

_OCTAVES = 53
_STEPS = 64
_UNIT = 1 << 24

_TAIL_BITS = np.uint64((1 << 52) - 1)
_BELOW_TAIL = np.uint64(11)
_SIGN = np.uint64(1 << 63)


def normal_numbers(words: Words) -> Float64Array:
    """A normal number for each random word, in an array of their shape."""
    tail = ((words >> _BELOW_TAIL & _TAIL_BITS) * np.uint64(2) + np.uint64(1)).astype(np.int64)
    # Whole numbers below 2^53 are doubles, whose exponent is their length in bits.
    octave = np.frexp(tail.astype(np.float64))[1].astype(np.int64)
    fraction = (tail << _OCTAVES - octave) - (1 << 52)
    index = (octave - 1) * _STEPS + (fraction >> 46)
    rest = (fraction & (1 << 46) - 1) >> 16
    table = _table()
    below = table[index]
    size = below + ((table[index + 1] - below) * rest >> 30)
    numbers: Float64Array = np.where(words & _SIGN, -size, size) / _UNIT
    return numbers


@cache
def _table() -> npt.NDArray[np.int64]:
    """The quantiles of |z|, in units of 2^-24, octave by octave of the tail's probability, and 0 at last."""
    from scipy.special import ndtri  # few servers need it, and all would start later

    octave, step = np.divmod(np.arange(_OCTAVES * _STEPS), _STEPS)
    tails = np.ldexp(_STEPS + step.astype(np.float64), octave + 1 - 60)
    sizes = np.rint(-ndtri(tails / 2) * _UNIT).astype(np.int64)
    return np.append(sizes, 0)
