"""Nearly orthonormal columns."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from ...arrays import Float64Array, StepSize
from ...regularizer import Description, Locality, Traits, register, require_strength
from ...summation import BlockSum
from .base import MatrixRegularizer
from .linear_algebra import gram, put_together, single_threaded_blas, singular_value_decomposition

_STEPS = 64  # Newton's method takes about ten at most


@register("orthogonality")
@dataclass(frozen=True, slots=True)
class Orthogonality(MatrixRegularizer):
    """How far the columns of a matrix W are from orthonormal, ``strength * 1/4 * |W' @ W - I|**2``.

    The sum of squared entries, for any shape: columns beyond the number of rows add 1/4 each. Prox: ``U
    * r @ V'``, where r >= 0 solves ``t * r * (r**2 - 1) + r - σ = 0`` with ``t = step_size * strength``
    for each singular value σ. For σ > 0 there is one such r; for σ = 0 and t > 1, where 0 is one as
    well, it is ``sqrt(1 - 1/t)``, whose objective is lower, and LAPACK's U and V decide on the
    directions. Gradient: ``strength * W @ (W' @ W - I)``.

    Args:
        strength: Weight λ, finite, >= 0; units of loss.

    Raises:
        FieldOutOfRange: If strength is negative or not finite.

    Cost: one singular value decomposition for a step, O(m·n·min(m, n)); two products of matrices
    otherwise. Source: Xie, Xiong and Pu (2017), All you need is beyond a good init (the penalty); the
    step follows from von Neumann's trace inequality.
    """

    strength: float

    traits: ClassVar[Traits] = Traits(
        convex=False,
        separable=False,
        smooth=True,
        positively_homogeneous=False,
        indicator=False,
        locality=Locality.SEGMENT,
    )
    description: ClassVar[Description] = Description(
        title="nearly orthonormal columns",
        penalty="strength * 1/4 * sum of squared entries of W'W - I",
        terms="1/4 * (the squared entries of W'W - I, or of W W' - I where that is smaller, added pairwise, "
        "+ the columns beyond the rows), at the first element; scale: strength",
        gradient="strength * W (W'W - I)",
        prox="U r V', for each singular value s the largest root r of t r (r^2 - 1) + r - s = 0, "
        "t = step_size * strength",
        parameters={"strength": "finite, >= 0; units of loss"},
        source="Xie, Xiong and Pu 2017",
    )

    def __post_init__(self) -> None:
        """Check the parameters."""
        require_strength(self.strength)

    @property
    def scale(self) -> float:
        """The strength."""
        return self.strength

    def add_terms(self, x: Float64Array, sums: BlockSum, position: int = 0) -> None:
        """Add a quarter of the squared misses, at the place of the matrix's first element."""
        if not x.size:
            return
        term = np.nan
        if np.isfinite(x).all():
            squares = np.square(_misses(x))
            rows, columns = x.shape
            term = 0.25 * (np.add.reduce(squares.reshape(-1)) + max(columns - rows, 0))
        sums.add_at(np.array([position]), np.array([term]))

    def gradient(self, x: Float64Array, out: Float64Array) -> None:
        """Write strength·W·(WᵀW − I), or (WWᵀ − I)·W, which is the same, where that is less work."""
        rows, columns = x.shape
        if not np.isfinite(x).all():
            out.fill(np.nan)
            return
        misses = _misses(x)
        with single_threaded_blas(x.size * len(misses)):
            slope = misses @ x if rows < columns else x @ misses
        np.multiply(slope, self.strength, out=out)
        out += 0.0  # no negative zeros

    def prox(self, x: Float64Array, step_size: StepSize, out: Float64Array) -> None:
        """Write the matrix with each singular value moved towards 1."""
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
