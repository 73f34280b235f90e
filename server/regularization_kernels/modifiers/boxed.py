"""Bounds on every element, on top of a penalty."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Self

import numpy as np

from ..arrays import FLOAT64, DataType
from ..errors import FieldOutOfRange, ModifierUnsupported
from ..regularizer import Regularizer, Traits
from .modifier import Modifier, given

if TYPE_CHECKING:
    from ..arrays import ElementArray, Float64Array, StepSize
    from ..expansions import Exponents
    from ..regularizers.elements.box import Box
    from ..summation import BlockSum


@dataclass(frozen=True, slots=True)
class Boxed(Modifier):
    """Ω(x) where every element of x is in the box, infinite elsewhere.

    Of one variable, the least point of a convex function within bounds is its least point, clipped. So the
    step is Ω's, clipped, where Ω is a convex sum over elements. The box is on x itself: with a
    reference it is Ω(x − reference), and x is in the box.

    Args:
        inner: Ω.
        box: The bounds, which must leave Ω a point where it is finite.

    Raises:
        ModifierUnsupported: If Ω is no convex sum over elements.
        FieldOutOfRange: If Ω is infinite in all of the box.
    """

    inner: Regularizer
    box: Box

    def __post_init__(self) -> None:
        """Check that they go together."""
        if not (self.inner.traits.convex and self.inner.traits.separable):
            text = f"is only for convex sums over elements, which {self.inner.name} is not"
            raise ModifierUnsupported(text, field="box")

    @property
    def traits(self) -> Traits:  # type: ignore[override] # of an instance: they follow from inner's
        """Convex, and a sum over elements."""
        return replace(self.inner.traits, smooth=False, positively_homogeneous=False)

    @property
    def takes_reference(self) -> bool:
        """Not with another set, which a reference moves: they might have no point in common."""
        return self.inner.takes_reference and not self.inner.traits.indicator

    @property
    def scale(self) -> float:
        """1: the box has no strength."""
        return 1.0

    def on(self, shape: tuple[int, ...], data_type: DataType = FLOAT64) -> Self:
        """The same made ready, the bounds rounded to the data type."""
        ready = replace(self, inner=self.inner.on(shape, data_type), box=self.box.on(shape, data_type))
        ready.require_common_point()
        return ready

    def require_common_point(self) -> None:
        """Check that Ω is finite somewhere in the box.

        Raises:
            FieldOutOfRange: If it is not.
        """
        point = np.zeros(1)
        with np.errstate(all="ignore"):
            # Clipping any point of Ω's domain, an interval, gives a point of it if the box has one.
            self.prox(point, 1.0, point)
            finite = math.isfinite(self.inner.value(point))
        if not finite:
            text = f"must have a point where {self.inner.name} is finite, got {_interval(self.box)}"
            raise FieldOutOfRange(text, field="box")

    def workspace(self, elements: int) -> int:
        """What clipping and comparing take, the elements less a reference, and inner's own."""
        return self.inner.workspace(elements) + 3 * elements

    def longest_expansion(self, x: Exponents, weights: Exponents, size: int) -> int:
        """The terms of the box are 0, or infinite."""
        return self.inner.longest_expansion(x, weights, size)

    def given(self, reference: ElementArray | None, weights: ElementArray | None) -> Regularizer:
        """The box on x, around weights·Ω(x − reference)."""
        return self.around(given(self.inner, reference, weights))

    def add_terms(self, x: Float64Array, sums: BlockSum, position: int = 0) -> None:
        """Add infinity for elements outside the box, and Ω's terms with Ω's scale."""
        lower, upper = self.box.numbers
        # Zeros change no sum, so where all are inside there is nothing to add.
        if not (np.min(x, initial=upper) >= lower and np.max(x, initial=lower) <= upper):
            outside = np.empty(x.size)
            self.box.terms(x.reshape(-1), outside)
            sums.add(outside, position)
        self.inner.add_terms(x, sums.beside(self.inner.scale), position)

    def gradient(self, x: Float64Array, out: Float64Array) -> None:
        """Write Ω's, and 0 where an element is at a bound and would fall past it.

        Raises:
            GradientUndefined: If an element is outside the box, naming the first, or where Ω has none.
        """
        self.box.gradient(x.reshape(-1), np.empty(x.size))
        lower, upper = self.box.numbers
        at_lower, at_upper = x == lower, x == upper
        self.inner.gradient(x, out)
        # At a bound the subdifferential goes on without end, away from Ω's on one side.
        np.copyto(out, 0.0, where=(at_upper & (out < 0)) | (at_lower & (out > 0)))

    def prox(self, x: Float64Array, step_size: StepSize, out: Float64Array) -> None:
        """Write Ω's step, clipped to the bounds."""
        self.inner.prox(x, step_size, out)
        self.box.prox(out, 0.0, out)


def _interval(box: Box) -> str:
    lower, upper = box.numbers
    return f"[{lower}, {upper}]"
