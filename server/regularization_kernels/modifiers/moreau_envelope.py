"""The Moreau envelope of a penalty: finite and smooth, whatever the penalty is."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from ..errors import FieldOutOfRange, ModifierUnsupported
from ..regularizer import Regularizer, Traits
from .boxed import PreparedBoxed
from .modifier import Modifier, PreparedModifier
from .shifted import Shifted

if TYPE_CHECKING:
    from ..arrays import DataType, ElementArray, Float64Array, StepSize
    from ..prepared import Prepared
    from ..summation import BlockSum


@dataclass(frozen=True, slots=True)
class MoreauEnvelope(Modifier):
    """The envelope ``e(x) = min over y of Ω(y) + norm(x - y)^2 / (2 gamma)``.

    Gradient: ``(x - p) / gamma``, p = prox of Ω at x with step size gamma. Prox of a convex Ω:
    ``x + step_size / (step_size + gamma) * (q - x)``, q = prox of Ω at x with step size step_size + gamma.

    Args:
        inner: Ω, with its box.
        gamma: How much is smoothed; finite, > 0, and 0.5 / gamma finite; units of x² per unit of loss.

    Raises:
        ModifierUnsupported: If Ω is a map.
        FieldOutOfRange: If gamma is not in its range.

    Source: Moreau (1965), Proximité et dualité dans un espace hilbertien; prox: Beck (2017), First-order
    methods in optimization, theorem 6.63.
    """

    inner: Regularizer
    gamma: float

    def __post_init__(self) -> None:
        """Check that they go together."""
        if not (math.isfinite(self.gamma) and self.gamma > 0 and math.isfinite(0.5 / self.gamma)):
            text = f"must be finite and > 0, and 0.5 over it finite, got {self.gamma!r}"
            raise FieldOutOfRange(text, field="smoothing")
        if self.inner.traits.map:
            text = f"is only for penalties, and {self.inner.name} is a map"
            raise ModifierUnsupported(text, field="smoothing")

    @property
    def traits(self) -> Traits:  # type: ignore[override] # of an instance: they follow from inner's
        """Smooth where Ω is convex; finite everywhere."""
        inner = self.inner.traits
        return replace(inner, smooth=inner.convex, positively_homogeneous=False, indicator=False)

    @property
    def scale(self) -> float:
        """What the squared distance to the nearer point is multiplied by."""
        return 0.5 / self.gamma

    def around(self, inner: Prepared, data_type: DataType) -> PreparedEnvelope:
        """The envelope of inner."""
        del data_type
        return PreparedEnvelope(modifier=self, inner=inner, gamma=self.gamma)


@dataclass(frozen=True, slots=True, kw_only=True)
class PreparedEnvelope(PreparedModifier):
    """The envelope of a penalty that is made ready for its segment.

    Args:
        gamma: How much is smoothed.
    """

    gamma: float

    def with_operands(self, reference: ElementArray | None, weights: ElementArray | None) -> Shifted:
        """The envelope of weights·Ω(x − reference) with its box."""
        if isinstance(self.inner, PreparedBoxed):
            return Shifted(replace(self, reference=reference, weights=weights))
        # Moved as a whole, so that nothing is rounded between a step and the terms at the point that it gave.
        return Shifted(replace(self, weights=weights), reference)

    def add_terms(self, x: Float64Array, sums: BlockSum, position: int = 0) -> None:
        """Add the squared distances to p, and Ω's terms at p with Ω's scale."""
        p = self._nearer(x, self.gamma)
        moved = np.subtract(x, p).reshape(-1)
        moved *= moved
        sums.add(moved, position)
        self.penalty.add_terms(p, sums.beside(self.modifier.inner.scale), position)

    def gradient(self, x: Float64Array, out: Float64Array) -> None:
        """Write (x − p) / gamma."""
        p = self._nearer(x, self.gamma)
        np.subtract(x, p, out=out)
        out /= self.gamma

    def prox(self, x: Float64Array, step_size: StepSize, out: Float64Array) -> None:
        """Write the part of Ω's longer step that the envelope's is, where Ω is convex."""
        longer = step_size + self.gamma
        q = self._nearer(x, longer)
        q -= x
        q *= step_size / longer
        np.add(x, q, out=out)

    def _nearer(self, x: Float64Array, step_size: StepSize) -> Float64Array:
        p = np.empty_like(x)
        self.penalty.prox(x, step_size, p)
        return p
