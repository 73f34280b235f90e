"""Sums over groups of elements."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from regularization_kernels import (
    BlockSparsity,
    ExclusiveLasso,
    GroupLasso,
    GroupLinf,
    GroupMcp,
    Groups,
    GroupScad,
    MaxNorm,
    MinMaxNorm,
    NOfM,
    SparseGroupLasso,
    TopKGroups,
    TransposableSparsity,
    TreeGroupLasso,
    UnitNorm,
)
from regularization_kernels.errors import FieldMissing, FieldOutOfRange, GroupsInvalid, LayoutInvalid

from tests.support.cases.parameters import bad_groups, bad_numbers
from tests.support.cases.row import Rejected, Row
from tests.support.oracles.groupings import group_weights, interleave, partition, weighted_groups
from tests.support.oracles.groups import (
    blocks,
    by_ceiling,
    by_choice,
    by_dual_of_nested,
    by_group_alone,
    by_linear_programs,
    by_nonnegative_squares,
    by_support_and_multiple,
    of_groups,
    on_shells,
    runs,
    tiles,
)
from tests.support.oracles.minimizers import Array, by_group
from tests.support.oracles.sorted import (
    best_of,
    block_sparsity_candidates,
    largest_count,
    top_k_groups_candidates,
)
from tests.support.oracles.summation import (
    APART,
    Rule,
    Terms,
    group_summands,
    norm_rule,
    pairwise,
    pairwise_norm,
)


def norm(group: Array) -> float:
    """Euclidean norm, without overflow."""
    return math.hypot(*group.tolist())


def peak(group: Array) -> float:
    """Largest magnitude."""
    return float(np.max(np.abs(group), initial=0.0))


def magnitude(group: Array) -> float:
    """Sum of magnitudes, rounded once."""
    return math.fsum(np.abs(group).tolist())


def off_norm(radius: float, x: Array, s: Array) -> float:
    """Distance of a slope from the subdifferential of ``radius * norm(x)``."""
    length = norm(x)
    return norm(s - radius * x / length) if length else norm(s) - radius


def off_peak(radius: float, x: Array, s: Array) -> float:
    """What a slope misses of the subdifferential of ``radius * max |x|``: signed shares of the largest."""
    top = peak(x)
    if top == 0.0:
        return magnitude(s) - radius
    outward, largest = s * np.sign(x), np.abs(x) == top
    elsewhere = float(np.max(np.abs(s[~largest]), initial=0.0))
    return max(elsewhere, -float(np.min(outward[largest])), abs(math.fsum(outward[largest]) - radius))


def off_l1_and_norm(r: SparseGroupLasso, weight: float, x: Array, s: Array) -> float:
    """Distance of a slope from the subdifferential of ``l1 * sum |x| + radius * norm(x)``."""
    radius, length = r.group_strength * weight, norm(x)
    if length == 0.0:
        return norm(np.maximum(np.abs(s) - r.l1_strength, 0.0)) - radius
    left = s - radius * x / length
    missed = np.where(x == 0, np.maximum(np.abs(left) - r.l1_strength, 0), left - r.l1_strength * np.sign(x))
    return norm(missed)


def off_squared_l1(radius: float, x: Array, s: Array) -> float:
    """Distance of a slope from the subdifferential of ``radius / 2 * (sum |x|)^2``."""
    bound = radius * magnitude(x)
    return peak(np.where(x == 0, np.maximum(np.abs(s) - bound, 0.0), s - bound * np.sign(x)))


def off_ball(bound: float, x: Array, s: Array) -> float:
    """Distance of a slope from the directions that point out of a ball."""
    length = norm(x)
    if bound == 0.0:
        return 0.0
    if length < bound * (1 - 1e-12):
        return norm(s)
    outward = max(0.0, float(np.dot(s, x)) / length)
    return norm(s - outward * (x / length))


def worst_group(miss: Any) -> Any:
    """The largest of what the groups' slopes miss; ``miss`` takes regularizer, weight, elements and slope."""

    def worst(r: Any, point: Array, slope: Array) -> float:
        x, s = point.ravel(), slope.ravel()
        return max((miss(r, w, x[part], s[part]) for w, part in weighted_groups(r, point.shape)), default=0.0)

    return worst


def group_terms(term: Any) -> Any:
    """A term for each group; ``term`` takes regularizer, weight and elements."""
    return lambda r, x: [term(r, w, x.ravel()[part]) for w, part in weighted_groups(r, x.shape)]


