"""Orthonormal columns: the Stiefel manifold."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar, Self

import numpy as np

from ..errors import LayoutInvalid
from ..formats import slack
from ..registry import register
from ..regularizer import FLOAT64, DataType, Description, Float64Array, Locality, StepSize, Traits
from ..routines.linear_algebra import (
    MatrixSet,
    gram,
    lapack_error,
    put_together,
    singular_value_decomposition,
)


@register("stiefel")
@dataclass(frozen=True, slots=True)
class Stiefel(MatrixSet):
    """0 where the columns of a matrix W are orthonormal, ``W' @ W = I``, infinite otherwise.

    Prox: ``U @ V'``, the nearest such matrix, whatever the step size; a matrix inside stays as it is to
    the bit. Where W has not full rank the nearest is one of many, and it is the one that LAPACK's U and
    V give. Gradient: 0 inside, undefined outside. Where ``|W'W - I|``, the root of the sum of squares,
    is no more than rounding to the layout's data type makes it, and LAPACK's own errors, W is inside.

    Raises:
        LayoutInvalid: If the matrix has more columns than rows.

    Cost: one singular value decomposition, O(m·n·min(m, n)). Source: Absil, Mahony and Sepulchre (2008),
    Optimization algorithms on matrix manifolds; the nearest matrix: Fan and Hoffman (1955).
    """

    traits: ClassVar[Traits] = Traits(
        convex=False,
        separable=False,
        smooth=False,
        positively_homogeneous=False,
        indicator=True,
        locality=Locality.SEGMENT,
    )
    description: ClassVar[Description] = Description(
        title="orthonormal columns, exactly",
        penalty="0 if W'W = I, infinity otherwise",
        terms="0 inside, infinity outside, at the first element",
        gradient="0 inside, undefined outside",
        prox="U V'",
        parameters={},
        source="Absil, Mahony and Sepulchre 2008",
    )

    def on(self, shape: tuple[int, ...], data_type: DataType = FLOAT64) -> Self:
        """The regularizer made ready for a matrix of this shape and data type."""
        ready = super(Stiefel, self).on(shape, data_type)
        rows, columns = shape
        if rows < columns:
            text = f"must have at least as many rows as columns for {self.name}, got {list(shape)}"
            raise LayoutInvalid(text, field="shape")
        return ready

    def contains(self, x: Float64Array) -> bool:
        """Whether the columns' products are those of orthonormal ones."""
        with np.errstate(over="ignore", invalid="ignore"):
            misses = gram(x)
            misses.reshape(-1)[:: len(misses) + 1] -= 1.0
            excess = math.sqrt(np.add.reduce(np.square(misses).reshape(-1)))
        magnitude = math.sqrt(x.shape[1])
        # An error in W counts twice, in W' and in W; and of short numbers the errors' product counts as well.
        rounding = 2.0 * slack(self.data_type, x.size, magnitude)
        return excess <= rounding + lapack_error(x.shape) * magnitude

    def prox(self, x: Float64Array, step_size: StepSize, out: Float64Array) -> None:
        """Write U·Vᵀ, or x itself where it is inside."""
        del step_size
        if not x.size:
            return
        if np.isfinite(x).all() and self.contains(x):
            np.copyto(out, x)
            return
        u, values, vt = singular_value_decomposition(x)
        put_together(u, np.where(np.isnan(values), np.nan, 1.0), vt, out)
