"""Which elements dropout keeps: a function of seed, step and index alone, with the same bits in any language.

The generator is that of stochastic rounding (docs/numerics.md), and all is done in whole numbers modulo 2^64.
The message ``Dropout`` in regularizers.proto says it once more, for other languages.
"""

from __future__ import annotations

import math
from operator import index

import numpy as np
import numpy.typing as npt

from ._errors import ArgumentError

_WORD = 1 << 64
_INCREMENT = 0x9E3779B97F4A7C15
_ROUNDS = ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB))
_LAST_SHIFT = 31
_STRETCH = 1 << 16
"""Elements at once: their words stay in the cache."""
_MOST = 1 << 63
"""Elements that a vector may have, and more."""


def dropout_mask(size: int, rate: float, seed: int, step: int, offset: int = 0) -> npt.NDArray[np.bool_]:
    """Return which elements of a tensor dropout keeps: True where one stays, False where it becomes 0.

    An element's answer depends on seed, step and its index alone: whoever has a stretch of the tensor, a
    shard or a rank, has that stretch of the mask. With ``mix`` and ``random(seed, i)`` as docs/numerics.md
    has them for stochastic rounding, element i is dropped where ``random(random(seed, step), i) <
    ceil(rate * 2^64)``.

    Args:
        size: How many elements, >= 0.
        rate: The share that is dropped, 0 <= rate < 1.
        seed: 0 <= seed < 2^64. Tensors with the same seed have the same mask, so give each its own.
        step: Of training, 0 <= step < 2^64: each has another mask.
        offset: Index in the tensor, its elements in the order of the last axis first, of the mask's first
            element, >= 0; offset + size is at most 2^63.

    Returns:
        Booleans, ``(size,)``.

    Raises:
        ArgumentError: If an argument is out of range.

    Example:
        >>> from regularization_client import dropout_mask
        >>> dropout_mask(6, rate=0.5, seed=7, step=0)
        array([False, False,  True, False, False, False])
    """
    size, first = _within(size, "size", _MOST), _within(offset, "offset", _MOST)
    if first + size > _MOST:
        raise ArgumentError(f"offset + size must be at most 2^63, got {first + size}")
    threshold = dropout_threshold(rate)
    state = dropout_state(seed, step)
    kept = np.empty(size, np.bool_)
    for begin in range(0, size, _STRETCH):
        stretch = kept[begin : begin + _STRETCH]
        words = _words(state + (first + begin) * _INCREMENT, stretch.size)
        np.greater_equal(words, np.uint64(threshold), out=stretch)
    return kept


def dropout_threshold(rate: float) -> int:
    """Return what an element's 64 random bits must not be below, for it to stay: ``ceil(rate * 2^64)``.

    Raises:
        ArgumentError: If the rate is not at least 0 and less than 1.
    """
    if not 0.0 <= rate < 1.0:
        raise ArgumentError(f"rate must be >= 0 and < 1, got {rate!r}")
    return math.ceil(math.ldexp(rate, 64))


def dropout_state(seed: int, step: int) -> int:
    """Return the state of the first element of a step's mask; that of element i is i increments further.

    A state is what an element's random bits are mixed from, and the increment 0x9E3779B97F4A7C15; both are
    modulo 2^64.

    Raises:
        ArgumentError: If seed or step does not fit 64 bits.
    """
    of_step = _mixed(_first_state(_within(seed, "seed")) + _within(step, "step") * _INCREMENT)
    return _first_state(of_step)


def _first_state(seed: int) -> int:
    return (_mixed(seed + _INCREMENT) + _INCREMENT) % _WORD


def _mixed(state: int) -> int:
    state %= _WORD
    for shift, multiplier in _ROUNDS:
        state = (state ^ state >> shift) * multiplier % _WORD
    return state ^ state >> _LAST_SHIFT


def _words(state: int, count: int) -> npt.NDArray[np.uint64]:
    """The random bits of so many elements, the first of which has this state."""
    words = np.arange(count, dtype=np.uint64) * np.uint64(_INCREMENT)
    words += np.uint64(state % _WORD)
    for shift, multiplier in _ROUNDS:
        words ^= words >> np.uint64(shift)
        words *= np.uint64(multiplier)
    words ^= words >> np.uint64(_LAST_SHIFT)
    return words


def _within(number: int, name: str, end: int = _WORD) -> int:
    value = index(number)
    if not 0 <= value < end:
        raise ArgumentError(f"{name} must be >= 0 and < 2^{end.bit_length() - 1}, got {value}")
    return value