def level(r: GroupMcp, weight: float, group: Array) -> float:
    """The minimax concave penalty of a norm: a parabola's first half, then its height."""
    size, end = norm(group), r.concavity * r.strength
    return weight * (r.strength * size - size**2 / (2 * r.concavity) if size <= end else end * r.strength / 2)


def bent(r: GroupScad, weight: float, group: Array) -> float:
    """The smoothly clipped absolute deviation of a norm, in its three pieces."""
    size, s, a = norm(group), r.strength, r.concavity
    if size <= s:
        return weight * s * size
    if size <= a * s:
        return weight * (2 * a * s * size - size**2 - s**2) / (2 * (a - 1))
    return weight * s**2 * (a + 1) / 2


def off_concave(rate: Callable[[Any, float], float]) -> Any:
    """Distance of a slope from the subdifferential of a function of the norm with that rate of growth."""

    def off(r: Any, weight: float, x: Array, s: Array) -> float:
        return off_norm(weight * rate(r, norm(x)), x, s)

    return off


def rate_of_level(r: GroupMcp, size: float) -> float:
    """By how much the minimax concave penalty grows at a norm."""
    return max(r.strength - size / r.concavity, 0.0)


def rate_of_bent(r: GroupScad, size: float) -> float:
    """By how much the smoothly clipped absolute deviation grows."""
    return max(min((r.concavity * r.strength - size) / (r.concavity - 1), r.strength), 0.0)


def in_bounds(r: MaxNorm, weight: float, group: Array) -> float:
    """0 where a norm is at most its bound, give or take what rounding does; infinite otherwise."""
    bound = r.radius * weight
    return 0.0 if norm(group) <= bound * (1 + 1e-15) + group.size * 5e-324 else math.inf


def bounds_of(r: UnitNorm | MinMaxNorm) -> tuple[float, float]:
    """The least and the largest norm of a group with weight 1."""
    return (r.lower, r.upper) if isinstance(r, MinMaxNorm) else (1.0, 1.0)


def in_shell(r: UnitNorm | MinMaxNorm, weight: float, group: Array) -> float:
    """0 where a norm is between its bounds, give or take what rounding does; infinite otherwise."""
    (low, high), size, tiny = bounds_of(r), norm(group), group.size * 5e-324
    low, high = low * weight * (1 - 4e-16) - tiny, high * weight * (1 + 4e-16) + tiny
    return 0.0 if low <= size <= high else math.inf


def off_shell(r: UnitNorm | MinMaxNorm, weight: float, x: Array, s: Array) -> float:
    """Distance of a slope from the directions out of the larger ball, or into the smaller one."""
    length, (low, high) = norm(x), (bound * weight for bound in bounds_of(r))
    if length == 0.0:
        return norm(s) if high > 0.0 else 0.0
    along = float(np.dot(s, x)) / length
    if length < high * (1 - 1e-12):
        along = min(along, 0.0)
    if length > low * (1 + 1e-12):
        along = max(along, 0.0)
    return norm(s - along * (x / length))


def counted(r: TopKGroups | BlockSparsity, shape: tuple[int, ...]) -> list[Any]:
    """Positions of the elements of each group, or block."""
    return blocks(r, shape) if isinstance(r, BlockSparsity) else of_groups(r, shape)


def nonzero_groups(r: TopKGroups | BlockSparsity, x: Array) -> tuple[int, int]:
    """How many groups have an element that is not 0, and how many may."""
    parts = counted(r, x.shape)
    return sum(bool(np.any(x.ravel()[part])) for part in parts), largest_count(r, len(parts))


def few_groups(r: TopKGroups | BlockSparsity, x: Array) -> list[float]:
    """0 where few enough groups are not zero, infinite otherwise."""
    some, most = nonzero_groups(r, x)
    return [0.0 if some <= most else math.inf]


def off_few_groups(r: TopKGroups | BlockSparsity, point: Array, slope: Array) -> float:
    """What was taken off groups that stay, or of any where a place is left: nothing may be."""
    some, most = nonzero_groups(r, point)
    stays = np.full(point.size, some < most)
    for part in counted(r, point.shape):
        stays[part] |= np.any(point.ravel()[part])
    return peak(slope.ravel()[stays])


def n_of_m_terms(r: NOfM, x: Array) -> list[float]:
    """0 where a run has at most n nonzero elements, infinite otherwise."""
    return [0.0 if np.count_nonzero(x.ravel()[run]) <= r.n else math.inf for run in runs(r, x.shape)]


