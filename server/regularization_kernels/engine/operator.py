"""The method on one segment by NumPy: what is computed for a stretch that may be computed by itself.

This is where number formats change: elements come in the layout's data type, everything is
computed in float64, and each element of a result is rounded to the data type once.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, TypeVar

import numpy as np
import numpy.typing as npt

from ..errors import GradientUndefined
from ..formats import round_into, round_stochastically, widen_into
from ..interruption import go_on
from ..modifiers import Shifted, with_operands
from ..regularizer import Locality
from .methods import Method
from .workspace import borrowed_workspace

if TYPE_CHECKING:
    from ..arrays import ElementArray, Float64Array, StepSize
    from .call import Call
    from .chunk import Chunk
    from .figures import Tally
    from .prepared_segment import PreparedSegment
    from .workspace import Workspace

Scalar = TypeVar("Scalar", bound=np.generic)


class SegmentOperator:
    """The call's method with the segment's regularizer.

    Args:
        call: The call.
        segment: The segment.
        tally: Where figures are counted.
        volatile: Whether others may write to elements and results meanwhile.
    """

    def __init__(self, call: Call, segment: PreparedSegment, tally: Tally, *, volatile: bool = False) -> None:
        self._method = call.method
        self._layout = call.layout
        self._segment = segment
        self._tally = tally
        self._step_size = segment.step_size_in(call.step_size) or 0.0
        self._seed = call.rounding.stochastic_seed
        # What is looked at more than once must not change in between, for lengths and loops follow from it:
        # it is copied first. A sum over elements looks at each by itself.
        self._copies = volatile and segment.locality is not Locality.ELEMENT
        self._is_whole = segment.locality is Locality.SEGMENT

    def compute(self, piece: Chunk, out: ElementArray | None) -> None:
        """Compute a stretch.

        Args:
            piece: Its elements, whose ends are such as the regularizer may be cut at.
            out: Where the result goes, in the layout's data type; None for Method.PENALTY. It may be the
                piece's own parameters, or an operand.
        """
        piece = piece.with_operands_as_numbers()
        if self._copies and piece.reference is not None:
            piece = replace(piece, reference=piece.reference.copy())
        with borrowed_workspace() as workspace:
            if out is not None and self._method is Method.PROXIMAL_STEP:
                # The figures are of the new parameters, so operands are read after the result is written.
                self._proximal_step(piece.with_operands_apart_from(out), out, workspace)
                return
            x = self._numbers_of(piece.parameters, workspace)
            penalty = self._penalty_of(piece)
            self._count(x, penalty, piece, workspace)
            if out is not None:
                self._gradient(piece, x, penalty, out, workspace)

    def _penalty_of(self, piece: Chunk) -> Shifted | None:
        """The regularizer of the piece's elements, with the operands that are its business."""
        prepared = self._segment.prepared
        if prepared is None:
            return None
        position = piece.element_offset - self._segment.start
        return with_operands(
            prepared.restricted(position, position + piece.parameters.size),
            None if piece.reference is None else self._shaped(piece.reference),
            None if piece.weights is None else self._shaped(piece.weights),
        )

    def _count(self, x: Float64Array, penalty: Shifted | None, piece: Chunk, workspace: Workspace) -> None:
        position = piece.element_offset - self._segment.start
        self._tally.count(x, position, workspace)
        if penalty is not None:
            go_on()
            self._tally.add_penalty(penalty, self._shaped(x), position)

    def _gradient(
        self, piece: Chunk, x: Float64Array, penalty: Shifted | None, out: ElementArray, workspace: Workspace
    ) -> None:
        gradient = workspace.array("new", x.size)
        if penalty is None:
            gradient[...] = 0.0
        else:
            go_on()
            try:
                penalty.gradient(self._shaped(x), self._shaped(gradient))
            except GradientUndefined as error:
                error.element = piece.element_offset + (error.element or 0)
                error.segment = self._layout.name_at(error.element)
                error.text += f" at element {error.element}"
                error.field = "parameters"
                raise
        if piece.loss_gradients is not None:
            moves: npt.NDArray[np.bool_] | bool = x != 0 if self._segment.specification.keeps_zeros else True
            np.add(gradient, piece.loss_gradients, out=gradient, where=moves)
        self._round(gradient, out, piece.element_offset)

    def _proximal_step(self, piece: Chunk, out: ElementArray, workspace: Workspace) -> None:
        x = self._numbers_of(piece.parameters, workspace, out)
        penalty = self._penalty_of(piece)
        step_size: StepSize = self._step_size
        if piece.step_scales is not None:
            step_size = step_size * piece.step_scales.astype(np.float64)
        v = x
        if piece.loss_gradients is not None:
            v = workspace.array("v", x.size)
            np.multiply(piece.loss_gradients, step_size, out=v, dtype=np.float64)
            if self._segment.specification.keeps_zeros:
                v[x == 0] = 0.0
            np.subtract(x, v, out=v)
        if penalty is None:
            new = v
            self._round(new, out, piece.element_offset)
        else:
            new = self._penalized_step(v, step_size, penalty, out, piece, workspace)
        if self._tally.reads_results and out.dtype != np.float64:
            new = workspace.array("new", x.size)
            widen_into(out, new)
        self._count(new, penalty, piece, workspace)
        self._tally.add_distance(new, x, piece.element_offset - self._segment.start)

    def _penalized_step(
        self,
        v: Float64Array,
        step_size: StepSize,
        penalty: Shifted,
        out: ElementArray,
        piece: Chunk,
        workspace: Workspace,
    ) -> Float64Array:
        """Write the regularizer's step from v, rounded; give it as it was before."""
        new = point = workspace.array("new", v.size)
        may_leave = penalty.rounds_outside(out.dtype, at_random=self._seed is not None)
        if may_leave and piece.reference is not None:
            point = workspace.array("point", v.size)
        sizes = step_size if piece.step_scales is None else self._shaped(np.asarray(step_size))
        go_on()
        penalty.prox(self._shaped(v), sizes, self._shaped(new), self._shaped(point))
        go_on()
        self._round(new, out, piece.element_offset)
        if not may_leave:
            return new
        # What rounding put outside the set is moved inside again, where the data type has such points.
        numbers, elements = workspace.array("rounded", v.size), out
        if self._copies:  # others may have written to the result since
            elements = np.empty_like(out)
            self._round(new, elements, piece.element_offset)
        widen_into(elements, numbers)
        inside = penalty.settled(self._shaped(point), self._shaped(numbers), out.dtype)
        if inside is None:
            return new
        inside = inside.reshape(-1)
        round_into(inside, out)
        return inside

    def _numbers_of(
        self, elements: ElementArray, workspace: Workspace, out: ElementArray | None = None
    ) -> Float64Array:
        """The numbers that parameters stand for, in an array that keeps them while ``out`` is written."""
        keeps = not self._copies and (out is None or not np.may_share_memory(elements, out))
        # Kernels get aligned arrays, whatever stood in front of these in a message.
        if elements.dtype == np.float64 and elements.flags.aligned and keeps:
            return elements.astype(np.float64, copy=False)
        numbers: Float64Array = workspace.array("x", elements.size)
        widen_into(elements, numbers)
        return numbers

    def _round(self, values: Float64Array, out: ElementArray, element: int) -> None:
        """Round results, the first of which is that of this element of the vector."""
        if self._seed is not None:
            round_stochastically(values, out, self._seed, element)
        else:
            round_into(values, out)

    def _shaped(self, array: npt.NDArray[Scalar]) -> npt.NDArray[Scalar]:
        return array.reshape(self._segment.shape) if self._is_whole else array
