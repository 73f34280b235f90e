"""Different regularizers that are the same function on some shape give the same answers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from regularization_kernels import (
    BlockSparsity,
    Box,
    ElasticNet,
    ExclusiveLasso,
    GroupLasso,
    GroupLinf,
    GroupMcp,
    Groups,
    GroupScad,
    L1Ball,
    L1Norm,
    L2Ball,
    L2Norm,
    LinfNorm,
    MaxNorm,
    Mcp,
    NOfM,
    NuclearNorm,
    Scad,
    Simplex,
    SparseGroupLasso,
    SquaredL2Norm,
    TopK,
    TopKGroups,
    TreeGroupLasso,
)

from tests.support.cases import ROWS, Case
from tests.support.inputs import gradient, prox, value

Array = NDArray[np.floating[Any]]


def same(x: Array) -> Array:
    """The vector itself."""
    return x


@dataclass(frozen=True)
class Equivalence:
    """Two regularizers that agree, the second on the first's vectors after ``embed``."""

    label: str
    one: Any
    other: Any
    shape: tuple[int, ...] = (12,)
    other_shape: tuple[int, ...] = (12,)
    embed: Callable[[Array], Array] = same
    extract: Callable[[Array], Array] = same


def lasso(**groups: Any) -> GroupLasso:
    """A group lasso of strength 0.3."""
    return GroupLasso(strength=0.3, groups=Groups(**groups))


def peaks(**groups: Any) -> GroupLinf:
    """An L1,infinity norm of strength 0.3."""
    return GroupLinf(strength=0.3, groups=Groups(**groups))


def sparse(l1_strength: float, group_strength: float, **groups: Any) -> SparseGroupLasso:
    """A sparse group lasso."""
    return SparseGroupLasso(l1_strength=l1_strength, group_strength=group_strength, groups=Groups(**groups))


def tree(strength: float, *levels: Groups) -> TreeGroupLasso:
    """A tree of groups."""
    return TreeGroupLasso(strength=strength, nested_groups=levels)


def level(concavity: float = 3.0, **groups: Any) -> GroupMcp:
    """A group MCP of strength 0.3."""
    return GroupMcp(strength=0.3, concavity=concavity, groups=Groups(**groups))


def bent(concavity: float = 3.7, **groups: Any) -> GroupScad:
    """A group SCAD of strength 0.3."""
    return GroupScad(strength=0.3, concavity=concavity, groups=Groups(**groups))


def exclusive(**groups: Any) -> ExclusiveLasso:
    """An exclusive lasso of strength 0.7."""
    return ExclusiveLasso(strength=0.7, groups=Groups(**groups))


L1 = L1Norm(strength=0.3)
WEIGHTS = tuple(0.5 * k for k in range(4))
ONES = (1.0, 1.0, 1.0)

