"""Penalties of which all is known that their elements have in common."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Self

import numpy as np

from ..arrays import Float64Array, StepSize
from ..compilation import ANY
from ..expansions import Exponents
from ..formats import INCREMENT, Grid
from ..formulas.compiled_loop import Loop, Variant, loop_for
from ..prepared import FusedLoop, Pass
from ..summation import BLOCK, BlockSum
from .rules import Formula, Rule

_WORD = 1 << 64


def _none(x: Any, *numbers: float) -> Any:
    """The term of an element, which a penalty of the whole has not."""
    return 0.0


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
        """The loops that Numba compiles of the rule's formulas, one for each stretch."""
        loops: dict[Formula, Loop] = {}
        formulas = self.rule.formulas if wanted.stepping else (_none,)
        for formula in formulas:
            variant = Variant.of(wanted, _none, formula, len(self.rule.numbers))
            loop = loop_for(variant, elements)
            if loop is not None:
                loops[formula] = loop
        return (partial(self._run, loops), ()) if len(loops) == len(formulas) else None

    def _run(
        self,
        loops: dict[Formula, Loop],
        x: ANY,
        loss_gradients: ANY,
        out: ANY,
        step_size: float,
        position: int,
        penalty: ANY,
        squared_distance: ANY,
        *state: int,
    ) -> int:
        """Run the loops of a piece's stretches, as ``prepared.FusedLoop`` says."""
        if position == 0:
            penalty[0, 0] += self.term
        nonzeros = 0
        stretches = (
            self.rule.stretches(self.position + position, x.size) if out.size else ((0, x.size, _none),)
        )
        for begin, end, formula in stretches:
            block = (position + begin) // BLOCK - position // BLOCK
            found = loops[formula](
                x[begin:end],
                loss_gradients[begin:end],
                out[begin:end],
                step_size,
                self.rule.numbers,
                position + begin,
                penalty[block:],
                squared_distance[block:],
                *((each + begin * INCREMENT) % _WORD for each in state),
            )
            if found < 0:
                return found - begin
            nonzeros += found
        return nonzeros

    def reduction(self) -> None:
        """None: it is reduced."""
        return
