"""The method on one segment in one pass over memory, by a compiled loop of its regularizer's."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from .. import compilation
from ..arrays import FLOAT64
from ..formats import random_state
from ..modifiers import Zero
from ..prepared import Pass, Prepared
from ..regularizer import Locality
from .methods import Method, Operand

if TYPE_CHECKING:
    from ..arrays import ElementArray
    from ..prepared import FusedLoop
    from .call import Call
    from .chunk import Chunk
    from .figures import Tally
    from .prepared_segment import PreparedSegment

_NOTHING = Zero()
"""What an exempt segment is computed with."""


class FusedOperator:
    """The call's method with the segment's regularizer, wherever a compiled loop does all that is asked.

    Args:
        call: The call.
        segment: The segment.
        tally: Where figures are counted.
    """

    def __init__(self, call: Call, segment: PreparedSegment, tally: Tally) -> None:
        self._segment = segment
        self._tally = tally
        self._step_size = segment.step_size_in(call.step_size) or 0.0
        self._is_possible = call.method is not Method.GRADIENT
        stepping = call.method is Method.PROXIMAL_STEP
        # Of float64 there is nothing to round.
        rounding = stepping and call.layout.data_type != FLOAT64
        self._seed = call.rounding.stochastic_seed if rounding else None
        self._counting = tally.reads_results
        # The loops know nothing of elements that stay where they are.
        self._taken = set() if segment.specification.keeps_zeros else {Operand.LOSS_GRADIENTS}
        self._is_cut_anywhere = segment.locality is Locality.ELEMENT
        # Where a piece may end anywhere, values are checked by the loop itself.
        self._checking = self._is_cut_anywhere and not call.propagate_non_finite
        self._loops: dict[tuple[bool, bool], FusedLoop] = {}

    def compute(self, piece: Chunk, out: ElementArray | None) -> int | None:
        """Compute a stretch, if there is a loop for it.

        Args:
            piece: Its elements, whose ends are such as the regularizer may be cut at.
            out: Where the result goes; None for Method.PENALTY. It may be the piece's own parameters, or an
                operand.

        Returns:
            None where there is no loop, and nothing is done; else how many elements were computed before one
            that is not finite and has to be rejected, or all.
        """
        elements = self._worth(piece.parameters.size)
        if not self._is_possible or elements < compilation.SMALLEST:
            return None
        if not piece.operands <= self._taken:
            return None
        overlaps = _overlaps(out, piece)
        if overlaps is None:
            return None
        found = self._loop(piece, elements, out is not None, overlaps)
        if found is None:
            return None
        loop, own = found
        x, position = piece.parameters, piece.element_offset - self._segment.start
        g = x if piece.loss_gradients is None else piece.loss_gradients
        target = np.empty(0, x.dtype) if out is None else out
        first, running = self._tally.running(position, x.size)
        state = () if self._seed is None else (random_state(self._seed, piece.element_offset),)
        nonzeros = loop(x, g, target, self._step_size, *own, first, *running, *state)
        if nonzeros < 0:
            return -1 - nonzeros
        self._tally.take_over(position, x.size, nonzeros, running)
        return x.size

    def _worth(self, elements: int) -> int:
        """For how many elements to look for a loop: a few of a long segment go as all others of it do."""
        if not self._is_cut_anywhere:
            return elements
        return max(elements, min(self._segment.size, compilation.SMALLEST))

    def _loop(self, piece: Chunk, elements: int, stepping: bool, in_place: bool) -> FusedLoop | None:
        segment = self._segment
        prepared: Prepared = _NOTHING if segment.prepared is None else segment.prepared
        forward = piece.loss_gradients is not None
        held = self._loops.get((forward, in_place))
        if held is not None:
            return held
        wanted = Pass(
            data_type=piece.parameters.dtype,
            stepping=stepping,
            forward=forward,
            counting=self._counting,
            checking=self._checking,
            in_place=in_place,
            at_random=self._seed is not None,
            neighbours=self._tally.of_neighbours,
        )
        if self._is_cut_anywhere:
            found = prepared.fused(wanted, elements)
            if found is not None:
                self._loops[forward, in_place] = found
            return found
        position = piece.element_offset - segment.start
        return prepared.restricted(position, position + elements).fused(wanted, elements)


def _overlaps(out: ElementArray | None, piece: Chunk) -> bool | None:
    """Whether the result lies over the parameters or an operand; None where not element upon element."""
    if out is None:
        return False
    over = [array for array in piece.arrays().values() if np.may_share_memory(out, array)]
    if any(out.ctypes.data != array.ctypes.data for array in over):
        return None
    return bool(over)
