"""How the numbers of a vector are spread, told by counts that merge exactly: no sort, no copy.

A float64 that is not NaN has a **key**, an integer in the order of the numbers (or of their magnitudes). A
census counts how many keys lie in each of 2^15 equal bins, and what they add up to. All of it is integers, so
the censuses of the parts of a vector, added, are that of the whole, in any order and to the bit. Whoever
looks for a threshold (``survey``) finds the bin that it is in, and has that bin taken apart by the next
census: two of them tell float32 numbers apart, four any.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum
from fractions import Fraction
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from ..arrays import FLOAT64, Float64Array
from ..compilation import ANY, kept, requested
from ..machine_code import MachineCode, compiled
from .statistics import Question, Statistic

BINS = 1 << 15
"""Bins of a census."""

WIDEST = 47
"""Bits of a key that a bin may leave open: all numbers in a bin have the same exponent."""

MANTISSA = 52
"""Bits of a key below the exponent's."""

SIGN = 1 << 63
"""The key of 0, where numbers below 0 have keys, too."""

_TILE = 1 << 12
"""Numbers that are looked at together, so that their keys stay in the cache."""
_OFFSET_BITS = 24
_HALF_BITS = 27
"""Offsets within a bin, and integers of 53 bits, are added in two parts: no sum of 2^35 overflows."""
_ADDED_IN_64_BITS = 1 << 35

Keys = npt.NDArray[np.uint64]
Counts = npt.NDArray[np.int64]


class Order(Enum):
    """What has keys."""

    MAGNITUDES = "magnitudes"
    """The magnitudes of numbers: from 0 on."""
    NUMBERS = "numbers"
    """The numbers themselves; both zeros have the key of +0."""
    POSITIONS = "positions"
    """The positions of those numbers that have a given magnitude."""


@dataclass(frozen=True, slots=True)
class Interval:
    """The keys that a census tells apart: ``BINS`` bins, each of 2^``open_bits`` keys, from ``low`` on.

    Args:
        low: The first key; a multiple of 2^``open_bits``.
        open_bits: From 0 to ``WIDEST``.
    """

    low: int
    open_bits: int

    @property
    def high(self) -> int:
        """The first key after it."""
        return self.edge(BINS)

    def edge(self, place: int) -> int:
        """The first key of a bin."""
        return self.low + (place << self.open_bits)

    def within(self, place: int) -> Interval:
        """A bin taken apart."""
        return Interval(self.edge(place), max(self.open_bits - BINS.bit_length() + 1, 0))


@dataclass(frozen=True, slots=True)
class CensusQuestion(Question["Census"]):
    """How are the keys spread?

    Args:
        order: What has keys.
        interval: Which keys are told apart.
        magnitude: Of the numbers whose positions are asked for.
    """

    order: Order
    interval: Interval
    magnitude: float = 0.0

    def of_nothing(self) -> Census:
        """Nowhere."""
        return Census(self)

    def keys(self, x: Float64Array, position: int) -> Keys:
        """The keys of finite numbers, the first of which stands at ``position``."""
        if self.order is Order.POSITIONS:
            return np.flatnonzero(np.abs(x) == self.magnitude).view(np.uint64) + np.uint64(position)
        return keys_of(x, self.order)


@dataclass(frozen=True, slots=True)
class Facts:
    """How many numbers are of which kind."""

    nonzeros: int
    """Not 0."""
    first_negative: tuple[int, float] | None
    """Where the first that is below 0 stands, and the number."""
    infinite: int
    """Infinite."""
    nan: int
    """NaN."""
    above: int
    """Above the census's interval."""


class Spread(Protocol):
    """What a search takes from a census."""

    question: CensusQuestion

    def facts(self) -> Facts:
        """How many numbers are of which kind."""

    def count(self, begin: int, end: int = BINS) -> int:
        """How many keys the bins from ``begin`` to before ``end`` have."""

    def mass(self, begin: int, end: int = BINS) -> Fraction:
        """The exact sum of the numbers (or magnitudes) in the bins from ``begin`` to before ``end``."""

    def holds_one_number(self, place: int) -> bool:
        """Whether all keys in a bin are its first."""

    def bin_of(self, rank: int) -> tuple[int, int]:
        """The bin of the ``rank``-th key, from 1 on, and how many keys the bins before it have."""


