"""Elements of long streams, made of their seed by SplitMix64, in integers."""

from __future__ import annotations

WORD = 2**64
INCREMENT = 0x9E3779B97F4A7C15


def mix(word: int) -> int:
    """SplitMix64's mixing of 64 bits."""
    word = ((word ^ (word >> 30)) * 0xBF58476D1CE4E5B9) % WORD
    word = ((word ^ (word >> 27)) * 0x94D049BB133111EB) % WORD
    return word ^ (word >> 31)


def random_bits(seed: int, index: int) -> int:
    """64 random bits of an index."""
    return mix((mix((seed + INCREMENT) % WORD) + (index + 1) * INCREMENT) % WORD)


def elements(seed: int, count: int) -> list[float]:
    """The elements of a stream: the upper 24 of the random bits, as a number from -1 to 1 - 2^-23.

    They are numbers of float32 and of float64.
    """
    start = mix((seed + INCREMENT) % WORD)
    return [((mix((start + i * INCREMENT) % WORD) >> 40) - 2**23) / 2**23 for i in range(1, count + 1)]
