"""Positive semidefinite matrices: covariances, kernels, metrics."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from ...arrays import FLOAT64, DataType, Float64Array
from ...errors import LayoutInvalid
from ...folding import Folding
from ...formats import slack
from ...regularizer import Description, Locality, Traits, register
from .base import Excess, SpectralCone, rounding
from .blas import held_blas
from .linear_algebra import eigenvalue_decomposition, eigenvalues, lapack_error


@register("positive_semidefinite")
@dataclass(frozen=True, slots=True)
class PositiveSemidefinite(SpectralCone):
    """0 where a square matrix is symmetric and has no eigenvalue below 0, infinite otherwise.

    A matrix inside stays as it is to the bit. The numbers of the layout's data type are hardly ever just on
    the border, so a matrix is inside where the nearest one of the set is no farther, in the norm of all
    elements, than a step of the data type in every element takes it, and LAPACK's own errors do. A matrix
    that is projected, and rounded to nearest, is symmetric to the bit.

    Cost: one decomposition of a symmetric matrix, O(n³). Source: Higham (1988), Computing a nearest symmetric
    positive semidefinite matrix.
    """

    traits: ClassVar[Traits] = Traits(
        convex=True, positively_homogeneous=True, indicator=True, locality=Locality.SEGMENT
    )
    description: ClassVar[Description] = Description.of_set(
        title="symmetric matrices without negative eigenvalues: covariances, kernels, metrics",
        penalty="0 if W = W' and no eigenvalue of W is below 0, infinity otherwise",
        prox="V max(eigenvalues, 0) V' of the symmetric part (W + W') / 2",
        source="Higham 1988",
    )

    def folding_of(self, shape: tuple[int, ...]) -> Folding:
        """The segment as it lies.

        Raises:
            LayoutInvalid: If the shape is not that of a square matrix.
        """
        if len(shape) != 2 or shape[0] != shape[1]:
            raise LayoutInvalid(f"must be [n, n] for {self.name}, got {list(shape)}", field="shape")
        return Folding.rows_along(shape, None)

    def values(self, x: Float64Array) -> Float64Array:
        """The eigenvalues of the symmetric part."""
        return eigenvalues(_symmetric_part(x))

    def factors(self, x: Float64Array) -> tuple[Float64Array, Float64Array, Float64Array]:
        """The same with vectors."""
        values, vectors = eigenvalue_decomposition(_symmetric_part(x))
        return vectors, values, vectors.T

    def excess(self, x: Float64Array, values: Float64Array, data_type: DataType) -> Excess:
        """The distance to the nearest matrix: what is not symmetric, and the eigenvalues below 0.

        Rounding that matrix to nearest takes it no farther than half a step in every element, which is half
        of what is granted, so what is not farther than that is left as it is, and rounded.
        """
        distance = math.hypot(_norm(x - _symmetric_part(x)), _norm(np.minimum(values, 0.0)))
        largest = float(np.max(np.abs(values)))
        errors = lapack_error(x.shape) * largest * math.sqrt(len(x)) + slack(FLOAT64, x.size, 0.0)
        return Excess(distance, rounding(x, data_type), errors)

    def nearest(
        self, x: Float64Array, factors: tuple[Float64Array, Float64Array, Float64Array], out: Float64Array
    ) -> None:
        """Write the part of the matrix whose eigenvalues are above 0.

        It is put together from these alone: where the others outweigh them, no digits are lost.
        """
        del x
        vectors, values, _ = factors
        above = ~(values <= 0.0)  # NaN counts
        halves = vectors[:, above] * np.sqrt(values[above])
        with held_blas(halves.size * len(halves)):
            product = halves @ halves.T
        np.add(0.5 * product, 0.5 * product.T, out=out)
        out += 0.0  # no negative zeros


def _symmetric_part(x: Float64Array) -> Float64Array:
    # Halves first, as the sum may be beyond the range.
    return 0.5 * x + 0.5 * x.T


def _norm(x: Float64Array) -> float:
    """The norm of all elements, also where their squares are out of range."""
    largest = float(np.max(np.abs(x)))
    if not 0.0 < largest < math.inf:
        return largest
    return largest * math.sqrt(np.add.reduce(np.square(x / largest).reshape(-1)))