EQUIVALENCES = (
    Equivalence("groups of one are L1", L1, lasso(size=1)),
    Equivalence("groups of sizes one are L1", L1, lasso(sizes=(1,) * 12)),
    Equivalence("square roots of size one are L1", L1, lasso(size=1, sqrt_size=True)),
    Equivalence("slices of a vector are L1", L1, lasso(axis=0)),
    Equivalence("elastic net without l2 is L1", L1, ElasticNet(l1_strength=0.3, l2_strength=0.0)),
    Equivalence(
        "elastic net without l1 is squared L2",
        SquaredL2Norm(strength=0.7),
        ElasticNet(l1_strength=0.0, l2_strength=0.7),
    ),
    Equivalence("one level of a tree is its groups", lasso(size=4), tree(0.3, Groups(size=4))),
    Equivalence(
        "two equal levels add up", lasso(size=4), tree(0.15, Groups(size=4), Groups(sizes=(4, 4, 4)))
    ),
    Equivalence(
        "a level without weight is none",
        lasso(size=4),
        tree(0.3, Groups(size=4), Groups(size=12, weights=(0.0,))),
    ),
    Equivalence(
        "elements in groups are sparse groups",
        sparse(0.3, 0.3, size=4),
        tree(0.3, Groups(size=1), Groups(size=4)),
    ),
    Equivalence("size and sizes are the same groups", lasso(size=4), lasso(sizes=(4, 4, 4))),
    Equivalence("rows are runs", lasso(size=4), lasso(axis=0), (12,), (3, 4)),
    Equivalence(
        "rows are columns of the transpose",
        lasso(axis=0, weights=WEIGHTS),
        lasso(axis=1, weights=WEIGHTS),
        (4, 3),
        (3, 4),
        np.transpose,
        np.transpose,
    ),
    Equivalence("weights of one are none", lasso(size=4), lasso(size=4, weights=(1.0, 1.0, 1.0))),
    Equivalence("sqrt_size false is none", lasso(size=4), lasso(size=4, sqrt_size=False)),
    Equivalence(
        "sqrt_size is a weight of 2 for groups of 4",
        lasso(size=4, sqrt_size=True),
        lasso(size=4, weights=(2.0,) * 3),
    ),
    Equivalence(
        "weights multiply the strength",
        lasso(size=4, weights=(2.0,) * 3),
        GroupLasso(strength=0.6, groups=Groups(size=4)),
    ),
    Equivalence("peaks of groups of one are L1", L1, peaks(size=1)),
    Equivalence("sparse groups of one are L1", L1, sparse(0.1, 0.2, size=1)),
    Equivalence("sparse groups without groups are L1", L1, sparse(0.3, 0.0, size=4)),
    Equivalence("sparse groups without l1 are groups", lasso(size=4), sparse(0.0, 0.3, size=4)),
    Equivalence("exclusive groups of one are squared L2", SquaredL2Norm(strength=0.7), exclusive(size=1)),
    Equivalence("level groups of one are MCP", Mcp(strength=0.3, concavity=3.0), level(size=1)),
    Equivalence("bent groups of one are SCAD", Scad(strength=0.3, concavity=3.7), bent(size=1)),
    Equivalence("groups that level off far away are groups", lasso(size=4), level(1e18, size=4)),
    Equivalence("groups that bend far away are groups", lasso(size=4), bent(1e18, size=4)),
    Equivalence("rows of level groups are runs", level(size=4), level(axis=0), (12,), (3, 4)),
    Equivalence("one group is the L2 norm", L2Norm(strength=0.3), lasso(size=12)),
    Equivalence("the L2 norm takes any shape", L2Norm(strength=0.3), L2Norm(strength=0.3), (12,), (2, 3, 2)),
    Equivalence("one group of peaks is the L-infinity norm", LinfNorm(strength=0.3), peaks(size=12)),
    Equivalence("peaks of rows are those of runs", peaks(size=4), peaks(axis=0), (12,), (3, 4)),
    Equivalence("peaks of size and sizes", peaks(size=4), peaks(sizes=(4, 4, 4))),
    Equivalence(
        "peaks of rows are those of columns of the transpose",
        peaks(axis=0, weights=WEIGHTS),
        peaks(axis=1, weights=WEIGHTS),
        (4, 3),
        (3, 4),
        np.transpose,
        np.transpose,
    ),
    Equivalence(
        "exclusive rows are columns of the transpose",
        exclusive(axis=0, weights=WEIGHTS),
        exclusive(axis=1, weights=WEIGHTS),
        (4, 3),
        (3, 4),
        np.transpose,
        np.transpose,
    ),
    *(
        Equivalence(
            f"weights of one are none for {build.__name__}", build(size=4), build(size=4, weights=ONES)
        )
        for build in (peaks, exclusive)
    ),
    Equivalence(
        "a matrix of one row is one group", lasso(size=12), NuclearNorm(strength=0.3), (12,), (1, 12)
    ),
    Equivalence(
        "a matrix of one column is one group", lasso(size=12), NuclearNorm(strength=0.3), (12,), (12, 1)
    ),
    Equivalence("a diagonal matrix is L1", L1, NuclearNorm(strength=0.3), (5,), (5, 5), np.diag, np.diag),
    Equivalence(
        "the transpose has the same singular values",
        NuclearNorm(strength=0.3),
        NuclearNorm(strength=0.3),
        (4, 3),
        (3, 4),
        np.transpose,
        np.transpose,
    ),
)


