"""One method on one segment: what is computed for a stretch of it that may be computed by itself.

This is where number formats change: elements come in the layout's data type, everything is
computed in float64, and each element of a result is rounded to the data type once.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, TypeVar

import numpy as np
import numpy.typing as npt

from ..arrays import ElementArray
from ..errors import GradientUndefined, OperandUnsupported
from ..formats import Grid, round_into, round_stochastically, widen_into
from ..interruption import go_on
from ..modifiers import Modifier
from ..regularizer import Locality
from ..regularizers.elements.base import ElementRegularizer
from ..regularizers.elements.compiled_loop import Variant, loop_for
from ..regularizers.groups.base import PreparedGroups
from ..regularizers.groups.compiled_loop import GroupVariant, edges_of, group_loop_for
from .call import Call, Method, Operand
from .chunk import Chunk
from .figures import Figures, Tally

if TYPE_CHECKING:
    from ..arrays import Float64Array, StepSize
    from ..regularizer import Regularizer
    from .layout import Segment
    from .workspace import Workspace

Scalar = TypeVar("Scalar", bound=np.generic)

_METHOD_OPERANDS = {
    Method.PENALTY: {Operand.REFERENCE, Operand.WEIGHTS},
    Method.GRADIENT: {Operand.LOSS_GRADIENTS, Operand.REFERENCE, Operand.WEIGHTS},
    Method.PROXIMAL_STEP: set(Operand),
}


class SegmentOperator:
    """The call's method with the segment's regularizer, and the running figures.

    Args:
        call: The call.
        segment: The segment.
        volatile: Whether others may write to elements and results meanwhile.
    """

    def __init__(self, call: Call, segment: Segment, *, volatile: bool = False) -> None:
        self._method = call.method
        self._segment = segment
        self._regularizer = segment.regularizer
        self._step_size = call.step_size if segment.step_size is None else segment.step_size
        # What is looked at more than once must not change in between, for lengths and loops follow from it:
        # it is copied first. A sum over elements looks at each by itself.
        self._copies = volatile and segment.locality is not Locality.ELEMENT
        self._propagate_non_finite = call.propagate_non_finite
        self._seed = call.rounding.stochastic_seed
        self._tally = Tally(call.figures, call.method, segment.regularizer)

    def check_operands(self, operands: frozenset[Operand]) -> None:
        """Reject operands that the method or the regularizer does not take.

        Raises:
            OperandUnsupported: Naming the first.
        """
        for operand in Operand:
            if operand not in operands:
                continue
            refuser = None
            if operand not in _METHOD_OPERANDS[self._method]:
                refuser = self._method.value
            elif self._regularizer is not None and not _takes(self._regularizer, operand):
                refuser = self._regularizer.name
            if refuser is not None:
                raise OperandUnsupported(
                    f"is not taken by {refuser}", field=f"chunk.{operand.value}", segment=self._segment.name
                )

    def figures(self) -> Figures:
        """What was counted so far."""
        return self._tally.figures()

    def compute(self, piece: Chunk, position: int, out: ElementArray | None, workspace: Workspace) -> None:
        """Compute the stretch that begins at ``position`` of the segment.

        Args:
            piece: Its elements, whose ends are such as the regularizer may be cut at.
            position: Position of its first element in the segment.
            out: Where the result goes, in the layout's data type; None for Method.PENALTY. It may be the
                piece's own parameters, or an operand.
            workspace: Buffers.
        """
        regularizer = self._regularizer
        if regularizer is not None:
            regularizer = regularizer.restricted(position, position + piece.parameters.size)
        if isinstance(regularizer, PreparedGroups) and self._compute_groups_compiled(
            piece, position, regularizer, out
        ):
            return
        piece = piece.with_operands_as_numbers()
        if self._copies and piece.reference is not None:
            piece = replace(piece, reference=piece.reference.copy())
        x = _wide(piece.parameters, "x", workspace)
        if out is not None and np.may_share_memory(x, out):
            x = x.copy()
        if self._method is Method.PROXIMAL_STEP and out is not None:
            # The figures are of the new parameters, so operands are read after the result is written.
            regularizer, piece = self._placed(regularizer, piece.with_operands_apart_from(out))
            new = self._proximal_step(piece, x, regularizer, out, workspace)
            # In float64 the result is the step itself, unless it was moved back into a set of elements.
            if self._tally.reads_results and not (self._copies and out.dtype == np.float64):
                new = _wide(out, "new", workspace)
            self._count(piece, new, regularizer, position, workspace)
            self._tally.add_distance(new, x, position, workspace)
            return
        regularizer, piece = self._placed(regularizer, piece)
        self._count(piece, x, regularizer, position, workspace)
        if out is not None:
            self._gradient(piece, x, regularizer, out, workspace)

    def compute_compiled(self, piece: Chunk, position: int, out: ElementArray | None) -> int | None:
        """Compute a stretch of any length by a compiled loop, if there is one for what is asked.

        Returns:
            None where there is none, and nothing is done; else how many elements were computed before one
            that is not finite and has to be rejected, or all.
        """
        regularizer, x = self._regularizer, piece.parameters
        if not isinstance(regularizer, ElementRegularizer):
            return None
        if self._method is Method.GRADIENT or not piece.operands <= {Operand.LOSS_GRADIENTS}:
            return None
        if self._seed is not None:
            return None
        parameters = regularizer.numbers
        variant = Variant(
            term=regularizer.formulas.term,
            step=regularizer.formulas.step,
            stepping=out is not None,
            forward=piece.loss_gradients is not None,
            counting=self._tally.reads_results,
            checking=not self._propagate_non_finite,
            in_place=out is not None and any(np.may_share_memory(out, a) for a in piece.arrays().values()),
            data_type=x.dtype,
            parameters=len(parameters),
        )
        loop = loop_for(variant, x.size)
        if loop is None:
            return None
        g = x if piece.loss_gradients is None else piece.loss_gradients
        target = np.empty(0, x.dtype) if out is None else out
        lanes = self._tally.running(position, x.size)
        nonzeros = loop(x, g, target, self._step_size or 0.0, parameters, position, *lanes)
        if nonzeros < 0:
            return -1 - nonzeros
        self._tally.settle(position, x.size, nonzeros, lanes)
        return x.size

    def _compute_groups_compiled(
        self, piece: Chunk, position: int, regularizer: PreparedGroups, out: ElementArray | None
    ) -> bool:
        """Compute a stretch of whole groups by a compiled loop, if there is one for what is asked."""
        scalars, x, partition = regularizer.scalars, piece.parameters, regularizer.partition
        if scalars is None or self._method is Method.GRADIENT or self._seed is not None:
            return False
        if not piece.operands <= {Operand.LOSS_GRADIENTS} or _crosswise(out, piece):
            return False
        if regularizer.traits.indicator and regularizer.rounds_outside(Grid(x.dtype), at_random=False):
            return False
        parameters = regularizer.scalar_parameters
        variant = GroupVariant(
            scalars=scalars,
            stepping=out is not None,
            forward=piece.loss_gradients is not None,
            counting=self._tally.reads_results,
            data_type=x.dtype,
            parameters=len(parameters),
        )
        loop = group_loop_for(variant, x.size)
        edges = None if loop is None else edges_of(partition, x.size, scalars.longest)
        if loop is None or edges is None:
            return False
        g = x if piece.loss_gradients is None else piece.loss_gradients
        target = np.empty(0, x.dtype) if out is None else out
        weights = partition.times(1.0)
        lanes = self._tally.running(position, x.size)
        step_size = self._step_size or 0.0
        nonzeros = loop(x, g, target, step_size, parameters, edges, weights, position, *lanes)
        self._tally.settle(position, x.size, nonzeros, lanes)
        return True

    def _placed(self, regularizer: Regularizer | None, piece: Chunk) -> tuple[Regularizer | None, Chunk]:
        """A modifier with the operands that are its business, and the piece without them."""
        if not isinstance(regularizer, Modifier):
            return regularizer, piece
        reference, weights = (
            None if operand is None else self._shaped(operand) for operand in (piece.reference, piece.weights)
        )
        return regularizer.given(reference, weights), replace(piece, reference=None, weights=None)

    def _count(
        self,
        piece: Chunk,
        x: Float64Array,
        regularizer: Regularizer | None,
        position: int,
        workspace: Workspace,
    ) -> None:
        self._tally.count(x, workspace)
        if regularizer is not None:
            go_on()
            penalized = _less_reference(x, piece)
            if self._may_change(penalized, piece):
                penalized = _copied(penalized, workspace.array("settled", x.size))
            self._tally.add_penalty(regularizer, self._shaped(penalized), piece.weights, position, workspace)

    def _gradient(
        self,
        piece: Chunk,
        x: Float64Array,
        regularizer: Regularizer | None,
        out: ElementArray,
        workspace: Workspace,
    ) -> None:
        gradient = workspace.array("new", x.size)
        if regularizer is None:
            gradient[...] = 0.0
        else:
            go_on()
            try:
                x = _less_reference(x, piece)
                x = _copied(x, gradient) if self._may_change(x, piece) else x
                regularizer.gradient(self._shaped(x), self._shaped(gradient))
            except GradientUndefined as error:
                error.segment = self._segment.name
                error.element = piece.element_offset + (error.element or 0)
                error.text += f" at element {error.element}"
                error.field = "chunk.parameters"
                raise
            if piece.weights is not None:
                gradient *= piece.weights
        if piece.loss_gradients is not None:
            gradient += piece.loss_gradients
        self._narrow(gradient, out, piece.element_offset)

    def _proximal_step(
        self,
        piece: Chunk,
        x: Float64Array,
        regularizer: Regularizer | None,
        out: ElementArray,
        workspace: Workspace,
    ) -> Float64Array:
        """Write the step, rounded; give it as it was before."""
        step_size: StepSize = self._step_size or 0.0
        if piece.step_scales is not None:
            step_size = step_size * piece.step_scales.astype(np.float64)
        v = x
        if piece.loss_gradients is not None:
            v = workspace.array("v", x.size)
            np.multiply(piece.loss_gradients, step_size, out=v, dtype=np.float64)
            np.subtract(x, v, out=v)
        if regularizer is None:
            self._narrow(v, out, piece.element_offset)
            return v
        v = _less_reference(v, piece)
        if piece.weights is not None:
            # The prox of w·f with step size γ is that of f with γ·w.
            step_size = step_size * piece.weights.astype(np.float64)
        new = workspace.array("new", v.size)
        v = _copied(v, new) if self._may_change(v, piece) else v
        go_on()
        regularizer.prox(self._shaped(v), step_size, self._shaped(new))
        exact = new
        if piece.reference is not None:
            exact = workspace.array("exact", v.size)
            np.add(new, piece.reference, out=exact)
        go_on()
        self._narrow(exact, out, piece.element_offset)
        if regularizer.traits.indicator:
            settled = self._settle(new, exact, regularizer, out, piece, workspace)
            return exact if settled is None else settled
        return exact

    def _settle(
        self,
        point: Float64Array,
        exact: Float64Array,
        regularizer: Regularizer,
        out: ElementArray,
        piece: Chunk,
        workspace: Workspace,
    ) -> Float64Array | None:
        """Move what rounding put outside its set inside again, where the data type has such points.

        Args:
            point: The exact point of the set.
            exact: The same plus the reference.
            regularizer: The set.
            out: What that was rounded to.
            piece: The elements, with the reference.
            workspace: Buffers.
        """
        reference = piece.reference
        grid = Grid(out.dtype, None if reference is None else self._shaped(reference))
        if not regularizer.rounds_outside(grid, at_random=self._seed is not None):
            return None
        numbers, elements = workspace.array("rounded", point.size), out
        if self._copies:  # others may have written to the result since
            elements = np.empty_like(out)
            self._narrow(exact, elements, piece.element_offset)
        widen_into(elements, numbers)
        settled = regularizer.settled(self._shaped(point), self._shaped(numbers), grid)
        if settled is None:
            return None
        settled = settled.reshape(-1)
        round_into(settled, out)
        return settled

    def _may_change(self, x: Float64Array, piece: Chunk) -> bool:
        """Whether what is computed with must be copied first, for it lies where others may write."""
        return self._copies and np.may_share_memory(x, piece.parameters)

    def _narrow(self, values: Float64Array, out: ElementArray, element: int) -> None:
        """Round results, the first of which is that of this element of the vector."""
        if self._seed is not None:
            round_stochastically(values, out, self._seed, element)
        else:
            round_into(values, out)

    def _shaped(self, array: npt.NDArray[Scalar]) -> npt.NDArray[Scalar]:
        whole = self._segment.locality is Locality.SEGMENT
        return array.reshape(self._segment.shape) if whole else array


def _wide(array: ElementArray, name: str, workspace: Workspace) -> Float64Array:
    if array.dtype == np.float64:
        # Kernels get aligned arrays, whatever stood in front of these in a message.
        return array.astype(np.float64, copy=not array.flags.aligned)
    wide: Float64Array = workspace.array(name, array.size)
    widen_into(array, wide)
    return wide


def _copied(x: Float64Array, room: Float64Array) -> Float64Array:
    np.copyto(room, x)
    return room


def _crosswise(out: ElementArray | None, piece: Chunk) -> bool:
    """Whether the result lies over the parameters or an operand, but not element upon element."""
    return out is not None and any(
        np.may_share_memory(out, array) and out.ctypes.data != array.ctypes.data
        for array in piece.arrays().values()
    )


def _less_reference(x: Float64Array, piece: Chunk) -> Float64Array:
    return x if piece.reference is None else x - piece.reference


def _takes(regularizer: Regularizer, operand: Operand) -> bool:
    if operand is Operand.REFERENCE:
        return regularizer.takes_reference
    if operand is Operand.WEIGHTS:
        return regularizer.takes_weights
    if operand is Operand.STEP_SCALES:
        return regularizer.takes_step_scales
    return True
