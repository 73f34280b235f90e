"""The random numbers of a transformation: functions of seed, epoch, its place, the sample and a count alone.

The schema, training/v1/augmentation.proto, has them in full. The generator is that of stochastic rounding.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from ...formats import INCREMENT, mixed, random_bits

if TYPE_CHECKING:
    from ...arrays import Float64Array

Words = npt.NDArray[np.uint64]

FIRST_BLOCK = 1 << 63
"""A block's key is that of a sample with this index, plus the block's."""

_INCREMENT = np.uint64(INCREMENT)
_HALF = np.uint64(32)
_BELOW_MANTISSA = np.uint64(11)


def word(seed: int, index: int) -> int:
    """The random word of an index for a seed, both from 0 to 2^64 - 1."""
    return int(random_bits(seed, index, 1)[0])


def key_of(seed: int, epoch: int, place: int) -> int:
    """The key of the transformation at this place of a list."""
    return word(word(seed, epoch), place)


@dataclass(frozen=True, slots=True)
class Draws:
    """The random words of some samples that follow each other.

    Args:
        starts: What the words of each sample are counted from, ``(samples,)``.
    """

    starts: Words

    @classmethod
    def of(cls, key: int, first_sample: int, samples: int) -> Draws:
        """Those of a transformation with this key."""
        return cls(mixed(random_bits(key, first_sample, samples) + _INCREMENT))

    def words(self, number: int) -> Words:
        """The word of this number of each sample."""
        words: Words = mixed(self.starts + np.uint64((number + 1) * INCREMENT % (1 << 64)))
        return words

    def all_words(self, sample: int, number: int, shape: tuple[int, ...]) -> Words:
        """The words of some samples from a place on, from a number on: ``(samples, numbers)``."""
        samples, numbers = shape
        steps = np.arange(number + 1, number + 1 + numbers, dtype=np.uint64) * _INCREMENT
        words: Words = mixed(self.starts[sample : sample + samples, np.newaxis] + steps)
        return words

    def shares(self, number: int) -> Float64Array:
        """A share of each sample, 0 <= u < 1."""
        return (self.words(number) >> _BELOW_MANTISSA).astype(np.float64) * 2.0**-53

    def below(self, number: int, ends: int) -> npt.NDArray[np.int64]:
        """A whole number of each sample, from 0 to ends - 1; 1 <= ends <= 2^32."""
        return ((self.words(number) >> _HALF) * np.uint64(ends) >> _HALF).astype(np.int64)


def partners(key: int, block: int, count: int) -> npt.NDArray[np.int64]:
    """A permutation of so many places: whom the samples of a block are mixed with.

    Args:
        key: The transformation's.
        block: Index of the block.
        count: Samples of the block.
    """
    places = list(range(count))
    words = random_bits(word(key, FIRST_BLOCK + block), 0, count).tolist()
    for place in range(count - 1, 0, -1):
        other = (words[place] >> 32) * (place + 1) >> 32
        places[place], places[other] = places[other], places[place]
    return np.array(places, np.int64)
