"""Penalties of which all is known that their elements have in common."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Self

import numpy as np

from ..arrays import Float64Array, StepSize
from ..expansions import Exponents
from ..formats import Grid
from ..prepared import FusedLoop, Pass
from ..summation import BlockSum
from .reduction import Rule


@dataclass(frozen=True, slots=True)
class Resolved:
    """A penalty whose figures of the whole vector are known, so that it can be cut anywhere.

    Args:
        rule: What becomes of each element.
        term: The penalty's one term, before scale; it stands at the first element, 0 elsewhere.
        position: Of the first element of a piece, in the whole vector.
    """

    rule: Rule
    term: float
    position: int = 0

    def beginning_at(self, position: int) -> Self:
        """The same of a segment that begins at this position of the whole vector."""
        return replace(self, position=position, term=self.term if position == 0 else 0.0)

    def add_terms(self, x: Float64Array, sums: BlockSum, position: int = 0) -> None:
        """Add the term, where x begins with the segment's first element."""
        if x.size and position == 0:
            sums.add_at(np.array([0]), np.array([self.term]))

    def gradient(self, x: Float64Array, out: Float64Array) -> None:
        """Write what the rule makes of x."""
        self.rule.write(x, self.position, out)

    def prox(self, x: Float64Array, step_size: StepSize, out: Float64Array) -> None:
        """Write what the rule makes of x."""
        del step_size
        self.rule.write(x, self.position, out)

    def cut(self, position: int) -> int:
        """Anywhere."""
        return position

    def restricted(self, begin: int, end: int) -> Self:
        """The same of the elements begin..end."""
        del end
        return replace(self, position=self.position + begin)

    def workspace(self, elements: int) -> int:
        """Magnitudes and flags."""
        return 3 * elements

    def longest_expansion(self, x: Exponents, weights: Exponents, size: int) -> int:
        """One term is one double, and so is its product with the scale."""
        del x, weights, size
        return 1

    def rounds_outside(self, grid: Grid, *, at_random: bool) -> bool:
        """Never: sets whose points may leave them are not computed this way."""
        del grid, at_random
        return False

    def settled(self, exact: Float64Array, numbers: Float64Array, grid: Grid) -> Float64Array | None:
        """What it was rounded to."""
        del exact, numbers, grid
        return None

    def fused(self, wanted: Pass, elements: int) -> FusedLoop | None:
        """None."""
        del wanted, elements
        return None

    def reduction(self) -> None:
        """None: it is reduced."""
        return
