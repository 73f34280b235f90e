"""What penalties that are sums over elements share."""

from __future__ import annotations

import math
from abc import abstractmethod
from dataclasses import fields
from functools import lru_cache
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from ...arrays import Float64Array
from ...expansions import ANY, Exponents, exponents_of_all
from ...regularizer import Regularizer
from ...summation import BlockSum
from .compiled_loop import Scalars

_REGULARIZERS_KEPT = 256


class ElementRegularizer(Regularizer):
    """A penalty that is a sum over elements: it says what each element's term is."""

    __slots__ = ()

    scalars: ClassVar[Scalars | None] = None
    """The same formulas for one element, where there is a compiled loop for them."""

    @property
    def scalar_parameters(self) -> tuple[float, ...]:
        """The parameters that ``scalars`` take."""
        return tuple(getattr(self, field.name) for field in fields(self))

    grows_with_magnitude: ClassVar[bool] = False
    """Whether the term of a larger magnitude is no smaller, but for rounding; that of 0 is 0."""

    def term_exponents(self, x: Exponents) -> Exponents:
        """Where the terms lie: from that of the smallest magnitude to that of the largest, if they grow."""
        return _exponents_of_growing(self, x) if self.grows_with_magnitude else ANY

    @abstractmethod
    def terms(self, x: Float64Array, out: Float64Array) -> None:
        """Write the term of each element, before ``scale``."""

    def add_terms(
        self,
        x: Float64Array,
        sums: BlockSum,
        position: int = 0,
        weights: npt.NDArray[Any] | None = None,
    ) -> None:
        """Add the terms of the penalty to ``sums``, each times its weight; x starts at ``position``."""
        terms = np.empty_like(x)
        self.terms(x, terms)
        if weights is not None:
            self.weigh(terms, weights)
        sums.add(terms, position)

    def weigh(self, terms: Float64Array, weights: npt.NDArray[Any]) -> None:
        """Multiply each term by its element's weight."""
        terms *= weights


@lru_cache(_REGULARIZERS_KEPT)
def _exponents_of_growing(regularizer: ElementRegularizer, x: Exponents) -> Exponents:
    terms = np.ldexp(1.0, [max(x.lowest, -1074), min(x.highest, 1023)])
    with np.errstate(all="ignore"):
        regularizer.terms(terms, terms)
    least, largest = terms.tolist()
    if not (0 < least <= largest < math.inf):
        return ANY
    # One exponent more on both sides, for rounding.
    return exponents_of_all(terms).times(Exponents(-1, 1))