EQUIVALENT_SETS = (
    *(
        Equivalence(f"{kind.name} of one group", kind(radius=0.5), kind(radius=0.5, groups=Groups(size=12)))
        for kind in (L1Ball, L2Ball, Simplex)
    ),
    *(
        Equivalence(
            f"{kind.name} of rows of weight 2",
            kind(radius=1.0, groups=Groups(size=4)),
            kind(radius=0.5, groups=Groups(axis=0, sqrt_size=True)),
            (12,),
            (3, 4),
        )
        for kind in (L1Ball, L2Ball, Simplex)
    ),
    Equivalence(
        "L2 balls of groups are bounded norms",
        L2Ball(radius=0.5, groups=Groups(sizes=(3, 4, 5), weights=ONES)),
        MaxNorm(radius=0.5, groups=Groups(sizes=(3, 4, 5))),
    ),
    Equivalence(
        "L1 balls of groups of one are boxes",
        L1Ball(radius=0.5, groups=Groups(size=1)),
        Box(lower=-0.5, upper=0.5),
    ),
    Equivalence("the largest of one group", TopK(count=5), TopK(count=5, groups=Groups(size=12))),
    Equivalence(
        "blocks of one are elements", TopK(count=5), BlockSparsity(count=5, rows=1, columns=1), (3, 4), (3, 4)
    ),
    Equivalence(
        "blocks of a row are runs",
        TopKGroups(count=3, groups=Groups(size=2)),
        BlockSparsity(count=3, rows=1, columns=2),
        (12,),
        (3, 4),
    ),
    Equivalence(
        "one block is one group",
        TopKGroups(count=1, groups=Groups(size=12)),
        BlockSparsity(count=1, rows=3, columns=4),
        (12,),
        (3, 4),
    ),
    Equivalence("2 of 4 is the largest half", NOfM(n=2, m=4), TopK(fraction=0.5, groups=Groups(size=4))),
    Equivalence(
        "the largest of columns are those of rows of the transpose",
        TopK(count=2, groups=Groups(axis=0)),
        TopK(count=2, groups=Groups(axis=1)),
        (4, 3),
        (3, 4),
        np.transpose,
        np.transpose,
    ),
)
"""Sets, which have a gradient inside alone."""


def case_of(regularizer: Any, shape: tuple[int, ...]) -> Case:
    """A case outside the table."""
    return Case(
        regularizer.name, regularizer, shape, next(row for row in ROWS if row.name == regularizer.name)
    )


def vectors(shape: tuple[int, ...]) -> list[Array]:
    """Random vectors, some with zeros."""
    random = np.random.default_rng(17)
    dense = [random.normal(size=shape) * size for size in (0.3, 3.0)]
    return [np.zeros(shape), *dense, dense[1] * (random.random(shape) < 0.5)]


@pytest.mark.parametrize("law", EQUIVALENCES, ids=lambda law: law.label.replace(" ", "-"))
def test_two_names_for_one_function_agree(law: Equivalence) -> None:
    """On penalty, gradient and steps of several sizes."""
    one, other = case_of(law.one, law.shape), case_of(law.other, law.other_shape)
    for x in vectors(law.shape):
        z = law.embed(x).reshape(law.other_shape)
        assert value(one, x) == pytest.approx(value(other, z), rel=1e-13, abs=1e-14)
        g = law.extract(gradient(other, z)).reshape(law.shape)
        np.testing.assert_allclose(gradient(one, x), g, rtol=1e-12, atol=1e-13)
        for step_size in (0.1, 1.0, 10.0):
            p = law.extract(prox(other, z, step_size)).reshape(law.shape)
            np.testing.assert_allclose(prox(one, x, step_size), p, rtol=1e-12, atol=1e-13)