def at_first_elements(number: Callable[[Array], float]) -> Any:
    """The rule of a row that adds a number for each group, at its first element."""
    return by_parameters(lambda r, shape, x: number(x))


def by_parameters(number: Callable[[Any, tuple[int, ...], Array], float]) -> Any:
    """The same where the number depends on the regularizer and the shape, too."""

    def terms(r: Any, x: Array, weights: Array | None) -> Terms:
        assert weights is None
        flat, shape = x.ravel(), x.shape
        return [(int(part[0]), number(r, shape, flat[part]) * w) for w, part in weighted_groups(r, shape)]

    return terms


def summed_norm(r: Any, shape: tuple[int, ...], group: Array) -> float:
    """A group's norm by the contract's rule."""
    return norm_rule(r.groups, shape)(group.tolist())


def level_sum(r: GroupMcp, shape: tuple[int, ...], x: Array) -> float:
    """The minimax concave penalty of the norm, with every operation in the contract's order."""
    near = min(summed_norm(r, shape, x), r.concavity * r.strength)
    return near * (r.strength - near / (2.0 * r.concavity))


def bent_sum(r: GroupScad, shape: tuple[int, ...], x: Array) -> float:
    """The smoothly clipped absolute deviation of the norm, likewise."""
    near = min(summed_norm(r, shape, x), r.concavity * r.strength)
    over = max(near - r.strength, 0.0)
    return r.strength * near - over * over / (2.0 * (r.concavity - 1.0))


def half_squared_sum(x: Array) -> float:
    """Half the squared pairwise sum of magnitudes."""
    total = pairwise(np.abs(x).tolist())
    return 0.5 * (total * total)


def sparse_group_summands(r: SparseGroupLasso, x: Array, weights: Array | None) -> Terms:
    """Magnitudes times their strength; the weighted norms, times theirs, are added to the first elements'.

    Those of slices that interleave have lanes of their own.
    """
    assert weights is None
    terms = [r.l1_strength * abs(e) for e in x.ravel().tolist()]
    norms = [(at, r.group_strength * weighted) for at, weighted in group_summands(r, x, weights)]
    if interleave(r.groups, x.shape):
        return [*enumerate(terms), *((at + APART, term) for at, term in norms)]
    for at, term in norms:
        terms[at] += term
    return list(enumerate(terms))


def max_norm_summands(rounded: tuple[MaxNorm, Any], x: Array, weights: Array | None) -> Terms:
    """0 or infinity, with two units in the last place of the data type that the elements are rounded to."""
    assert weights is None
    (r, dtype), flat = rounded, x.ravel()
    info = np.finfo(dtype)
    terms = []
    for weight, part in weighted_groups(r, x.shape):
        bound = r.radius * weight
        limit = bound + (2.0 * float(info.eps) * bound + part.size * (2.0 * float(info.smallest_subnormal)))
        terms.append((int(part[0]), math.inf if summed_norm(r, x.shape, flat[part]) > limit else 0.0))
    return terms


def shell_summands(rounded: tuple[UnitNorm | MinMaxNorm, Any], x: Array, weights: Array | None) -> Terms:
    """0 or infinity, by two units in the last place of the data type that the elements are rounded to."""
    assert weights is None
    (r, dtype), flat = rounded, x.ravel()
    info, terms = np.finfo(dtype), []
    for weight, part in weighted_groups(r, x.shape):
        low, high = (bound * weight for bound in bounds_of(r))
        tiny = part.size * (2.0 * float(info.smallest_subnormal))
        low -= 2.0 * float(info.eps) * low + tiny
        high += 2.0 * float(info.eps) * high + tiny
        inside = low <= summed_norm(r, x.shape, flat[part]) <= high
        terms.append((int(part[0]), 0.0 if inside else math.inf))
    return terms


def tile_terms(r: TransposableSparsity, x: Array) -> list[float]:
    """0 where no row and no column of a tile has more than n nonzero elements, infinite otherwise."""
    squares = [x.ravel()[tile].reshape(4, 4) for tile in tiles(r, x.shape)]
    lines = [(*square, *square.T) for square in squares]
    return [0.0 if all(np.count_nonzero(line) <= r.n for line in of) else math.inf for of in lines]


def tile_summands(r: TransposableSparsity, x: Array, weights: Array | None) -> Terms:
    """The same, at the first element of each tile."""
    assert weights is None
    return [(int(tile[0]), term) for tile, term in zip(tiles(r, x.shape), tile_terms(r, x), strict=True)]


