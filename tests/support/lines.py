"""Lines of several kinds, weights for their differences, and what the kernels make of them."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from regularization_kernels.modifiers import with_operands

Array = NDArray[np.float64]


def white_noise(size: int) -> Array:
    """Independent numbers."""
    return np.random.default_rng(1).normal(size=size)


def random_walk(size: int) -> Array:
    """Their running sums."""
    return np.cumsum(white_noise(size))


def steps_and_ties(size: int) -> Array:
    """A few levels, with many elements alike."""
    return np.repeat(np.random.default_rng(2).integers(-3, 4, size // 4 + 1), 4)[:size].astype(np.float64)


def sizes_far_apart(size: int) -> Array:
    """Numbers from 1e-9 to 1e9 in magnitude."""
    return white_noise(size) * 10.0 ** np.random.default_rng(3).uniform(-9, 9, size)


def rising(size: int) -> Array:
    """A convex curve: the tube's walls have a corner everywhere."""
    return np.linspace(0.0, 1.0, size) ** 3 * size


def alike(size: int) -> Array:
    """Weights of one size."""
    return np.random.default_rng(4).exponential(size=size) * 20.0


def far_apart(size: int) -> Array:
    """Weights that cut and weights that tie."""
    return np.asarray(10.0 ** np.random.default_rng(5).uniform(-6.0, 12.0, size))


def with_cuts(size: int) -> Array:
    """Large weights, and some of 0."""
    return np.where(np.random.default_rng(6).random(size) < 0.02, 0.0, alike(size))


def drifting(size: int) -> Array:
    """Weights that widen and narrow the tube slowly."""
    return np.abs(np.cumsum(np.random.default_rng(7).normal(size=size)))


ROW_KINDS = (white_noise, random_walk, steps_and_ties, sizes_far_apart, rising)
WEIGHTINGS = (alike, far_apart, with_cuts, drifting)


def step(regularizer: Any, x: Array, weights: Any = None, step_size: float = 1.0) -> Array:
    """The kernel's own step."""
    out = np.empty_like(x)
    with_operands(regularizer.on(x.shape), None, weights).prox(x, step_size, out)
    return out


def slope(regularizer: Any, x: Array, weights: Any = None) -> Array:
    """The kernel's own gradient."""
    out = np.empty_like(x)
    with_operands(regularizer.on(x.shape), None, weights).gradient(x, out)
    return out
