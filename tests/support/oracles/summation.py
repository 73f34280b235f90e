"""The contract's rules of summation, in slow plain Python: what the bits of every figure must be."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np
from numpy.typing import NDArray
from regularization_kernels import Groups

from tests.support.oracles.groupings import group_weights, interleave, partition

BLOCK = 2**18
LANES = 256

Expansion = tuple[float, ...]


def nearest(exact: Fraction) -> float:
    """The float64 nearest to a rational, ties to even; infinite beyond the largest."""
    try:
        return float(exact)
    except OverflowError:
        return math.inf if exact > 0 else -math.inf


def exactly(numbers: Iterable[float]) -> tuple[float, Expansion]:
    """Value and expansion of a sum, by rational arithmetic."""
    numbers = list(numbers)
    special = [number for number in numbers if not math.isfinite(number)]
    if special:
        value = math.nan if len(set(special)) > 1 or any(map(math.isnan, special)) else special[0]
        return value, (value,)
    rest = sum(map(Fraction, numbers), Fraction(0))
    expansion: list[float] = []
    while rest:
        expansion.append(nearest(rest))
        if math.isinf(expansion[-1]):
            break
        rest -= Fraction(expansion[-1])
    return (expansion[0] if expansion else 0.0), tuple(expansion)


def lane_products(terms: Iterable[tuple[int, float]], scale: float) -> list[float]:
    """Each lane's sum times the scale, over all blocks; terms come with their positions in the segment."""
    lanes: dict[tuple[int, int], float] = {}
    for position, term in terms:
        lane = (position // BLOCK, position % LANES)
        lanes[lane] = lanes.get(lane, 0.0) + term
    return [lane * scale for lane in lanes.values()]


def pairwise(terms: Sequence[float]) -> float:
    """The sum inside a group: pairwise, with eight accumulators."""
    count = len(terms)
    if count > 128:
        half = count // 2 - count // 2 % 8
        return pairwise(terms[:half]) + pairwise(terms[half:])
    if count < 8:
        total = -0.0
        for term in terms:
            total += term
        return total
    a = list(terms[:8])
    whole = count - count % 8
    for at in range(8, whole):
        a[at % 8] += terms[at]
    total = ((a[0] + a[1]) + (a[2] + a[3])) + ((a[4] + a[5]) + (a[6] + a[7]))
    for term in terms[whole:]:
        total += term
    return total


def pairwise_norm(group: Sequence[float]) -> float:
    """The norm of a group that is a run: the root of the pairwise sum of its squares."""
    return math.sqrt(pairwise([number * number for number in group]))


def norm_on_grid(group: Sequence[float]) -> float:
    """The norm of a slice along an axis after the first, by rational arithmetic.

    Its squares are float64's, of any exponent. They are rounded to multiples of a unit, which the largest of
    them tells; what these add up to is rounded to 53 bits, and so is its root.
    """
    squares = []
    for number in group:
        if not math.isfinite(number):
            return math.nan if any(map(math.isnan, group)) else math.inf
        mantissa, exponent = math.frexp(number)
        squares.append(Fraction(mantissa * mantissa) * Fraction(4) ** exponent)
    largest, level = max(squares, default=Fraction(0)), -100
    if not largest:
        return 0.0
    while largest >= Fraction(2) ** (32 * level + 31):
        level += 1
    unit = Fraction(2) ** (32 * (level - 3))
    total = sum(round(square / unit) for square in squares) * unit
    power = 16 * level
    root = Fraction(math.sqrt(float(total / Fraction(4) ** power)))
    return nearest(root * Fraction(2) ** power)


def norm_rule(groups: Groups, shape: tuple[int, ...]) -> Callable[[Sequence[float]], float]:
    """How norms of these groups are computed: slices that interleave on a grid, runs pairwise."""
    return norm_on_grid if interleave(groups, shape) else pairwise_norm


APART = BLOCK << 30
"""Added to positions of terms that have lanes of their own: no segment is so long."""

Terms = list[tuple[int, float]]


Summands = Callable[[Any, NDArray[np.float64], NDArray[np.float64] | None], Terms]


@dataclass(frozen=True)
class Rule:
    """How the contract sums one regularizer's penalty: terms at their positions, and the scale."""

    terms: Summands
    scale: Callable[[Any], float] = lambda _: 1.0
    rounded: Callable[[Any, type[np.floating[Any]]], Any] = lambda r, _: r
    """The regularizer with those parameters rounded that the contract rounds to the data type."""

    def products(
        self,
        regularizer: Any,
        x: NDArray[np.float64],
        weights: NDArray[np.float64] | None,
        dtype: type[np.floating[Any]],
    ) -> list[float]:
        """The products whose exact sum the penalty is; x in the segment's shape."""
        meant = self.rounded(regularizer, dtype)
        return lane_products(self.terms(meant, x, weights), self.scale(regularizer))


def summands(term: Callable[[Any, float], float]) -> Summands:
    """Terms of a sum over elements, each times its weight, but infinite outside the domain at any weight."""

    def terms(r: Any, x: NDArray[np.float64], weights: NDArray[np.float64] | None) -> Terms:
        plain = [term(r, e) for e in x.ravel().tolist()]
        if weights is None:
            return list(enumerate(plain))
        weighted = zip(plain, weights.ravel().tolist(), strict=True)
        return [(at, t if t == math.inf else t * w) for at, (t, w) in enumerate(weighted)]

    return terms


def group_summands(r: Any, x: NDArray[np.float64], weights: NDArray[np.float64] | None) -> Terms:
    """Weighted norms of groups, each at the place of the group's first element."""
    assert weights is None
    parts = partition(r.groups, x.shape)
    norm, flat = norm_rule(r.groups, x.shape), x.ravel()
    norms = [norm(flat[part].tolist()) for part in parts]
    multiplied = zip(parts, norms, group_weights(r.groups, parts), strict=True)
    return [(int(part[0]), norm * weight) for part, norm, weight in multiplied]


def distance_products(new: NDArray[Any], old: NDArray[Any]) -> list[float]:
    """The products of a segment's squared distance."""
    moved = (new.astype(np.float64) - old.astype(np.float64)).ravel().tolist()
    return lane_products(enumerate(d * d for d in moved), 1.0)
