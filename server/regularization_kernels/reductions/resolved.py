"""Penalties of which all is known that their elements have in common."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from typing import Self

import numpy as np

from ..arrays import Float64Array, StepSize
from ..compilation import ANY
from ..expansions import LONGEST_EXPANSION, Exponents
from ..formats import INCREMENT, Grid
from ..formulas.compiled_loop import LookedUp, Loop, Variant, loop_for
from ..formulas.evaluation import evaluate
from ..prepared import FusedLoop, Pass
from ..summation import BLOCK, BlockSum
from .group_rules import GroupRule
from .rules import Formula, Rule, no_term

_WORD = 1 << 64


@dataclass(frozen=True, slots=True)
class Resolved:
    """A penalty whose figures of the whole vector are known, so that it can be cut anywhere.

    Args:
        rule: What becomes of each element, and the element's own term of the penalty, if any.
        penalty: Doubles whose exact sum is the penalty of the whole, beside the elements' own terms: it
            belongs to whoever has the first element.
        position: Of the first element of a piece, in the whole vector.
    """

    rule: Rule
    penalty: tuple[float, ...]
    position: int = 0

    def beginning_at(self, position: int) -> Self:
        """The same of a segment that begins at this position of the whole vector."""
        return replace(self, position=position, penalty=self.penalty if position == 0 else ())

    def add_terms(self, x: Float64Array, sums: BlockSum, position: int = 0) -> None:
        """Add the elements' own terms; the penalty of the whole is no element's."""
        if self.rule.term is not no_term:
            terms = np.empty(x.size)
            evaluate(self.rule.term, terms, x, *self.rule.numbers)
            sums.add(terms, position)

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
        """What is known; of elements' own terms beside it nothing is."""
        del x, weights, size
        return max(len(self.penalty), 1) if self.rule.term is no_term else LONGEST_EXPANSION

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
        rule, looked_up = self.rule, None
        if wanted.stepping and isinstance(rule, GroupRule):
            if len(rule.tables) != 1:
                return None
            looked_up = LookedUp(rule.tables[0], rule.inner)
        loops: dict[Formula, Loop] = {}
        formulas = rule.formulas if wanted.stepping else (no_term,)
        for formula in formulas:
            variant = Variant.of(wanted, rule.term, formula, len(rule.numbers))
            loop = loop_for(variant, elements, looked_up)
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
        nonzeros = 0
        stretches = (
            self.rule.stretches(self.position + position, x.size) if out.size else ((0, x.size, no_term),)
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
