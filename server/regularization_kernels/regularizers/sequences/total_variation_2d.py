"""Total variation of images: regions that are equal, and short borders."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from ...arrays import FLOAT64, DataType, Float64Array, StepSize
from ...errors import LayoutInvalid
from ...expansions import Exponents
from ...interruption import go_on
from ...preparation import PreparedRegularizer, Unprepared
from ...regularizer import NOT_NEGATIVE, Description, Locality, Traits, parameter, register
from ...summation import BlockSum
from .images import image_slope, image_step, variations

_ARRAYS = 24
"""Of an image's size, that a step has at hand."""


@register("total_variation_2d")
@dataclass(frozen=True, slots=True)
class TotalVariation2d(Unprepared):
    """Sum of the jumps between neighbours along the last two axes, of images one by one.

    Images along the other axes are independent of each other, except that one NaN makes all of them NaN.

    A step is iterated until changes are rounding errors, or the duality gap, which is then mostly within
    1e-12 of the objective, falls no more; after 10,000 iterations it is given as it is. The gradient is exact
    at elements that differ from all their neighbours, and iterated likewise at others.

    Cost: some dozens to hundreds of steps along rows and columns, O(n) each. Source: Barbero and Sra (2018),
    Modular proximal optimization for multidimensional total-variation regularization; Rudin, Osher and Fatemi
    (1992), Nonlinear total variation based noise removal algorithms (the idea, with another norm).
    """

    strength: float = parameter(NOT_NEGATIVE, "units of loss per unit of x")

    scaled: ClassVar[bool] = True
    traits: ClassVar[Traits] = Traits(convex=True, positively_homogeneous=True, locality=Locality.SEGMENT)
    description: ClassVar[Description] = Description(
        title="piecewise constant images: few jumps between neighbours in rows and columns",
        penalty="strength * (sum |x[i, j + 1] - x[i, j]| + sum |x[i + 1, j] - x[i, j]|) over the last two"
        " axes",
        terms="|x[i, j + 1] - x[i, j]| + |x[i + 1, j] - x[i, j]| at element (i, j), every operation rounded;"
        " without what is beyond the last row or column; scale: strength",
        gradient="strength * the shortest D' u, u the signs of the differences D x, for differences of 0 in"
        " [-1, 1]; iterated where there are such",
        prox="exact steps along rows and columns in turns, accelerated, until changes are rounding errors or"
        " the duality gap falls no more, which is then mostly below 1e-12 of the objective",
        source="Barbero and Sra 2018",
    )

    def on(self, shape: tuple[int, ...], data_type: DataType = FLOAT64) -> PreparedRegularizer:
        """The penalty made ready for images of this shape.

        Raises:
            LayoutInvalid: If there are fewer than two axes.
        """
        del data_type
        if len(shape) < 2:
            raise LayoutInvalid(f"must have 2 axes or more for {self.name}, got {list(shape)}", field="shape")
        return _PreparedImages(self, (shape[-2], shape[-1]))

    def term_exponents(self, x: Exponents) -> Exponents:
        """Two differences of elements, added."""
        return x.plus(x).plus(x.plus(x))


@dataclass(frozen=True, slots=True)
class _PreparedImages(PreparedRegularizer):
    """The penalty of images of one height and width."""

    regularizer: TotalVariation2d
    shape: tuple[int, int]

    def workspace(self, elements: int) -> int:
        """What one image needs, or the terms."""
        return max(_ARRAYS * min(elements, self.shape[0] * self.shape[1]), 3 * elements)

    def add_terms(self, x: Float64Array, sums: BlockSum, position: int = 0) -> None:
        """Add each element's two differences."""
        sums.add(variations(x).reshape(-1), position)

    def gradient(self, x: Float64Array, out: Float64Array) -> None:
        """Write the shortest subgradient, image by image."""
        self._by_images(image_slope, x, out)
        out *= self.regularizer.strength
        out += 0.0  # no negative zeros

    def prox(self, x: Float64Array, step_size: StepSize, out: Float64Array) -> None:
        """Write the least point, image by image."""
        threshold = float(step_size) * self.regularizer.strength
        self._by_images(lambda image, out: image_step(image, threshold, out), x, out)

    def _by_images(
        self, compute: Callable[[Float64Array, Float64Array], None], x: Float64Array, out: Float64Array
    ) -> None:
        if not (x.size and np.isfinite(x).all()):
            out.fill(np.nan)
            return
        for image, result in zip(x.reshape(-1, *self.shape), out.reshape(-1, *self.shape), strict=True):
            go_on()
            compute(image, result)
