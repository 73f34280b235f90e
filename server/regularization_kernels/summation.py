"""Sums whose bits are defined by the contract, whatever the chunking, the threads or the processor.

The rule (``ExactSum`` in ``summary.proto``): a segment is cut into blocks of 2^18 elements from its
start; inside a block lane j of 256 adds the terms j, j + 256, j + 512, … one after the other in
float64; a lane's sum is multiplied by the penalty's scale; all products are added exactly.
"""

from __future__ import annotations

import math
import sys
from fractions import Fraction
from itertools import pairwise
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import numpy.typing as npt

from .arrays import Float64Array

if TYPE_CHECKING:
    from collections.abc import Iterable

LANES = 256
"""Running sums in a block."""
BLOCK = 1 << 18
"""Elements in a block."""

_FLUSH = 16 * LANES

_FEW = 1 << 11
"""Numbers that Python adds as fast as NumPy."""
_AT_ONCE = 1 << 12
_SPLIT_BITS = 40
"""So many numbers, each at most 2^40 units, have a sum of at most 2^52 units: float64 adds them exactly."""
_SPLITTABLE = 2.0**900
"""Numbers to which float64 can add a multiple with which they are rounded."""


class ExactSum(NamedTuple):
    """A sum, rounded once, and exactly.

    Attributes:
        value: The exact sum rounded to nearest-even; NaN or an infinity where a term is, or where
            the sum is beyond the largest float64.
        expansion: The doubles whose exact sum it is: the first is ``value``, each next the
            remainder rounded to nearest-even, until nothing remains. Empty for 0.
    """

    value: float
    expansion: tuple[float, ...]

    @classmethod
    def of(cls, numbers: Iterable[float | Fraction]) -> ExactSum:
        """The exact sum of the numbers, in its canonical form (Shewchuk 1997).

        Concatenating the expansions of partial sums and adding them here gives the bits of the
        sum of everything, as long as no partial sum is beyond the largest float64.

        Args:
            numbers: Any, in any order; rationals among them are beyond the largest float64.
        """
        rest = list(numbers)
        expansion: list[float] = []
        try:
            while (rounded := math.fsum(rest)) != 0.0:
                if not math.isfinite(rounded):
                    return cls(rounded, (rounded,))
                expansion.append(rounded)
                rest.append(-rounded)
        except OverflowError:
            return _beyond_float64(rest[: len(rest) - len(expansion)])
        except ValueError:  # infinities of both signs
            return cls(math.nan, (math.nan,))
        return cls(expansion[0] if expansion else 0.0, tuple(expansion))


def _beyond_float64(numbers: list[float | Fraction]) -> ExactSum:
    # fsum overflows where only an intermediate sum does, too, and before it has come to an infinity:
    # rationals settle it, slowly and rarely.
    special = _special(numbers)
    if special is not None:
        return ExactSum(special, (special,))
    expansion: list[float] = []
    rest = _rational(numbers)
    while rest:
        try:
            rounded = float(rest)
        except OverflowError:
            total = math.inf if rest > 0 else -math.inf
            return ExactSum(total, (total,))
        expansion.append(rounded)
        rest -= Fraction(rounded)
    return ExactSum(expansion[0] if expansion else 0.0, tuple(expansion))


def _special(numbers: list[float | Fraction]) -> float | None:
    """The sum where a term is an infinity or NaN; None where none is."""
    special = [number for number in numbers if isinstance(number, float) and not math.isfinite(number)]
    return sum(special) if special else None


def _shortened(numbers: list[float | Fraction]) -> list[float | Fraction]:
    """A few numbers with the same exact sum; where that is beyond float64 for now, one rational."""
    total = ExactSum.of(numbers)
    if math.isfinite(total.value) or _special(numbers) is not None:
        return list(total.expansion)
    return [_rational(numbers)]


def _rational(numbers: list[float | Fraction]) -> Fraction:
    """The exact sum of finite numbers."""
    return sum((Fraction(number) for number in numbers), Fraction())


def exact_expansion(numbers: Float64Array) -> tuple[float, ...]:
    """The doubles whose exact sum is that of finite numbers, as ``ExactSum`` has them."""
    if numbers.size <= _FEW or not float(np.max(np.abs(numbers))) < _SPLITTABLE:
        return ExactSum.of(numbers.tolist()).expansion
    partials: list[float] = []
    rest = numbers
    while top := float(np.max(np.abs(rest))):
        # Of each number, the nearest multiple of one unit is split off (Demmel and Nguyen 2015).
        rounding = math.ldexp(1.5, 52 - _SPLIT_BITS + math.frexp(top)[1])
        parts = rest + rounding
        parts -= rounding
        rest = rest - parts
        partials += np.add.reduceat(parts, np.arange(0, parts.size, _AT_ONCE)).tolist()
    return ExactSum.of(partials).expansion