@dataclass(slots=True)
class Census(Statistic):
    """The answer to a question, of the numbers that were added."""

    question: CensusQuestion
    counts: Counts = field(default_factory=lambda: np.zeros(BINS, np.int64))
    """How many keys each bin has."""
    offsets: Counts = field(default_factory=lambda: np.zeros((2, BINS), np.int64))
    """What they exceed the first key of their bin by, added: the lower 24 bits, and those above."""
    above: int = 0
    """How many keys are above the interval."""
    nonzeros: int = 0
    """How many numbers are not 0."""
    first_negative: tuple[int, float] | None = None
    """Where the first number below 0 stands, and the number."""
    infinite: int = 0
    """How many are infinite: these have no part in the rest."""
    nan: int = 0
    """How many are NaN: likewise."""

    def add(self, x: Float64Array, position: int) -> None:
        """Count numbers, in an array of one axis, the first of which stands at ``position``."""
        if not self._add_compiled(x, position):
            self._add(x, position)

    def _add_compiled(self, x: Float64Array, position: int) -> bool:
        """Count them in one pass, if there is a loop for it."""
        question = self.question
        if question.order is Order.POSITIONS:
            return False
        loop = requested(question.order, FLOAT64, x.size, _compiled)
        if loop is None:
            return False
        interval, totals = question.interval, np.zeros(4, np.int64)
        last = min(interval.high, 2 * SIGN) - 1 - interval.low
        first = loop(x, self.counts, self.offsets, totals, interval.low, last, interval.open_bits)
        self.above, self.nonzeros = self.above + int(totals[0]), self.nonzeros + int(totals[1])
        self.infinite, self.nan = self.infinite + int(totals[2]), self.nan + int(totals[3])
        if first >= 0:
            self._note_negative((position + first, float(x[first])))
        return True

    def _add(self, x: Float64Array, position: int) -> None:
        self.nonzeros += int(np.count_nonzero(x))
        negative = x < 0
        if negative.any():
            first = int(np.argmax(negative))
            self._note_negative((position + first, float(x[first])))
        finite = np.isfinite(x)
        if not finite.all():
            nan = int(np.count_nonzero(np.isnan(x)))
            self.nan += nan
            self.infinite += x.size - int(np.count_nonzero(finite)) - nan
            # Positions stay what they are; an infinity is at no magnitude that is asked for.
            x = np.where(finite, x, np.nan) if self.question.order is Order.POSITIONS else x[finite]
        keys, interval = self.question.keys(x, position), self.question.interval
        low, high = np.uint64(interval.low), np.uint64(min(interval.high, 2 * SIGN) - 1)
        inside = keys >= low
        above = keys > high
        self.above += int(np.count_nonzero(above))
        inside &= ~above
        if not inside.all():
            keys = keys[inside]
        places = keys - low
        bins = (places >> np.uint64(interval.open_bits)).view(np.int64)
        self.counts += np.bincount(bins, minlength=BINS)
        if interval.open_bits:
            offsets = (places & np.uint64((1 << interval.open_bits) - 1)).view(np.int64)
            lower, upper = offsets & ((1 << _OFFSET_BITS) - 1), offsets >> _OFFSET_BITS
            for total, part in zip(self.offsets, (lower, upper), strict=True):
                # Sums of less than 2^29 numbers of 24 bits are exact in float64.
                total += np.bincount(bins, weights=part, minlength=BINS).astype(np.int64)

    def merge(self, other: Census) -> None:
        """Count what another census has counted, too; it is of the same question."""
        self.counts += other.counts
        self.offsets += other.offsets
        for name in ("above", "nonzeros", "infinite", "nan"):
            setattr(self, name, getattr(self, name) + getattr(other, name))
        if other.first_negative is not None:
            self._note_negative(other.first_negative)

    def _note_negative(self, found: tuple[int, float]) -> None:
        if self.first_negative is None or found[0] < self.first_negative[0]:
            self.first_negative = found

    def facts(self) -> Facts:
        """How many numbers are of which kind."""
        return Facts(self.nonzeros, self.first_negative, self.infinite, self.nan, self.above)

    def holds_one_number(self, place: int) -> bool:
        """Whether all keys in a bin are its first."""
        return not self.offsets[:, place].any()

    def count(self, begin: int, end: int = BINS) -> int:
        """How many keys the bins from ``begin`` to before ``end`` have."""
        return int(self.counts[begin:end].sum())

    def mass(self, begin: int, end: int = BINS) -> Fraction:
        """The exact sum of the numbers (or magnitudes) in the bins from ``begin`` to before ``end``."""
        bins = begin + np.flatnonzero(self.counts[begin:end])
        if not bins.size:
            return Fraction(0)
        firsts, exponents = self._first_numbers(bins)
        counts, (lower, upper) = self.counts[bins], self.offsets[:, bins]
        if int(counts.sum()) > _ADDED_IN_64_BITS:
            firsts, upper = firsts.astype(np.object_), upper.astype(np.object_)
        firsts_upper = firsts >> _HALF_BITS
        parts = (counts * (firsts - (firsts_upper << _HALF_BITS)) + lower, upper, counts * firsts_upper)
        edges = np.flatnonzero(np.diff(exponents, prepend=exponents[0] - 1))
        sums = zip(*(np.add.reduceat(part, edges).tolist() for part in parts), strict=True)
        total = Fraction(0)
        for exponent, (units, middle, high) in zip(exponents[edges].tolist(), sums, strict=True):
            whole = units + (middle << _OFFSET_BITS) + (high << _HALF_BITS)
            total += whole * Fraction(2) ** exponent
        return total

    def bin_of(self, rank: int) -> tuple[int, int]:
        """The bin of the ``rank``-th key, from 1 on, and how many keys the bins before it have."""
        reached = np.cumsum(self.counts)
        place = min(int(np.searchsorted(reached, min(max(rank, 1), SIGN - 1))), BINS - 1)
        return place, int(reached[place] - self.counts[place])

    def _first_numbers(self, bins: Counts) -> tuple[Counts, Counts]:
        """The first numbers of bins, each as an integer times two to the power of another."""
        interval = self.question.interval
        keys = np.uint64(interval.low) + (bins.astype(np.uint64) << np.uint64(interval.open_bits))
        negative = np.zeros(keys.size, np.bool_)
        if self.question.order is Order.NUMBERS:
            negative = keys < np.uint64(SIGN)
            keys = np.where(negative, ~keys, keys) & np.uint64(SIGN - 1)
        exponents = (keys >> np.uint64(MANTISSA)).astype(np.int64)
        integers = (keys & np.uint64((1 << MANTISSA) - 1)).astype(np.int64)
        integers |= np.where(exponents > 0, 1 << MANTISSA, 0)
        # A negative number comes nearer to 0 as its key grows: it is its bin's first plus the offset, too.
        return np.where(negative, -integers, integers), np.maximum(exponents, 1) - (1023 + MANTISSA)