def n_of_m_summands(r: NOfM, x: Array, weights: Array | None) -> Terms:
    """0 or infinity, at the first element of each run."""
    assert weights is None
    return [(int(run[0]), term) for run, term in zip(runs(r, x.shape), n_of_m_terms(r, x), strict=True)]


def nested(r: TreeGroupLasso, shape: tuple[int, ...]) -> list[tuple[float, Any]]:
    """Weight and positions of the groups of all levels, level by level."""
    levels = [(groups, partition(groups, shape)) for groups in r.nested_groups]
    return [pair for g, parts in levels for pair in zip(group_weights(g, parts), parts, strict=True)]


def tree_summands(r: TreeGroupLasso, x: Array, weights: Array | None) -> Terms:
    """Weighted norms, added up at the elements at which groups begin."""
    assert weights is None
    terms = dict.fromkeys(range(x.size), 0.0)
    for weight, part in nested(r, x.shape):
        terms[int(part[0])] += pairwise_norm(x.ravel()[part]) * weight
    return list(terms.items())


def off_tree(r: TreeGroupLasso, point: Array, slope: Array) -> float:
    """What is left of a slope once groups that are not zero had their share, and zero ones what they can."""
    x, left = point.ravel(), slope.ravel().copy()
    for weight, part in nested(r, point.shape):
        length = norm(x[part])
        if length:
            left[part] -= r.strength * weight * x[part] / length
    for weight, part in nested(r, point.shape):
        size = norm(left[part])
        if not np.any(x[part]) and size:
            left[part] *= max(size - r.strength * weight, 0.0) / size
    return norm(left)


def tree(strength: float = 0.3, *levels: Groups) -> TreeGroupLasso:
    """A tree of groups."""
    return TreeGroupLasso(strength=strength, nested_groups=levels)


def bad_trees() -> tuple[Rejected, ...]:
    """Trees that are none, or do not fit the shape."""
    fours = Groups(size=4)
    return (
        Rejected(FieldMissing, "nested_groups", tree),
        Rejected(FieldOutOfRange, "nested_groups", lambda: tree(0.3, *(fours,) * 33)),
        Rejected(GroupsInvalid, "nested_groups[1].axis", lambda: tree(0.3, fours, Groups(axis=1))),
        Rejected(GroupsInvalid, "nested_groups[0].size", lambda: tree(0.3, fours), (10,)),
        Rejected(
            GroupsInvalid, "nested_groups[1].sizes", lambda: tree(0.3, fours, Groups(sizes=(8,))), (12,)
        ),
        *(
            Rejected(GroupsInvalid, "nested_groups[1]", lambda f=f, c=c: tree(0.3, f, c), (12,))
            for f, c in (
                (fours, Groups(size=6)),
                (fours, Groups(size=2)),
                (fours, Groups(sizes=(4, 2, 6))),
                (Groups(sizes=(4, 8)), Groups(size=6)),
                (Groups(sizes=(4, 8)), Groups(size=4)),
                (Groups(sizes=(4, 2, 6)), Groups(sizes=(4, 1, 7))),
            )
        ),
    )


def lasso(strength: float = 0.3, **groups: Any) -> GroupLasso:
    """A group lasso over groups made of keyword arguments."""
    return GroupLasso(strength=strength, groups=Groups(**groups))


def sparse(l1_strength: float = 0.2, group_strength: float = 0.3, **groups: Any) -> SparseGroupLasso:
    """A sparse group lasso, likewise."""
    return SparseGroupLasso(l1_strength=l1_strength, group_strength=group_strength, groups=Groups(**groups))


def exclusive(strength: float = 0.3, **groups: Any) -> ExclusiveLasso:
    """An exclusive lasso, likewise."""
    return ExclusiveLasso(strength=strength, groups=Groups(**groups))


def peaks(strength: float = 0.3, **groups: Any) -> GroupLinf:
    """An L1,infinity norm, likewise."""
    return GroupLinf(strength=strength, groups=Groups(**groups))


def leveling(strength: float = 0.5, concavity: float = 2.25, **groups: Any) -> GroupMcp:
    """A group MCP, likewise."""
    return GroupMcp(strength=strength, concavity=concavity, groups=Groups(**groups))


def bending(strength: float = 0.4, concavity: float = 3.7, **groups: Any) -> GroupScad:
    """A group SCAD, likewise."""
    return GroupScad(strength=strength, concavity=concavity, groups=Groups(**groups))


