"""Which elements dropout keeps, inside ``jit``: the bits that ``regularization_client.dropout_mask`` gives.

JAX has no integers of 64 bits unless it is told to, so a word is two of 32 here.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from operator import index
from typing import NamedTuple, SupportsIndex, TypeAlias

import jax
import jax.numpy as jnp

from .._dropout import dropout_threshold
from .._errors import ArgumentError

Number: TypeAlias = SupportsIndex | jax.Array
"""A whole number that is known, or one that is computed: of a type of integers, and not negative."""

_INCREMENT = 0x9E3779B97F4A7C15
_ROUNDS = ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB))
_LAST_SHIFT = 31
_HALF, _LOW_HALF = 16, (1 << 16) - 1
_BITS, _LOW = 32, (1 << 32) - 1
_WORD, _LONG = 1 << 64, 8


class _Word(NamedTuple):
    """64 bits: arrays, or numbers, of uint32."""

    high: jax.Array
    low: jax.Array


def dropout_mask(
    shape: int | Sequence[int], rate: float, seed: Number, step: Number, offset: Number = 0
) -> jax.Array:
    """Return which elements of an array dropout keeps: True where one stays, False where it becomes 0.

    An element's answer depends on seed, step and its index alone, with the same bits in NumPy
    (``regularization_client.dropout_mask``), PyTorch and any other language. So whoever has some rows of the
    array has those rows of the mask.

    Args:
        shape: Of the mask, or its length; below 2^32 elements.
        rate: The share that is dropped, 0 <= rate < 1.
        seed: >= 0. Arrays with the same seed have the same mask, so give each its own. It may be traced.
        step: Of training, >= 0: each has another mask. It may be traced.
        offset: Index in the whole array of the mask's first element, >= 0. It may be traced.

    Returns:
        Booleans of that shape.

    Raises:
        ArgumentError: If an argument that is known is out of range.

    Example:
        >>> from regularization_client.jax import dropout_mask
        >>> dropout_mask(6, rate=0.5, seed=7, step=0).tolist()
        [False, False, True, False, False, False]
    """
    lengths = (shape,) if isinstance(shape, int) else tuple(map(index, shape))
    size = math.prod(lengths)
    if any(length < 0 for length in lengths) or size > _LOW:
        raise ArgumentError(f"shape must have lengths >= 0, and fewer than 2^32 elements, got {lengths}")
    threshold = _known(dropout_threshold(rate))
    kept = _kept(size, threshold, _word(seed, "seed"), _word(step, "step"), _word(offset, "offset"))
    return kept.reshape(lengths)


def _computed(size: int, threshold: _Word, seed: _Word, step: _Word, offset: _Word) -> jax.Array:
    places = _sum(offset, _Word(jnp.uint32(0), jax.lax.iota(jnp.uint32, size)))
    word = _drawn(_drawn(seed, step), places)
    above = word.high > threshold.high
    return above | ((word.high == threshold.high) & (word.low >= threshold.low))


_kept = jax.jit(_computed, static_argnums=0)


def _known(number: int) -> _Word:
    return _Word(jnp.uint32(number >> _BITS), jnp.uint32(number & _LOW))


def _word(number: Number, name: str) -> _Word:
    """The word of a number that is known, or of one that is computed.

    Raises:
        ArgumentError: If it is not in range, or no whole number.
    """
    if not isinstance(number, jax.Array):
        value = index(number)
        if not 0 <= value < _WORD:
            raise ArgumentError(f"{name} must be >= 0 and < 2^64, got {value}")
        return _known(value)
    if not jnp.issubdtype(number.dtype, jnp.integer) or number.ndim:
        raise ArgumentError(f"{name} must be one whole number, got {number.dtype} of shape {number.shape}")
    high = number >> _BITS if number.dtype.itemsize == _LONG else jnp.uint32(0)
    return _Word(high.astype(jnp.uint32), number.astype(jnp.uint32))


def _drawn(seed: _Word, place: _Word) -> _Word:
    """The generator's word of a seed at a place: ``random`` of docs/numerics.md."""
    start = _mixed(_sum(seed, _known(_INCREMENT)))
    return _mixed(_sum(start, _times(_sum(place, _known(1)), _INCREMENT)))


def _sum(one: _Word, other: _Word) -> _Word:
    low = one.low + other.low
    return _Word(one.high + other.high + (low < one.low).astype(jnp.uint32), low)


def _times(word: _Word, factor: int) -> _Word:
    high, low = jnp.uint32(factor >> _BITS), jnp.uint32(factor & _LOW)
    return _Word(_high_product(word.low, low) + word.low * high + word.high * low, word.low * low)


def _high_product(one: jax.Array, other: jax.Array) -> jax.Array:
    """The upper 32 of the 64 bits of a product."""
    (a, b), (c, d) = ((number >> _HALF, number & _LOW_HALF) for number in (one, other))
    middle = a * d + (b * d >> _HALF)
    rest = b * c + (middle & _LOW_HALF)
    return a * c + (middle >> _HALF) + (rest >> _HALF)


def _mixed(word: _Word) -> _Word:
    for shift, multiplier in _ROUNDS:
        word = _times(_folded(word, shift), multiplier)
    return _folded(word, _LAST_SHIFT)


def _folded(word: _Word, shift: int) -> _Word:
    """A word, exclusive or the same shifted to the right by less than 32."""
    low = (word.low >> shift) | (word.high << (_BITS - shift))
    return _Word(word.high ^ (word.high >> shift), word.low ^ low)