@pytest.mark.parametrize("law", EQUIVALENT_SETS, ids=lambda law: law.label.replace(" ", "-"))
def test_two_names_for_one_set_agree(law: Equivalence) -> None:
    """On who is inside, and on the nearest points, which are."""
    one, other = case_of(law.one, law.shape), case_of(law.other, law.other_shape)
    for x in vectors(law.shape):
        z = law.embed(x).reshape(law.other_shape)
        assert value(one, x) == value(other, z)
        p = law.extract(prox(other, z, 1.0)).reshape(law.shape)
        np.testing.assert_allclose(prox(one, x, 1.0), p, rtol=1e-15, atol=1e-15)
        assert value(one, p) == value(other, law.embed(p).reshape(law.other_shape)) == 0.0


def test_a_box_clips() -> None:
    """Its step is NumPy's clip, and two boxes one after the other are their intersection where they meet."""
    x = np.linspace(-3, 3, 61)
    out, both = np.empty_like(x), np.empty_like(x)
    Box(lower=-1.0, upper=2.0).prox(x, 1.0, out)
    np.testing.assert_array_equal(out, np.clip(x, -1.0, 2.0))
    Box(lower=0.5).prox(out, 1.0, both)
    Box(lower=0.5, upper=2.0).prox(x, 1.0, out)
    np.testing.assert_array_equal(both, out)


def test_moreau_decomposition_of_the_l1_norm() -> None:
    """A vector is prox of γ‖·‖₁ plus the projection onto the box of radius γ, its conjugate's domain."""
    x = np.random.default_rng(4).normal(size=200)
    shrunk, clipped = np.empty_like(x), np.empty_like(x)
    L1Norm(strength=0.5).prox(x, 0.8, shrunk)
    Box(lower=-0.4, upper=0.4).prox(x, 1.0, clipped)
    np.testing.assert_allclose(shrunk + clipped, x, rtol=1e-15)


def nearest_of_l1_ball(x: Array, radius: float) -> Array:
    """The projection onto the L1 ball, by sorting (Held, Wolfe and Crowder 1974)."""
    magnitudes = np.sort(np.abs(x))[::-1]
    if magnitudes.sum() <= radius:
        return x.copy()
    thresholds = (np.cumsum(magnitudes) - radius) / np.arange(1, x.size + 1)
    return np.sign(x) * np.maximum(np.abs(x) - thresholds[magnitudes > thresholds][-1], 0.0)


@pytest.mark.parametrize("radius", [0.1, 3.0, 40.0, 1e6])
@pytest.mark.parametrize("digits", [16, 1], ids=["distinct", "ties"])
def test_moreau_decomposition_of_the_linf_norm(radius: float, digits: int) -> None:
    """A vector is prox of γ‖·‖∞ plus the projection onto the L1 ball of radius γ, its conjugate's domain."""
    x = np.round(np.random.default_rng(5).normal(size=200), digits)
    clipped = np.empty_like(x)
    LinfNorm(strength=radius).prox(x, 1.0, clipped)
    np.testing.assert_allclose(clipped + nearest_of_l1_ball(x, radius), x, rtol=0, atol=1e-14)


@pytest.mark.parametrize("size", [1, 16, 100], ids=str)
def test_moreau_decomposition_group_by_group(size: int) -> None:
    """Of L1,infinity, with a ball for each group."""
    x = np.random.default_rng(6).normal(size=400) * np.repeat([0.1, 1.0, 10.0, 100.0], 100)
    clipped = np.empty_like(x)
    GroupLinf(strength=0.5, groups=Groups(size=size)).prox(x, 0.8, clipped)
    projected = np.concatenate([nearest_of_l1_ball(group, 0.4) for group in x.reshape(-1, size)])
    np.testing.assert_allclose(clipped + projected, x, rtol=0, atol=1e-13)
