"""Nearly orthonormal columns."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from ...arrays import DataType, Float64Array, StepSize
from ...regularizer import NOT_NEGATIVE, Description, Locality, Traits, parameter, register
from .base import MatrixRegularizer, axis_of_rows
from .blas import held_blas
from .linear_algebra import gram, put_together, singular_value_decomposition

_STEPS = 64  # Newton's method takes about ten at most


@register("orthogonality")
@dataclass(frozen=True, slots=True)
class Orthogonality(MatrixRegularizer):
    """How far the columns of a matrix W are from orthonormal, ``strength * 1/4 * |W' @ W - I|**2``.

    Of any shape: columns beyond the number of rows add 1/4 each. Of the step, with ``t = step_size *
    strength``: for σ > 0 there is one root r; for σ = 0 and t > 1, where 0 is one as well, it is
    ``sqrt(1 - 1/t)``, whose objective is lower, and LAPACK's U and V decide on the directions.

    Cost: one singular value decomposition for a step, O(m·n·min(m, n)); two products of matrices
    otherwise. Source: Xie, Xiong and Pu (2017), All you need is beyond a good init (the penalty); the
    step follows from von Neumann's trace inequality.
    """

    strength: float = parameter(NOT_NEGATIVE, "units of loss")
    axis: int | None = axis_of_rows()

    scaled: ClassVar[bool] = True
    traits: ClassVar[Traits] = Traits(smooth=True, locality=Locality.SEGMENT)
    description: ClassVar[Description] = Description(
        title="nearly orthonormal columns",
        penalty="strength * 1/4 * sum of squared entries of W'W - I",
        terms="1/4 * (the squared entries of W'W - I, or of W W' - I where that is smaller, added pairwise, "
        "+ the columns beyond the rows), at the first element; scale: strength",
        gradient="strength * W (W'W - I)",
        prox="U r V', for each singular value s the largest root r of t r (r^2 - 1) + r - s = 0, "
        "t = step_size * strength",
        source="Xie, Xiong and Pu 2017",
    )

    def term(self, x: Float64Array, data_type: DataType) -> float:
        """A quarter of the squared misses."""
        del data_type
        if not np.isfinite(x).all():
            return np.nan
        squares = np.square(_misses(x))
        rows, columns = x.shape
        return 0.25 * float(np.add.reduce(squares.reshape(-1)) + max(columns - rows, 0))

    def slope(self, x: Float64Array, data_type: DataType, out: Float64Array) -> None:
        """Write strength·W·(WᵀW − I), or (WWᵀ − I)·W, which is the same, where that is less work."""
        del data_type
        rows, columns = x.shape
        if not np.isfinite(x).all():
            out.fill(np.nan)
            return
        misses = _misses(x)
        with held_blas(x.size * len(misses)):
            slope = misses @ x if rows < columns else x @ misses
        np.multiply(slope, self.strength, out=out)
        out += 0.0  # no negative zeros

    def step(self, x: Float64Array, step_size: StepSize, data_type: DataType, out: Float64Array) -> None:
        """Write the matrix with each singular value moved towards 1."""
        del data_type
        threshold = step_size * self.strength
        if np.all(threshold == 0) and np.isfinite(x).all():
            np.copyto(out, x)  # a decomposition put together again is not the matrix to the bit
            return
        u, values, vt = singular_value_decomposition(x)
        put_together(u, roots(values, float(threshold)), vt, out)


def roots(values: Float64Array, t: float) -> Float64Array:
    """The largest r with t·r·(r² − 1) + r = σ, for each σ >= 0; t > 0.

    Right of that root the left side is convex and grows, so Newton's method comes down on it from any larger
    number; it starts from ones that are at most about twice as large.
    """
    with np.errstate(divide="ignore", over="ignore", invalid="ignore"):
        r: Float64Array = np.cbrt(values) / np.cbrt(t)
        r = np.minimum(r, values / (1.0 - t)) if t < 1.0 else r + np.sqrt((t - 1.0) / t)
        for _ in range(_STEPS):
            # In this form no digits are lost near t = 1.
            surplus = r * (t * r * r + (1.0 - t)) - values
            lower = r - surplus / (3.0 * t * r * r + (1.0 - t))
            moves = lower < r
            if not moves.any():
                break
            r = np.where(moves, lower, r)
    return r


def _misses(x: Float64Array) -> Float64Array:
    products = gram(x)
    products.reshape(-1)[:: len(products) + 1] -= 1.0
    return products
