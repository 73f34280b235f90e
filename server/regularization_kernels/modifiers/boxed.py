"""Bounds on every element, on top of a penalty."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from ..errors import FieldOutOfRange, ModifierUnsupported
from ..regularizer import Regularizer, Traits
from ..summation import BlockSum, ExactSum
from .modifier import Modifier, PreparedModifier
from .shifted import Shifted

if TYPE_CHECKING:
    from ..arrays import DataType, ElementArray, Float64Array, StepSize
    from ..expansions import Exponents
    from ..prepared import Prepared
    from ..regularizers.elements.box import Box

_HALF_LINES = ((0.0, math.inf), (-math.inf, 0.0))
"""The bounds that bind to one sign."""


@dataclass(frozen=True, slots=True)
class Boxed(Modifier):
    """Ω(x) where every element of x is in the box, infinite elsewhere.

    Of one variable, the least point of a convex function within bounds is its least point, clipped. So the
    step is Ω's, clipped, where Ω is a convex sum over elements. The box is on x itself: with a
    reference it is Ω(x − reference), and x is in the box.

    Where Ω depends on magnitudes alone, and grows with them, a box may bind all elements to one sign. An
    element of the other sign then becomes 0, which is nearest to it and adds least; what is left is Ω's step,
    which changes no sign. So the step is Ω's of the clipped elements. With other bounds that is not so.

    Args:
        inner: Ω.
        box: The bounds, which must leave Ω a point where it is finite.

    Raises:
        ModifierUnsupported: If Ω is no convex sum over elements, and takes no such box.
        FieldOutOfRange: If Ω is infinite in all of the box.
    """

    inner: Regularizer
    box: Box

    def __post_init__(self) -> None:
        """Check that they go together."""
        if self.clips_first:
            if self.box.numbers not in _HALF_LINES:
                text = f"must be lower 0 or upper 0 alone for {self.inner.name}, got {_interval(self.box)}"
                raise ModifierUnsupported(text, field="box")
        elif not (self.inner.traits.convex and self.inner.traits.separable):
            text = f"is only for convex sums over elements, which {self.inner.name} is not"
            raise ModifierUnsupported(text, field="box")

    @property
    def clips_first(self) -> bool:
        """Whether the step is Ω's of the clipped elements; else Ω's step is clipped."""
        return self.inner.takes_orthant

    @property
    def traits(self) -> Traits:  # type: ignore[override] # of an instance: they follow from inner's
        """Convex, and a sum over elements where inner is one."""
        inner, (lower, upper) = self.inner.traits, self.box.numbers
        keeps_zeros = inner.keeps_zeros and lower <= 0 <= upper
        return replace(inner, smooth=False, positively_homogeneous=False, keeps_zeros=keeps_zeros)

    @property
    def takes_reference(self) -> bool:
        """Not with another set, which a reference moves: they might have no point in common.

        Nor where a sign is a matter of x less the reference.
        """
        return self.inner.takes_reference and not (self.inner.traits.indicator or self.clips_first)

    @property
    def scale(self) -> float:
        """1: the box has no strength."""
        return 1.0

    def around(self, inner: Prepared, data_type: DataType) -> PreparedBoxed:
        """The box whose bounds are numbers of the data type, around inner.

        Raises:
            FieldOutOfRange: If Ω is infinite in all of it.
        """
        prepared = PreparedBoxed(modifier=self, inner=inner, box=self.box.on((), data_type))
        if not self.clips_first:  # at 0 there Ω is 0
            prepared.require_common_point()
        return prepared


@dataclass(frozen=True, slots=True, kw_only=True)
class PreparedBoxed(PreparedModifier):
    """A box around a penalty that is made ready for its segment.

    Args:
        box: The bounds, rounded to the data type.
    """

    modifier: Boxed
    box: Box

    def require_common_point(self) -> None:
        """Check that Ω is finite somewhere in the box.

        Raises:
            FieldOutOfRange: If it is not.
        """
        inner, point = self.modifier.inner, np.zeros(1)
        sums = BlockSum(inner.scale)
        with np.errstate(all="ignore"):
            # Clipping any point of Ω's domain, an interval, gives a point of it if the box has one.
            self.prox(point, 1.0, point)
            self.inner.add_terms(point, sums)
        if not math.isfinite(ExactSum.of(sums.partials()).value):
            text = f"must have a point where {inner.name} is finite, got {_interval(self.box)}"
            raise FieldOutOfRange(text, field="box")

    def longest_expansion(self, x: Exponents, weights: Exponents, size: int) -> int:
        """The terms of the box are 0, or infinite."""
        return self.inner.longest_expansion(x, weights, size)

    def with_operands(self, reference: ElementArray | None, weights: ElementArray | None) -> Shifted:
        """The box on x, around weights·Ω(x − reference)."""
        return Shifted(replace(self, reference=reference, weights=weights))

    def add_terms(self, x: Float64Array, sums: BlockSum, position: int = 0) -> None:
        """Add infinity for elements outside the box, and Ω's terms with Ω's scale."""
        lower, upper = self.box.numbers
        # Zeros change no sum, so where all are inside there is nothing to add.
        if not (np.min(x, initial=upper) >= lower and np.max(x, initial=lower) <= upper):
            outside = np.empty(x.size)
            self.box.terms(x.reshape(-1), outside)
            sums.add(outside, position)
        self.penalty.add_terms(x, sums.beside(self.modifier.inner.scale), position)

    def gradient(self, x: Float64Array, out: Float64Array) -> None:
        """Write Ω's, and 0 where an element is at a bound and would fall past it.

        Raises:
            GradientUndefined: If an element is outside the box, naming the first, or where Ω has none.
        """
        self.box.gradient(x.reshape(-1), np.empty(x.size))
        lower, upper = self.box.numbers
        at_lower, at_upper = x == lower, x == upper
        self.penalty.gradient(x, out)
        # At a bound the subdifferential goes on without end, away from Ω's on one side.
        np.copyto(out, 0.0, where=(at_upper & (out < 0)) | (at_lower & (out > 0)))

    def prox(self, x: Float64Array, step_size: StepSize, out: Float64Array) -> None:
        """Write Ω's step, clipped to the bounds, or that of the clipped elements."""
        if self.modifier.clips_first:
            self.box.prox(x.reshape(-1), 0.0, out.reshape(-1))
            self.penalty.prox(out, step_size, out)
            return
        self.penalty.prox(x, step_size, out)
        self.box.prox(out, 0.0, out)


def _interval(box: Box) -> str:
    lower, upper = box.numbers
    return f"[{lower}, {upper}]"