def add_to_lanes(lanes: Float64Array, terms: Float64Array, lane: int, *, empty: bool = False) -> Float64Array:
    """The sums of the lanes of a block with some terms more, added one after the other.

    Args:
        lanes: The sums so far, ``(256,)``; they are not kept.
        terms: Terms of consecutive elements of the block.
        lane: Lane of the first.
        empty: Whether nothing was added to the lanes yet.
    """
    head = min(terms.size, -lane % LANES)
    rows = (terms.size - head) // LANES
    if head:
        lanes[lane : lane + head] += terms[:head]
    if rows:
        whole = terms[head : head + rows * LANES].reshape(rows, LANES)
        if head or not empty:
            whole = np.concatenate((lanes[np.newaxis], whole))
        # Over the first axis NumPy adds row after row: one sequence of additions for each lane.
        lanes = np.add.reduce(whole, axis=0)
    tail = terms[head + rows * LANES :]
    lanes[: tail.size] += tail
    return lanes


class BlockSum:
    """The running sum of one segment's terms, added in the order of their positions."""

    __slots__ = ("_beside", "_block", "_lanes", "_partials", "_pending", "_scale", "_used")

    def __init__(self, scale: float = 1.0) -> None:
        self._scale = scale
        self._beside: BlockSum | None = None
        self._lanes: Float64Array = np.zeros(LANES)
        self._block = 0
        self._used = False
        self._pending: list[Float64Array] = []
        self._partials: list[float | Fraction] = []

    def add(self, terms: Float64Array, position: int) -> None:
        """Add the terms of consecutive elements, the first of which stands at ``position``."""
        begin = 0
        while begin < terms.size:
            block = (position + begin) // BLOCK
            end = min(terms.size, (block + 1) * BLOCK - position)
            self._enter(block)
            lane = (position + begin) % LANES
            self._lanes = add_to_lanes(self._lanes, terms[begin:end], lane, empty=not self._used)
            self._used = True
            begin = end

    def add_at(self, positions: npt.NDArray[np.int64], terms: Float64Array) -> None:
        """Add terms that stand at increasing positions, with zeros between them."""
        blocks = positions // BLOCK
        edges = np.flatnonzero(np.diff(blocks, prepend=-1, append=-1))
        for begin, end in pairwise(edges):
            self._enter(int(blocks[begin]))
            lanes = np.concatenate((np.arange(LANES), positions[begin:end] % LANES))
            # bincount adds in order, so each lane goes on from where it stands.
            running = np.concatenate((self._lanes, terms[begin:end]))
            self._lanes = np.bincount(lanes, weights=running, minlength=LANES).astype(np.float64, copy=False)
            self._used = True

    def add_exactly(self, numbers: tuple[float, ...]) -> None:
        """Add numbers as they are: in no lane, and not multiplied by the scale."""
        self._partials += numbers

    def beside(self, scale: float) -> BlockSum:
        """The sum of terms that belong to the same figure and have another scale: the same at every call."""
        if self._beside is None:
            self._beside = BlockSum(scale)
        return self._beside

    def running(self, position: int, size: int) -> Float64Array:
        """The lanes of each block of these elements, as far as they have come: ``(blocks, 256)``.

        To be added to, each element's term to its block's and its own lane, and given to ``take_over``.
        """
        first, last = position // BLOCK, (position + size - 1) // BLOCK
        self._enter(first)
        lanes = np.zeros((last - first + 1, LANES))
        lanes[0] = self._lanes
        return lanes

    def take_over(self, position: int, lanes: Float64Array) -> None:
        """Take over the lanes that ``running`` gave, the terms of their elements added."""
        for block, row in enumerate(lanes, position // BLOCK):
            self._enter(block)
            self._lanes = row
            self._used = True

    def partials(self) -> list[float | Fraction]:
        """A few numbers whose exact sum is that of all terms so far; a rational is beyond float64."""
        self._close_block()
        self._flush()
        return self._partials if self._beside is None else self._partials + self._beside.partials()

    def _enter(self, block: int) -> None:
        if block != self._block:
            self._close_block()
            self._block = block

    def _close_block(self) -> None:
        if self._used:
            self._pending.append(self._lanes * self._scale)
            self._lanes = np.zeros(LANES)
            self._used = False
            if len(self._pending) * LANES >= _FLUSH:
                self._flush()

    def _flush(self) -> None:
        if self._pending:
            if len(self._pending) == 1:
                self._partials += self._pending[0].tolist()
            else:
                self._partials += _few_with_same_sum(np.concatenate(self._pending))
            self._pending.clear()
            if len(self._partials) > 2 * LANES:
                self._partials = _shortened(self._partials)


def _few_with_same_sum(numbers: Float64Array) -> list[float]:
    """A few doubles whose exact sum is that of the numbers, at most 2^16 of them.

    Error-free extraction (Rump, Ogita and Oishi 2008, ExtractVector): adding and subtracting a
    large power of two splits off the high bits of every number, on a common grid so coarse that
    their sum is exact; what is left over is split again.
    """
    few: list[float] = []
    headroom = numbers.size.bit_length() + 1
    while True:
        top = float(np.max(np.abs(numbers), initial=0.0))
        if top == 0.0:
            return few
        exponent = math.frexp(top)[1] + headroom
        if not math.isfinite(top) or exponent >= sys.float_info.max_exp:
            return few + [float(number) for number in numbers]
        sigma = math.ldexp(1.0, exponent)
        high = (sigma + numbers) - sigma
        few.append(float(np.add.reduce(high)))
        numbers = numbers - high
