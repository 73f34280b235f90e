"""What penalties that are sums over elements share."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, fields
from functools import cache, lru_cache
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import numpy.typing as npt

from ...arrays import Float64Array, StepSize
from ...buffers import borrowed
from ...expansions import ANY, Exponents, exponents_of_all
from ...formats import Grid
from ...formulas.compiled_loop import Variant, loop_for
from ...formulas.evaluation import evaluate
from ...regularizer import Regularizer
from ...summation import BLOCK, BlockSum

if TYPE_CHECKING:
    from ...prepared import FusedLoop, Pass

_REGULARIZERS_KEPT = 256


@dataclass(frozen=True, slots=True)
class Formulas:
    """A penalty's formulas for one element, each stated once: NumPy evaluates them, and Numba compiles them.

    Each takes the element first, ``step`` then the step size, and last the regularizer's parameters in the
    order of its fields. Branches are on numbers that all elements share; between elements, ``where`` chooses.
    """

    term: Callable[..., Any]
    """The element's term, before scale."""
    step: Callable[..., Any]
    """The proximal step."""
    slope: Callable[..., Any]
    """The minimum-norm subgradient."""
    compiled: bool = True
    """Whether there may be a loop for them; a table is looked up by NumPy alone."""


class ElementRegularizer(Regularizer):
    """A penalty that is a sum over elements."""

    __slots__ = ()

    formulas: ClassVar[Formulas]
    """Its formulas for one element."""
    grows_with_magnitude: ClassVar[bool] = False
    """Whether the term of a larger magnitude is no smaller, but for rounding; that of 0 is 0."""

    @property
    def numbers(self) -> tuple[float, ...]:
        """The parameters that the formulas take."""
        return tuple([getattr(self, name) for name in _names_of_fields(type(self))])

    def term_exponents(self, x: Exponents) -> Exponents:
        """Where the terms lie: from that of the smallest magnitude to that of the largest, if they grow."""
        return _exponents_of_growing(self, x) if self.grows_with_magnitude else ANY

    def terms(self, x: Float64Array, out: Float64Array) -> None:
        """Write the term of each element, before ``scale``."""
        evaluate(self.formulas.term, out, x, *self.numbers)

    def gradient(self, x: Float64Array, out: Float64Array) -> None:
        """Write the minimum-norm element of the subdifferential of Ω at x."""
        evaluate(self.formulas.slope, out, x, *self.numbers)

    def prox(self, x: Float64Array, step_size: StepSize, out: Float64Array) -> None:
        """Write argmin_y Ω(y) + ‖y − x‖² / (2·step_size)."""
        evaluate(self.formulas.step, out, x, step_size, *self.numbers)

    def add_terms(
        self,
        x: Float64Array,
        sums: BlockSum,
        position: int = 0,
        weights: npt.NDArray[Any] | None = None,
    ) -> None:
        """Add the terms of the penalty to ``sums``, each times its weight; x starts at ``position``."""
        for begin in range(0, x.size, BLOCK):
            stretch = x[begin : begin + BLOCK]
            with borrowed(stretch.size) as memory:
                terms = memory[: stretch.size]
                self.terms(stretch, terms)
                if weights is not None:
                    self.weigh(terms, weights[begin : begin + BLOCK])
                sums.add(terms, position + begin)

    def fused(self, wanted: Pass, elements: int) -> FusedLoop | None:
        """The loop that Numba compiles of the formulas."""
        if not self.formulas.compiled:
            return None
        if self.rounds_outside(Grid(wanted.data_type), at_random=wanted.at_random):
            return None
        numbers = self.numbers
        variant = Variant.of(wanted, self.formulas.term, self.formulas.step, len(numbers))
        loop = loop_for(variant, elements)
        return None if loop is None else (loop, (numbers,))

    def weigh(self, terms: Float64Array, weights: npt.NDArray[Any]) -> None:
        """Multiply each term by its element's weight."""
        terms *= weights


@cache
def _names_of_fields(kind: type[ElementRegularizer]) -> tuple[str, ...]:
    return tuple(field.name for field in fields(kind))


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
