"""Isotonic rows: elements that do not decrease."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from ...arrays import FLOAT64, DataType, Float64Array
from ...errors import LayoutInvalid
from ...formats import Grid
from ...interruption import go_on
from ...regularizer import Description, Locality, Traits, register
from ..vectors.base import Breach, PreparedSet, SegmentSet
from ..vectors.pooling import pool_rows


@register("isotonic")
@dataclass(frozen=True, slots=True)
class Isotonic(SegmentSet):
    """0 where no element along the last axis is less than one before it, infinite otherwise.

    The order is exact in every data type: rounding to nearest keeps it, and where stochastic rounding would
    not, the segment is rounded to nearest.

    Cost: O(n); one element after the other, in a compiled loop where Numba is installed. Source: Barlow,
    Bartholomew, Bremner and Brunk (1972), Statistical inference under order restrictions; Best and
    Chakravarti (1990), Active set algorithms for isotonic regression.
    """

    traits: ClassVar[Traits] = Traits(
        convex=True, positively_homogeneous=True, indicator=True, locality=Locality.SEGMENT
    )
    description: ClassVar[Description] = Description.of_set(
        title="elements that do not decrease: monotone curves, calibration",
        penalty="0 if no element along the last axis is less than one before it, infinity otherwise",
        prox="the nearest rows that do not decrease, by pooling adjacent violators",
        source="Barlow et al. 1972; Best and Chakravarti 1990",
    )

    def on(self, shape: tuple[int, ...], data_type: DataType = FLOAT64) -> PreparedSet:
        """The set made ready for a segment of this shape.

        Raises:
            LayoutInvalid: If it has no axis to be nondecreasing along.
        """
        if not shape:
            raise LayoutInvalid(f"must have an axis for {self.name}, got {list(shape)}", field="shape")
        return PreparedSet(self, data_type)

    def rounds_outside(self, grid: Grid, *, at_random: bool) -> bool:
        """Where equal numbers may be rounded apart; to nearest, and without a reference, they are not."""
        return grid.reference is not None or (at_random and grid.data_type != FLOAT64)

    def breach(self, x: Float64Array, data_type: DataType, share: float = 1.0) -> Breach | None:
        """The first element that is less than one before it."""
        del data_type, share
        if not (x[..., 1:] < x[..., :-1]).any():
            return None
        go_on()
        highest = np.maximum.accumulate(x, axis=-1)
        go_on()
        first = int(np.argmax(x < highest))
        before = float(highest.reshape(-1)[first])
        rule = f"must not be less than {before!r}, which stands before it,"
        return Breach(rule, float(x.reshape(-1)[first]), first)

    def project(self, x: Float64Array, data_type: DataType, out: Float64Array) -> None:
        """Write the nearest nondecreasing rows."""
        del data_type
        pool_rows(x.reshape(-1), x.shape[-1], out.reshape(-1))

    def rounded(self, exact: Float64Array, numbers: Float64Array, grid: Grid) -> Float64Array | None:
        """The nearest numbers, which keep the order; or those of the point, rounded, plus the reference."""
        del numbers
        nearest = grid.nearest(exact)
        if grid.reference is None or self.breach(grid.points(nearest), grid.data_type) is None:
            return nearest
        nearest = grid.nearest(Grid(grid.data_type).nearest(exact))
        return nearest if self.breach(grid.points(nearest), grid.data_type) is None else None
