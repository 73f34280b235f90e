"""Short ways to call a case's kernel, and the inputs that every law is tried on."""

from __future__ import annotations

import zlib
from typing import Any

import numpy as np
from numpy.typing import NDArray
from regularization_kernels import gradient as whole_gradient
from regularization_kernels import penalty, proximal_step
from regularization_kernels.errors import RegularizationError

from tests.support.cases import CASES, Case

ROUNDED_INWARDS = {"l1_ball", "l2_ball", "max_norm", "simplex", "spectral_ball", "nuclear_ball"}
"""Sets of which a rounded point may not be one: results are rounded in another way (``test_sets``)."""
STEP_SIZES = (0.01, 0.6, 7.0)
FLOATS = (np.float32, np.float64)

AnyArray = NDArray[np.floating[Any]]


def cases_with(**traits: bool) -> list[Case]:
    """The cases whose regularizer declares these traits."""
    return [
        case for case in CASES if all(getattr(case.regularizer.traits, t) == v for t, v in traits.items())
    ]


def cases_of_elements() -> list[Case]:
    """The cases that are computed element by element."""
    return [case for case in CASES if locality(case) == "ELEMENT"]


def rounded_to_nearest() -> list[Case]:
    """The cases whose results are their exact steps, each element rounded by itself."""
    return [case for case in CASES if case.row.name not in ROUNDED_INWARDS]


def locality(case: Case) -> str:
    """ELEMENT, GROUP or SEGMENT, for the case's shape."""
    return str(case.ready.locality.name)


def rng(case: Case, salt: int = 0) -> np.random.Generator:
    """Random numbers that are the case's own, the same in every run."""
    return np.random.default_rng([zlib.crc32(case.label.encode()), salt])


def fits(case: Case) -> bool:
    """Whether the regularizer takes the case's shape."""
    try:
        return case.ready is not None
    except RegularizationError:
        return False


def shaped(case: Case, x: AnyArray) -> AnyArray:
    """The array in the shape that the kernel takes: the segment's for SEGMENT, flat otherwise."""
    return np.ascontiguousarray(x.reshape(case.shape if locality(case) == "SEGMENT" else -1))


def prox(case: Case, x: AnyArray, step_size: float) -> AnyArray:
    """The proximal step in the segment's shape: the kernel's own, or the engine's around it for float32."""
    if x.dtype == np.float32:
        return proximal_step(x, case.regularizer, step_size, propagate_non_finite=True)[0]
    given = shaped(case, x)
    out = np.empty_like(given)
    case.ready.prox(given, step_size, out)
    return out.reshape(case.shape)


def gradient(case: Case, x: AnyArray) -> AnyArray:
    """The gradient in the segment's shape, likewise."""
    if x.dtype == np.float32:
        return whole_gradient(x, case.regularizer, propagate_non_finite=True)[0]
    given = shaped(case, x)
    out = np.empty_like(given)
    case.ready.gradient(given, out)
    return out.reshape(case.shape)


def value(case: Case, x: AnyArray) -> float:
    """The penalty, likewise."""
    if x.dtype == np.float32:
        total = penalty(x, case.regularizer, propagate_non_finite=True).total.penalty
        assert total is not None
        return total.value
    return float(case.ready.value(shaped(case, x)))


def inputs(case: Case) -> list[NDArray[np.float64]]:
    """Vectors of the case's shape: zero, ties, sparse, structured, and random ones of several sizes."""
    random = rng(case)
    plain = [random.normal(size=case.shape) * size for size in (0.1, 1.0, 20.0)]
    sparse = random.normal(size=case.shape) * (random.random(case.shape) < 0.4)
    ties = np.where(random.random(case.shape) < 0.5, 0.3, -0.3)
    grid = np.arange(case.size, dtype=np.float64).reshape(case.shape)
    rank_one = np.fromfunction(lambda *at: np.prod([1.0 + a for a in at], axis=0), case.shape)
    return [np.zeros(case.shape), *plain, sparse, ties, np.where(grid < case.size / 2, 0.0, 2.0), rank_one]


def feasible(case: Case, x: NDArray[np.float64]) -> NDArray[np.float64]:
    """A point near x where the penalty is finite and has a gradient."""
    if case.regularizer.traits.indicator:
        return prox(case, x, 1.0).astype(np.float64)
    if case.row.with_gradient is not None:
        return case.row.with_gradient(case.regularizer, x)
    return case.row.onto_domain(case.regularizer, x)
