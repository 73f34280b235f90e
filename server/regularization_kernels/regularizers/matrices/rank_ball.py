"""A bound on the rank."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from ...arrays import FLOAT64, DataType, Float64Array, StepSize
from ...errors import FieldOutOfRange
from ...formats import slack
from ...regularizer import COUNT, Description, Locality, Traits, parameter, register
from .base import Excess, PreparedMatrix, SpectralCone, axis_of_rows, rounding
from .linear_algebra import lapack_error, put_together
from .low_rank import nearest_of_low_rank


@register("rank_ball")
@dataclass(frozen=True, slots=True)
class RankBall(SpectralCone):
    """0 where the rank of a matrix is at most ``rank``, infinite otherwise.

    A matrix inside stays as it is to the bit. Where singular values are equal at the border, the nearest is
    one of several, and LAPACK's order decides. Of the layout's data type there are hardly any matrices of a
    low rank, so a matrix is inside where the nearest one of that rank is no farther, in the norm of all
    elements, than a step of the data type in every element takes it, and LAPACK's own errors do.

    Cost: one singular value decomposition, O(m·n·min(m, n)); of a step in all data types but float64 half as
    much, and a quarter where the rank is low (``nearest_of_low_rank``). Source: Eckart and Young (1936), The
    approximation of one matrix by another of lower rank.
    """

    rank: int = parameter(COUNT, "at most the shorter side", symbol="how many singular values may stay")
    axis: int | None = axis_of_rows()

    traits: ClassVar[Traits] = Traits(positively_homogeneous=True, indicator=True, locality=Locality.SEGMENT)
    description: ClassVar[Description] = Description.of_set(
        title="a bound on the rank",
        penalty="0 if the rank is at most rank, infinity otherwise",
        prox="U (singular values, those after the first rank set to 0) V'",
        source="Eckart and Young 1936",
    )

    def on(self, shape: tuple[int, ...], data_type: DataType = FLOAT64) -> PreparedMatrix:
        """The set as a matrix of this data type can tell who is inside.

        Raises:
            LayoutInvalid: If there are fewer than two axes.
            FieldOutOfRange: If there is no such axis, or the rank is more than the matrix's shorter side.
        """
        ready = SpectralCone.on(self, shape, data_type)
        shorter = min(ready.folding.shape)
        if self.rank > shorter:
            text = f"must be at most the shorter side {shorter} of the matrix, got {self.rank!r}"
            raise FieldOutOfRange(text, field="rank")
        return ready

    def excess(self, x: Float64Array, values: Float64Array, data_type: DataType) -> Excess:
        """The distance to the nearest matrix of that rank: the root of the other values' squares' sum.

        Rounding a matrix of that rank to nearest takes it no farther than half a step in every element, which
        is half of what is granted, so what is not farther than that is left as it is, and rounded.
        """
        largest = float(values[0])
        scale = largest if largest > 0 else 1.0
        others = values[self.rank :] / scale
        distance = scale * math.sqrt(np.add.reduce(np.square(others)))
        return Excess(distance, rounding(x, data_type), self._errors(x, largest))

    def _errors(self, x: Float64Array, largest: float) -> float:
        others = max(min(x.shape) - self.rank, 1)
        return lapack_error(x.shape) * largest * math.sqrt(others) + slack(FLOAT64, x.size, 0.0)

    def step(self, x: Float64Array, step_size: StepSize, data_type: DataType, out: Float64Array) -> None:
        """Write the nearest matrix inside: x itself where it is."""
        granted = 0.5 * rounding(x, data_type)
        near = nearest_of_low_rank(
            x, self.rank, data_type, lambda largest: granted + self._errors(x, largest)
        )
        if near is None:
            SpectralCone.step(self, x, step_size, data_type, out)
        else:
            np.copyto(out, x if near is x else near + 0.0)  # no negative zeros of a product

    def nearest(
        self, x: Float64Array, factors: tuple[Float64Array, Float64Array, Float64Array], out: Float64Array
    ) -> None:
        """Write the matrix with its largest singular values alone."""
        del x
        u, values, vt = factors
        put_together(u, np.where(np.arange(values.size) < self.rank, values, values * 0.0), vt, out)
