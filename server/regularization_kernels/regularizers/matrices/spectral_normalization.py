"""Spectral normalization: a matrix divided by its largest singular value."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar, Self

import numpy as np

from ...arrays import FLOAT64, DataType, Float64Array, StepSize
from ...errors import MethodUnsupported
from ...interruption import go_on
from ...regularizer import POSITIVE, Description, Locality, Regularizer, Traits, parameter, register
from ...summation import BlockSum
from .base import axis_of_rows, folded
from .blas import held_blas
from .linear_algebra import gram, singular_values, tops_eigenvalues

STEPS = 256
"""Steps of the power iteration before it is given up."""
STILL = 1e-14
"""By how much of itself the squared singular value may grow in the last step."""
CLOSE = 1e-12
"""By how much of itself the squared singular value may be too small in the end."""

_GOLDEN = 0.6180339887498949


@register("spectral_normalization")
@dataclass(frozen=True, slots=True)
class SpectralNormalization(Regularizer):
    """No penalty but a map: ``W * target / max(σ, target)``, or ``W * target / σ`` where ``scale_up`` is set.

    σ is the largest singular value of W as a matrix, of which a convolution's kernel of shape ``(out, in,
    height, width)`` has a row for each output. A zero matrix stays as it is, and without ``scale_up`` so does
    one with σ <= target, to the bit.

    σ² is found by power iteration on W'W (or WW', whichever is smaller), from a fixed start, until it
    grows by at most 1e-14 of itself in a step. A Cholesky factorization then proves that no eigenvalue
    is larger by more than 1e-12 of it. Where it cannot, or after 256 steps, as with several singular
    values near the largest, σ is LAPACK's. So σ is right to about 1e-12 always.

    Prox: there is none, for there is no penalty; ProximalStep applies the map, whatever the step size.
    Penalty and Gradient are refused, and in a sum of penalties it counts as 0.

    Cost: O(m·n·min(m, n)), a third of a decomposition's time at most, where the iteration converges.
    Source: Miyato, Kataoka, Koyama and Yoshida (2018), Spectral normalization for generative
    adversarial networks.
    """

    target: float = parameter(POSITIVE, "units of x", symbol="largest singular value afterwards")
    scale_up: bool = parameter(
        None, "whether a matrix below the target is scaled up to it; unset: false", default=False
    )

    axis: int | None = axis_of_rows()

    traits: ClassVar[Traits] = Traits(map=True, locality=Locality.SEGMENT)
    description: ClassVar[Description] = Description(
        title="a matrix divided by its largest singular value: a map, not a penalty",
        penalty="none: the method Penalty is refused, and a sum of penalties has 0 for it",
        terms="none",
        gradient="none: the method Gradient is refused",
        prox="none; the map W * target / max(s, target), or W * target / s with scale_up, s the largest "
        "singular value",
        source="Miyato, Kataoka, Koyama and Yoshida 2018",
    )

    def on(self, shape: tuple[int, ...], data_type: DataType = FLOAT64) -> Self:
        """The map made ready for an array of this shape.

        Raises:
            LayoutInvalid: If there are fewer than two axes.
            FieldOutOfRange: If there is no such axis as the rows'.
        """
        del data_type
        folded(shape, self.axis, self.name)
        return self

    def workspace(self, elements: int) -> int:
        """The scaled matrix, the products of its rows or columns, and what is factored, twice copied.

        And the elements as they lie in the matrix, where they lie otherwise.
        """
        return (5 + bool(self.axis)) * elements

    def add_terms(self, x: Float64Array, sums: BlockSum, position: int = 0) -> None:
        """Add nothing: there is no penalty."""

    def gradient(self, x: Float64Array, out: Float64Array) -> None:
        """Refuse.

        Raises:
            MethodUnsupported: Always.
        """
        raise MethodUnsupported(f"has no gradient: {self.name} is a map, not a penalty")

    def prox(self, x: Float64Array, step_size: StepSize, out: Float64Array) -> None:
        """Write x scaled to its target, all NaN where an element is not finite."""
        del step_size
        largest = float(np.max(np.abs(x), initial=0.0))
        if not math.isfinite(largest):
            out.fill(np.nan)
            return
        # By a power of two, so exactly: squares of huge and of tiny numbers would leave the range.
        exponent = math.frexp(largest)[1]
        scaled = np.ldexp(x, -exponent)
        matrix = folded(x.shape, self.axis, self.name).matrix(scaled)
        sigma = largest_singular_value(matrix) if largest else 0.0
        if sigma == 0.0 or (not self.scale_up and _at_most(sigma, exponent, self.target)):
            np.copyto(out, x)
            return
        np.multiply(scaled, self.target / sigma, out=out)


def largest_singular_value(x: Float64Array) -> float:
    """The largest singular value of a matrix that is not empty, whose squares are in range, to 1e-12."""
    products = gram(x)
    square = _by_power_iteration(products)
    if square is not None and tops_eigenvalues(square * (1.0 + CLOSE), products):
        return math.sqrt(square)
    return float(singular_values(x)[0])


def _by_power_iteration(products: Float64Array) -> float | None:
    """What the iteration converges to, from below; None where it does not converge."""
    # Any start will do, as long as no one has reason to make it orthogonal to what is sought.
    vector = 0.5 + np.arange(1, len(products) + 1) * _GOLDEN % 1.0
    before = 0.0
    with held_blas():
        vector /= math.sqrt(vector @ vector)
        for _ in range(STEPS):
            go_on()
            image = products @ vector
            square = float(vector @ image)
            if square - before <= STILL * square:
                return square
            before = square
            vector = image / math.sqrt(image @ image)
    return None


def _at_most(fraction: float, exponent: int, bound: float) -> bool:
    """Whether ``fraction * 2**exponent <= bound``, all above 0, where the product may be out of range."""
    return math.frexp(fraction)[1] + exponent <= 1024 and math.ldexp(fraction, exponent) <= bound
