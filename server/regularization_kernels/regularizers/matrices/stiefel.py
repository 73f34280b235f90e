"""Orthonormal columns: the Stiefel manifold."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from ...arrays import FLOAT64, DataType, Float64Array, StepSize
from ...errors import LayoutInvalid
from ...regularizer import Description, Locality, Traits, register
from .base import MatrixSet, PreparedMatrix, axis_of_rows, rounding
from .linear_algebra import gram, lapack_error, put_together, singular_value_decomposition


@register("stiefel")
@dataclass(frozen=True, slots=True)
class Stiefel(MatrixSet):
    """0 where the columns of a matrix W are orthonormal, ``W' @ W = I``, infinite otherwise.

    A matrix inside stays as it is to the bit. Where W has not full rank the nearest is one of many, and it is
    the one that LAPACK's U and V give. W is inside where ``|W'W - I|``, the root of the sum of squares, is at
    most ``(1 + s)² - 1``, and LAPACK's own errors: as far as a step of the layout's data type in every
    element, which is s in the norm of them all, takes it.

    Cost: one singular value decomposition, O(m·n·min(m, n)). Source: Absil, Mahony and Sepulchre (2008),
    Optimization algorithms on matrix manifolds; the nearest matrix: Fan and Hoffman (1955).
    """

    axis: int | None = axis_of_rows()

    traits: ClassVar[Traits] = Traits(indicator=True, locality=Locality.SEGMENT)
    description: ClassVar[Description] = Description.of_set(
        title="orthonormal columns, exactly",
        penalty="0 if W'W = I, infinity otherwise",
        prox="U V'",
        source="Absil, Mahony and Sepulchre 2008",
    )

    def on(self, shape: tuple[int, ...], data_type: DataType = FLOAT64) -> PreparedMatrix:
        """The set as a matrix of this data type can tell who is inside.

        Raises:
            LayoutInvalid: If there are fewer than two axes, or more columns than rows.
            FieldOutOfRange: If there is no such axis as the rows'.
        """
        ready = MatrixSet.on(self, shape, data_type)
        rows, columns = ready.folding.shape
        if rows < columns:
            text = f"must have at least as many rows as columns for {self.name}, got {rows} and {columns}"
            raise LayoutInvalid(text, field="shape")
        return ready

    def contains(self, x: Float64Array, data_type: DataType, share: float = 1.0) -> bool:
        """Whether the columns' products are those of orthonormal ones.

        With a distance of d, that is ``|W'W - I| <= (1 + d)² - 1``, but for LAPACK's errors. A matrix that is
        d from one with orthonormal columns, in the norm of all elements, has no more than that; moved by d
        again, it has at most ``(1 + 2·d)² - 1``, because its largest singular value is at most 1 + d.
        """
        distance = share * rounding(x, data_type)
        with np.errstate(over="ignore", invalid="ignore"):
            misses = gram(x)
            misses.reshape(-1)[:: len(misses) + 1] -= 1.0
            excess = math.sqrt(np.add.reduce(np.square(misses).reshape(-1)))
        return excess <= distance * (2.0 + distance) + lapack_error(x.shape) * math.sqrt(x.shape[1])

    def step(self, x: Float64Array, step_size: StepSize, data_type: DataType, out: Float64Array) -> None:
        """Write U·Vᵀ, or x itself where it is inside."""
        del step_size
        if not x.size:
            return
        # Half of what rounding may do is left for rounding the result.
        if np.isfinite(x).all() and self.contains(x, data_type, 0.5):
            np.copyto(out, x)
            return
        u, values, vt = singular_value_decomposition(x)
        put_together(u, np.where(np.isnan(values), np.nan, 1.0), vt, out)
