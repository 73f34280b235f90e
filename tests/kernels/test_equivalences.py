"""Different regularizers that are the same function on some shape give the same answers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from regularization_kernels import Box, ElasticNet, GroupLasso, Groups, L1Norm, NuclearNorm, SquaredL2Norm

from tests.kernels.cases import ROWS, Case
from tests.kernels.helpers import gradient, prox, value

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


L1 = L1Norm(strength=0.3)
WEIGHTS = tuple(0.5 * k for k in range(4))

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