@kept
def _compiled(order: Order) -> MachineCode:
    """The loop that counts numbers; gives the index of the first that is negative, or -1."""
    import numba

    of_numbers = order is Order.NUMBERS
    sign = np.uint64(SIGN)
    part, lower = np.uint64(_OFFSET_BITS), np.uint64((1 << _OFFSET_BITS) - 1)
    one = np.uint64(1)

    def place_of(number: float, low: Any) -> Any:
        """How far its key is above the interval's first; far above all where it is below."""
        if of_numbers:
            bits = np.float64(number + 0.0).view(np.int64)
            return (np.uint64(bits) ^ (np.uint64(bits >> 63) | sign)) - low  # without a branch by the sign
        return np.uint64(np.float64(abs(number)).view(np.int64)) - low

    def count_special(tile: ANY, totals: ANY) -> int:
        """Count zeros and what is not finite; how many are negative."""
        nonzero = special = negative = np.int32(0)  # narrow, so that several elements go at once
        for j in range(tile.size):
            nonzero = np.int32(nonzero + np.int32(tile[j] != 0.0))
            special = np.int32(special + np.int32(not abs(tile[j]) < np.inf))
            negative = np.int32(negative + np.int32(tile[j] < 0.0))
        totals[1] += nonzero
        for j in range(tile.size if special else 0):
            totals[2] += abs(tile[j]) == np.inf
            totals[3] += tile[j] != tile[j]
        return int(negative)

    def count_places(places: ANY, counts: ANY, offsets: ANY, open_bits: Any) -> None:
        open_ones = (one << open_bits) - one
        for j in range(places.size):
            bin_, offset = np.int64(places[j] >> open_bits), places[j] & open_ones
            counts[bin_] += 1
            offsets[0, bin_] += np.int64(offset & lower)
            offsets[1, bin_] += np.int64(offset >> part)

    jit: Any = numba.njit(error_model="numpy")
    place_in, specials_in, count = jit(place_of), jit(count_special), jit(count_places)

    def loop(x: ANY, counts: ANY, offsets: ANY, totals: ANY, low: Any, last: Any, open_bits: Any) -> int:
        first = -1
        places = np.empty(_TILE, np.uint64)
        for begin in range(0, x.size, _TILE):
            tile = x[begin : begin + _TILE]
            if specials_in(tile, totals) and first < 0:
                first = begin
                while not x[first] < 0.0:
                    first += 1
            inside = above = 0
            for j in range(tile.size):
                # Without a branch, which nobody could foretell: what is outside is written over.
                place, finite = place_in(tile[j], low), abs(tile[j]) < np.inf
                places[inside] = place
                inside += int(finite and place <= last)
                above += int(finite and place > last and place + low >= low)
            totals[0] += above
            count(places[:inside], counts, offsets, open_bits)
        return first

    floats, counts = (numba.types.Array(each, 1, "C") for each in (numba.float64, numba.int64))
    key = numba.uint64
    return compiled(
        loop, numba.int64(floats, counts, numba.types.Array(numba.int64, 2, "C"), counts, key, key, key)
    )


def keys_of(x: Float64Array, order: Order) -> Keys:
    """The keys of numbers, or of their magnitudes; none is NaN."""
    if order is Order.MAGNITUDES:
        return np.abs(x).view(np.uint64)
    bits = (x + 0.0).view(np.uint64)
    return np.where(bits >= np.uint64(SIGN), ~bits, bits | np.uint64(SIGN))


def number_of(key: int, order: Order) -> float:
    """The number, or the magnitude, that has this key."""
    bits = key
    if order is Order.NUMBERS:
        bits = key ^ SIGN if key >= SIGN else (2 * SIGN - 1) ^ key
    return float(np.array([bits], dtype=np.uint64).view(np.float64)[0])
