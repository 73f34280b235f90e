"""What modifiers share: they stand in the place of the regularizer that they modify."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import replace
from typing import TYPE_CHECKING, Self

from ..arrays import FLOAT64, DataType
from ..regularizer import Locality, Regularizer, Traits
from .shifted import Shifted
from .zero import Zero

if TYPE_CHECKING:
    from ..arrays import ElementArray


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
    def takes_step_scales(self) -> bool:
        """Whether the step size may differ from element to element."""
        return self.inner.takes_step_scales

    def on(self, shape: tuple[int, ...], data_type: DataType = FLOAT64) -> Self:
        """The same, what is modified made ready."""
        return self.around(self.inner.on(shape, data_type))

    def cut(self, position: int) -> int:
        """The largest place at or before ``position`` where the segment may be cut."""
        return self.inner.cut(position)

    def restricted(self, begin: int, end: int) -> Self:
        """The same of the elements begin..end alone."""
        return self.around(self.inner.restricted(begin, end))

    def around(self, inner: Regularizer) -> Self:
        """The same modifier of another regularizer."""
        return replace(self, inner=inner)

    @abstractmethod
    def given(self, reference: ElementArray | None, weights: ElementArray | None) -> Regularizer:
        """The penalty of some elements with their reference and weights, which belong to Ω and not to x."""


def given(
    regularizer: Regularizer, reference: ElementArray | None, weights: ElementArray | None
) -> Regularizer:
    """The penalty weights·Ω(x − reference), and what modifiers make of it."""
    if isinstance(regularizer, Modifier):
        return regularizer.given(reference, weights)
    if isinstance(regularizer, Zero) or (reference is None and weights is None):
        return regularizer
    return Shifted(regularizer, reference, weights)
