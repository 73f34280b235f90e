"""No regularizer at all, for modifiers of a segment that is exempt."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from ..arrays import Float64Array, StepSize
from ..expansions import Exponents, exponents_of
from ..regularizer import Description, Locality, Traits
from ..regularizers.elements.base import ElementRegularizer


@dataclass(frozen=True, slots=True)
class Zero(ElementRegularizer):
    """The penalty that is 0 everywhere. Whatever operands come, it is the same."""

    name: ClassVar[str] = "an exempt segment"
    traits: ClassVar[Traits] = Traits(
        convex=True,
        separable=True,
        smooth=True,
        positively_homogeneous=True,
        indicator=False,
        locality=Locality.ELEMENT,
    )
    description: ClassVar[Description] = Description(
        title="no penalty",
        penalty="0",
        terms="0",
        gradient="0",
        prox="x",
        parameters={},
        source="",
    )

    @property
    def scale(self) -> float:
        """1: there is no strength."""
        return 1.0

    def term_exponents(self, x: Exponents) -> Exponents:
        """Zeros."""
        del x
        return exponents_of(0.0)

    def terms(self, x: Float64Array, out: Float64Array) -> None:
        """Write 0."""
        del x
        out[...] = 0.0

    def gradient(self, x: Float64Array, out: Float64Array) -> None:
        """Write 0."""
        del x
        out[...] = 0.0

    def prox(self, x: Float64Array, step_size: StepSize, out: Float64Array) -> None:
        """Write x."""
        del step_size
        np.copyto(out, x)