def bounded(radius: float = 0.6, **groups: Any) -> MaxNorm:
    """Bounded norms, likewise."""
    return MaxNorm(radius=radius, groups=Groups(**groups))


def unit(**groups: Any) -> UnitNorm:
    """Norms of 1, likewise."""
    return UnitNorm(groups=Groups(**groups))


def between(lower: float = 0.4, upper: float = 1.3, **groups: Any) -> MinMaxNorm:
    """Norms between two bounds, likewise."""
    return MinMaxNorm(lower=lower, upper=upper, groups=Groups(**groups))


def largest(**fields: Any) -> TopKGroups:
    """The largest groups, likewise; ``count`` is 1 unless that or ``fraction`` is given."""
    chosen = {name: fields.pop(name) for name in ("count", "fraction") if name in fields} or {"count": 1}
    return TopKGroups(**chosen, groups=Groups(**fields))


def too_large(_: Any, x: Array) -> Array:
    """The point with one huge element."""
    outside = x.copy()
    outside.ravel()[1] = 1e3
    return outside


def filled(_: Any, x: Array) -> Array:
    """The point with no zero in it."""
    return np.where(x == 0, 0.5, x)


RAGGED: dict[str, Sequence[int]] = {"sizes": (1, 4, 2, 5)}

ROWS: tuple[Row, ...] = (
    Row(
        name="group_lasso",
        terms=group_terms(lambda r, w, x: r.strength * w * norm(x)),
        oracle=by_group(of_groups),
        certificate=worst_group(lambda r, w, x, s: off_norm(r.strength * w, x, s)),
        rule=Rule(group_summands, scale=lambda r: float(r.strength)),
        instances={
            "-size": (lasso(size=3), (12,)),
            "-whole": (lasso(size=12), (12,)),
            "-sizes": (lasso(**RAGGED), (12,)),
            "-rows": (lasso(axis=0), (4, 3)),
            "-columns": (lasso(axis=1), (4, 3)),
            "-middle": (lasso(axis=1, sqrt_size=True), (2, 3, 2)),
            "-sqrt": (lasso(**RAGGED, sqrt_size=True), (12,)),
            "-weights": (lasso(size=4, weights=(0.0, 0.5, 3.0)), (12,)),
            "-column-weights": (lasso(axis=1, weights=(0.0, 0.5, 3.0)), (4, 3)),
            "-free": (lasso(strength=0.0, size=2), (6,)),
        },
        rejected=(*bad_numbers(lambda v: lasso(v, size=1), "strength"), *bad_groups(lasso)),
    ),
    Row(
        name="tree_group_lasso",
        terms=lambda r, x: [r.strength * w * norm(x.ravel()[part]) for w, part in nested(r, x.shape)],
        oracle=by_dual_of_nested,
        certificate=off_tree,
        rule=Rule(tree_summands, scale=lambda r: float(r.strength)),
        instances={
            "-sizes": (tree(0.3, Groups(size=2), Groups(size=4), Groups(size=12)), (12,)),
            "-rows": (
                tree(0.2, Groups(size=2, sqrt_size=True), Groups(axis=0, weights=(0.0, 0.5, 3.0))),
                (3, 4),
            ),
            "-ragged": (tree(0.3, Groups(sizes=(1, 3, 2, 1, 5)), Groups(sizes=(4, 3, 5))), (12,)),
            "-one": (tree(0.3, Groups(size=3)), (12,)),
            "-elements": (tree(0.2, Groups(size=1), Groups(sizes=(5, 1, 6)), Groups(size=12)), (12,)),
            "-free": (tree(0.0, Groups(size=2), Groups(size=6)), (6,)),
        },
        rejected=(*bad_numbers(lambda v: tree(v, Groups(size=1)), "strength"), *bad_trees()),
        parts=lambda r, shape: partition(r.nested_groups[-1], shape),
        unordered=lambda r, shape: partition(r.nested_groups[0], shape),
    ),
    Row(
        name="sparse_group_lasso",
        terms=lambda r, x: [
            *(r.l1_strength * np.abs(x)).ravel().tolist(),
            *(r.group_strength * w * norm(x.ravel()[part]) for w, part in weighted_groups(r, x.shape)),
        ],
        oracle=by_support_and_multiple(lambda r: float(r.l1_strength)),
        certificate=worst_group(off_l1_and_norm),
        rule=Rule(sparse_group_summands),
        instances={
            "-size": (sparse(size=3, weights=(0.0, 0.5, 3.0)), (9,)),
            "-sizes": (sparse(sizes=(1, 4, 2), sqrt_size=True), (7,)),
            "-columns": (sparse(0.4, 0.1, axis=1), (3, 2)),
            "-free": (sparse(0.0, 0.0, size=2), (6,)),
        },
        rejected=(
            *bad_numbers(lambda v: sparse(v, 1.0, size=1), "l1_strength"),
            *bad_numbers(lambda v: sparse(1.0, v, size=1), "group_strength"),
            *bad_groups(sparse),
        ),
    ),
    Row(
        name="exclusive_lasso",
        terms=group_terms(lambda r, w, x: r.strength * 0.5 * w * magnitude(x) ** 2),
        oracle=by_nonnegative_squares,
        certificate=worst_group(lambda r, w, x, s: off_squared_l1(r.strength * w, x, s)),
        rule=Rule(at_first_elements(half_squared_sum), scale=lambda r: float(r.strength)),
        instances={
            "": (exclusive(size=4, weights=(0.0, 0.5, 3.0)), (12,)),
            "-sizes": (exclusive(**RAGGED, sqrt_size=True), (12,)),
            "-columns": (exclusive(axis=1), (4, 3)),
            "-free": (exclusive(0.0, size=2), (6,)),
        },
        rejected=(*bad_numbers(lambda v: exclusive(v, size=1), "strength"), *bad_groups(exclusive)),
    ),
    Row(
        name="group_linf",
        terms=group_terms(lambda r, w, x: r.strength * w * peak(x)),
        oracle=by_ceiling(of_groups),
        certificate=worst_group(lambda r, w, x, s: off_peak(r.strength * w, x, s)),
        rule=Rule(at_first_elements(peak), scale=lambda r: float(r.strength)),
        instances={
            "-size": (peaks(size=4, weights=(0.0, 0.5, 3.0)), (12,)),
            "-sizes": (peaks(**RAGGED, sqrt_size=True), (12,)),
            "-columns": (peaks(axis=1), (4, 3)),
            "-free": (peaks(0.0, size=2), (6,)),
        },
        rejected=(*bad_numbers(lambda v: peaks(v, size=1), "strength"), *bad_groups(peaks)),
    ),
    Row(
        name="group_mcp",
        terms=group_terms(level),
        oracle=by_group(of_groups, points=201),
        certificate=worst_group(off_concave(rate_of_level)),
        rule=Rule(by_parameters(level_sum)),
        instances={
            "-size": (leveling(size=3), (12,)),
            "-sizes": (leveling(**RAGGED, sqrt_size=True), (12,)),
            "-columns": (leveling(axis=1, weights=(0.0, 0.5, 3.0)), (4, 3)),
            "-sharp": (leveling(2.0, 0.05, size=4), (12,)),
            "-free": (leveling(0.0, size=2), (6,)),
        },
        rejected=(
            *bad_numbers(lambda v: leveling(v, size=1), "strength"),
            *bad_numbers(lambda v: leveling(1.0, v, size=1), "concavity"),
            Rejected(FieldOutOfRange, "concavity", lambda: leveling(1.0, 0.0, size=1)),
            *bad_groups(leveling),
        ),
    ),
    Row(
        name="group_scad",
        terms=group_terms(bent),
        oracle=by_group(of_groups, points=201),
        certificate=worst_group(off_concave(rate_of_bent)),
        rule=Rule(by_parameters(bent_sum)),
        instances={
            "-size": (bending(size=3), (12,)),
            "-sizes": (bending(**RAGGED, sqrt_size=True), (12,)),
            "-columns": (bending(axis=1, weights=(0.0, 0.5, 3.0)), (4, 3)),
            "-sharp": (bending(1.5, 2.001, size=4), (12,)),
            "-free": (bending(0.0, size=2), (6,)),
        },
        rejected=(
            *bad_numbers(lambda v: bending(v, size=1), "strength"),
            *bad_numbers(lambda v: bending(1.0, v, size=1), "concavity"),
            Rejected(FieldOutOfRange, "concavity", lambda: bending(1.0, 2.0, size=1)),
            *bad_groups(bending),
        ),
    ),
    Row(
        name="n_of_m",
        terms=n_of_m_terms,
        oracle=by_choice,
        certificate=lambda r, p, s: float(np.max(np.abs(s[p != 0]), initial=0.0)),
        rule=Rule(n_of_m_summands),
        instances={
            "-2-of-4": (NOfM(n=2, m=4), (3, 4)),
            "-3-of-6": (NOfM(n=3, m=6), (12,)),
            "-none": (NOfM(n=0, m=3), (6,)),
            "-columns": (NOfM(n=1, m=2, axis=0), (4, 3)),
            "-channels": (NOfM(n=2, m=3, axis=1), (2, 3, 2)),
            "-rows": (NOfM(n=1, m=3, axis=1), (2, 6)),
        },
        rejected=(
            Rejected(FieldOutOfRange, "n", lambda: NOfM(n=-1, m=4)),
            Rejected(FieldOutOfRange, "n", lambda: NOfM(n=5, m=4)),
            Rejected(FieldOutOfRange, "m", lambda: NOfM(n=0, m=0)),
            Rejected(FieldOutOfRange, "axis", lambda: NOfM(n=2, m=4, axis=-1)),
            Rejected(GroupsInvalid, "m", lambda: NOfM(n=2, m=5), (12,)),
            Rejected(GroupsInvalid, "m", lambda: NOfM(n=2, m=4), (4, 6)),
            Rejected(GroupsInvalid, "m", lambda: NOfM(n=2, m=4, axis=0), (6, 4)),
            Rejected(GroupsInvalid, "axis", lambda: NOfM(n=2, m=4, axis=2), (4, 4)),
        ),
        outside=filled,
        parts=runs,
    ),
    Row(
        name="max_norm",
        terms=group_terms(in_bounds),
        oracle=by_group_alone(of_groups),
        certificate=worst_group(lambda r, w, x, s: off_ball(r.radius * w, x, s)),
        rule=Rule(max_norm_summands, rounded=lambda r, dtype: (r, dtype)),
        instances={
            "": (bounded(size=4), (12,)),
            "-sizes": (bounded(**RAGGED, sqrt_size=True), (12,)),
            "-columns": (bounded(axis=1, weights=(0.0, 0.5, 3.0)), (4, 3)),
            "-zero": (bounded(0.0, size=3), (6,)),
        },
        rejected=(*bad_numbers(lambda v: bounded(v, size=1), "radius"), *bad_groups(bounded)),
        outside=too_large,
    ),
    Row(
        name="unit_norm",
        terms=group_terms(in_shell),
        oracle=on_shells(bounds_of),
        certificate=worst_group(off_shell),
        rule=Rule(shell_summands, rounded=lambda r, dtype: (r, dtype)),
        instances={
            "-size": (unit(size=4), (12,)),
            "-sizes": (unit(**RAGGED, sqrt_size=True), (12,)),
            "-columns": (unit(axis=1, weights=(0.0, 0.5, 3.0)), (4, 3)),
            "-ones": (unit(size=1), (6,)),
        },
        rejected=(*bad_groups(unit), Rejected(LayoutInvalid, "shape", lambda: unit(axis=1), (0, 3))),
        outside=too_large,
    ),
    Row(
        name="min_max_norm",
        terms=group_terms(in_shell),
        oracle=on_shells(bounds_of),
        certificate=worst_group(off_shell),
        rule=Rule(shell_summands, rounded=lambda r, dtype: (r, dtype)),
        instances={
            "-size": (between(size=4), (12,)),
            "-sizes": (between(**RAGGED, sqrt_size=True), (12,)),
            "-columns": (between(axis=1, weights=(0.0, 0.5, 3.0)), (4, 3)),
            "-ball": (between(0.0, 0.6, size=3), (6,)),
            "-zero": (between(0.0, 0.0, size=3), (6,)),
        },
        rejected=(
            *bad_numbers(lambda v: between(v, 1.0, size=1), "lower"),
            *bad_numbers(lambda v: between(0.0, v, size=1), "upper"),
            Rejected(FieldOutOfRange, "lower", lambda: between(1.0, 0.5, size=1)),
            *bad_groups(between),
            Rejected(LayoutInvalid, "shape", lambda: between(axis=0), (3, 0)),
        ),
        outside=too_large,
    ),
    Row(
        name="top_k_groups",
        terms=few_groups,
        oracle=best_of(top_k_groups_candidates),
        certificate=off_few_groups,
        rule=Rule(lambda r, x, _: [(0, few_groups(r, x)[0])]),
        instances={
            "-size": (largest(size=3), (12,)),
            "-sizes": (largest(**RAGGED, count=2), (12,)),
            "-rows": (largest(axis=0, fraction=0.5), (5, 2)),
            "-columns": (largest(axis=1, count=2), (4, 3)),
            "-none": (largest(size=2, count=0), (6,)),
            "-most": (largest(size=2, fraction=0.7), (6,)),
        },
        rejected=(
            Rejected(FieldMissing, None, lambda: TopKGroups(groups=Groups(size=1))),
            Rejected(FieldOutOfRange, "count", lambda: largest(size=1, count=-1)),
            Rejected(FieldOutOfRange, "count", lambda: largest(size=3, count=5), (12,)),
            Rejected(FieldOutOfRange, "count", lambda: largest(axis=1), (4, 0)),
            Rejected(FieldOutOfRange, "fraction", lambda: largest(size=1, count=1, fraction=0.5)),
            *(
                Rejected(FieldOutOfRange, "fraction", lambda v=v: largest(size=1, fraction=v))
                for v in (-0.1, 1.1, math.nan, math.inf, -math.inf)
            ),
            Rejected(GroupsInvalid, "sqrt_size", lambda: largest(size=1, sqrt_size=True)),
            Rejected(GroupsInvalid, "weights", lambda: largest(size=6, weights=(1.0, 1.0))),
            *(bad for bad in bad_groups(largest) if bad.field != "weights" or bad.shape is None),
        ),
        outside=filled,
    ),
    Row(
        name="transposable_sparsity",
        terms=tile_terms,
        oracle=by_linear_programs,
        certificate=lambda r, p, s: peak(s[p != 0]),
        rule=Rule(tile_summands),
        instances={
            "-matrix": (TransposableSparsity(n=2), (4, 8)),
            "-tall": (TransposableSparsity(n=1), (8, 4)),
            "-kernel": (TransposableSparsity(n=3), (4, 4, 2)),
            "-none": (TransposableSparsity(n=0), (4, 4)),
        },
        rejected=(
            Rejected(FieldOutOfRange, "n", lambda: TransposableSparsity(n=-1)),
            Rejected(FieldOutOfRange, "n", lambda: TransposableSparsity(n=5)),
            Rejected(LayoutInvalid, "shape", lambda: TransposableSparsity(n=2), (16,)),
            Rejected(LayoutInvalid, "shape", lambda: TransposableSparsity(n=2), (4, 6)),
            Rejected(LayoutInvalid, "shape", lambda: TransposableSparsity(n=2), (2, 8)),
        ),
        outside=filled,
        parts=tiles,
    ),
    Row(
        name="block_sparsity",
        terms=few_groups,
        oracle=best_of(block_sparsity_candidates),
        certificate=off_few_groups,
        rule=Rule(lambda r, x, _: [(0, few_groups(r, x)[0])]),
        instances={
            "": (BlockSparsity(count=2, rows=2, columns=2), (4, 6)),
            "-flat": (BlockSparsity(fraction=0.5, rows=1, columns=3), (5, 3)),
            "-kernel": (BlockSparsity(count=1, rows=2, columns=4), (2, 3, 2, 2)),
            "-none": (BlockSparsity(count=0, rows=3, columns=1), (3, 2)),
            "-elements": (BlockSparsity(fraction=0.4, rows=1, columns=1), (3, 2)),
        },
        rejected=(
            Rejected(FieldMissing, None, lambda: BlockSparsity(rows=1, columns=1)),
            Rejected(FieldOutOfRange, "count", lambda: BlockSparsity(count=-1, rows=1, columns=1)),
            Rejected(FieldOutOfRange, "count", lambda: BlockSparsity(count=5, rows=2, columns=2), (4, 4)),
            Rejected(FieldOutOfRange, "count", lambda: BlockSparsity(count=1, rows=2, columns=2), (4, 0)),
            Rejected(
                FieldOutOfRange, "fraction", lambda: BlockSparsity(count=1, fraction=0.5, rows=1, columns=1)
            ),
            *(
                Rejected(
                    FieldOutOfRange, "fraction", lambda v=v: BlockSparsity(fraction=v, rows=1, columns=1)
                )
                for v in (-0.1, 1.1, math.nan, math.inf, -math.inf)
            ),
            Rejected(FieldOutOfRange, "rows", lambda: BlockSparsity(count=1, rows=0, columns=1)),
            Rejected(FieldOutOfRange, "columns", lambda: BlockSparsity(count=1, rows=1, columns=-1)),
            *(
                Rejected(LayoutInvalid, "shape", lambda: BlockSparsity(count=1, rows=2, columns=3), shape)
                for shape in ((), (12,), (3, 6), (4, 4), (2, 2, 2), (4, 2))
            ),
        ),
        outside=filled,
    ),
)
