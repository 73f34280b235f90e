"""What modifiers share: they stand in the place of the regularizer that they modify."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Self

from ..arrays import FLOAT64, DataType
from ..expansions import ANY, Exponents, exponents_of
from ..preparation import PreparedWeighing
from ..regularizer import Locality, Regularizer, Traits
from .shifted import Shifted
from .zero import Zero

if TYPE_CHECKING:
    from ..arrays import ElementArray, Float64Array, StepSize
    from ..formats import Grid
    from ..prepared import FusedLoop, Pass, Penalty, Prepared
    from ..summation import BlockSum


class Modifier(Regularizer):
    """A penalty that is made of another one, ``inner``: it adds terms of its own to those of inner."""

    __slots__ = ()

    inner: Regularizer

    @property
    def name(self) -> str:  # type: ignore[override] # of an instance: it is inner's
        """The name of what is modified."""
        return self.inner.name

    @property
    @abstractmethod
    def traits(self) -> Traits:  # type: ignore[override] # of an instance: they follow from inner's
        """What is known of it as a function."""

    @property
    def locality(self) -> Locality:
        """How far it may be cut: as far as what is modified."""
        return self.inner.locality

    @property
    def takes_reference(self) -> bool:
        """Whether Ω(x − reference) may be asked for."""
        return self.inner.takes_reference

    @property
    def takes_weights(self) -> bool:
        """Whether the strength may differ from element to element."""
        return self.inner.takes_weights

    @property
    def weighing(self) -> int:  # type: ignore[override] # of an instance: it is inner's
        """What weights take: as much as of what is modified."""
        return self.inner.weighing

    @property
    def takes_step_scales(self) -> bool:
        """Whether the step size may differ from element to element."""
        return self.inner.takes_step_scales

    @property
    def scaling(self) -> int:  # type: ignore[override] # of an instance: it is inner's
        """What a step size for each element takes: as much as of what is modified."""
        return self.inner.scaling

    @abstractmethod
    def around(self, inner: Prepared, data_type: DataType) -> PreparedModifier:
        """The modifier of what was made ready for a segment of this data type."""

    def on(self, shape: tuple[int, ...], data_type: DataType = FLOAT64) -> PreparedModifier:  # type: ignore[override] # a type of its own
        """The modifier made ready, and what is modified with it."""
        return self.around(self.inner.on(shape, data_type), data_type)

    def add_terms(self, x: Float64Array, sums: BlockSum, position: int = 0) -> None:
        """Add the terms of the penalty to ``sums``, of a segment of x's shape."""
        self.on(x.shape).add_terms(x, sums, position)

    def gradient(self, x: Float64Array, out: Float64Array) -> None:
        """Write the minimum-norm element of the subdifferential, of a segment of x's shape."""
        self.on(x.shape).gradient(x, out)

    def prox(self, x: Float64Array, step_size: StepSize, out: Float64Array) -> None:
        """Write the proximal step, of a segment of x's shape."""
        self.on(x.shape).prox(x, step_size, out)


@dataclass(frozen=True, slots=True, kw_only=True)
class PreparedModifier(ABC):
    """A modifier made ready for a segment.

    Args:
        modifier: What it is.
        inner: What is modified, made ready, too.
        reference: Inner's, of the elements of a piece; None for 0.
        weights: Inner's, of the same elements; None for 1.
    """

    modifier: Modifier
    inner: Prepared
    reference: ElementArray | None = None
    weights: ElementArray | None = None

    @property
    def penalty(self) -> Penalty:
        """Ω: inner with its reference and weights."""
        return with_operands(self.inner, self.reference, self.weights)

    @abstractmethod
    def with_operands(self, reference: ElementArray | None, weights: ElementArray | None) -> Shifted:
        """The penalty of some elements with their reference and weights, which belong to Ω and not to x."""

    @abstractmethod
    def add_terms(self, x: Float64Array, sums: BlockSum, position: int = 0) -> None:
        """Add the terms of the penalty to ``sums``; x starts at ``position`` of its segment."""

    @abstractmethod
    def gradient(self, x: Float64Array, out: Float64Array) -> None:
        """Write the minimum-norm element of the subdifferential at x."""

    @abstractmethod
    def prox(self, x: Float64Array, step_size: StepSize, out: Float64Array) -> None:
        """Write the proximal step from x."""

    def cut(self, position: int) -> int:
        """The largest place at or before ``position`` where the segment may be cut."""
        return self.inner.cut(position)

    def restricted(self, begin: int, end: int) -> Self:
        """The same of the elements begin..end alone."""
        return replace(self, inner=self.inner.restricted(begin, end))

    def workspace(self, elements: int) -> int:
        """Two arrays of the modifier's own, the elements less a reference, and inner's."""
        return self.inner.workspace(elements) + 3 * elements

    def longest_expansion(self, x: Exponents, weights: Exponents, size: int) -> int:
        """That of any finite terms."""
        del x
        terms = ANY.times(weights) if self.modifier.takes_weights else ANY
        return terms.added(size).times(exponents_of(self.modifier.scale)).longest_expansion

    def rounds_outside(self, grid: Grid, *, at_random: bool) -> bool:
        """Never: its step is rounded as it is."""
        del grid, at_random
        return False

    def settled(self, exact: Float64Array, numbers: Float64Array, grid: Grid) -> Float64Array | None:
        """Nothing else than what a point was rounded to."""
        del exact, numbers, grid
        return None

    def reduction(self) -> None:
        """Modified, a segment is computed as one array."""
        return

    def fused(self, wanted: Pass, elements: int) -> FusedLoop | None:
        """No loop is compiled of a modifier."""
        del wanted, elements
        return None


def with_operands(penalty: Prepared, reference: ElementArray | None, weights: ElementArray | None) -> Shifted:
    """The penalty weights·Ω(x − reference), and what modifiers make of it."""
    if isinstance(penalty, PreparedModifier):
        return penalty.with_operands(reference, weights)
    if isinstance(penalty, Zero):
        return Shifted(penalty)
    if weights is not None and isinstance(penalty, PreparedWeighing):
        return Shifted(penalty.weighted(weights), reference)
    return Shifted(penalty, reference, weights)
