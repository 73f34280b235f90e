"""One method on one segment: what is computed for a stretch of it that may be computed by itself."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ..errors import GradientUndefined, OperandUnsupported
from ..regularizer import Locality
from .call import Call, Chunk, Method, Operand
from .figures import Figures, Tally

if TYPE_CHECKING:
    import numpy.typing as npt

    from ..regularizer import FloatArray, Regularizer, StepSize, Traits
    from .layout import Segment

_METHOD_OPERANDS = {
    Method.PENALTY: {Operand.REFERENCE, Operand.WEIGHTS},
    Method.GRADIENT: {Operand.LOSS_GRADIENTS, Operand.REFERENCE, Operand.WEIGHTS},
    Method.PROXIMAL_STEP: set(Operand),
}


class SegmentOperator:
    """The call's method with the segment's regularizer, and the running figures."""

    def __init__(self, call: Call, segment: Segment) -> None:
        self._method = call.method
        self._segment = segment
        self._regularizer = segment.regularizer
        self._step_size = call.step_size if segment.step_size is None else segment.step_size
        self._tally = Tally(call.figures, call.method, segment.regularizer)

    def check_operands(self, operands: frozenset[Operand]) -> None:
        """Reject operands that the method or the regularizer does not take.

        Raises:
            OperandUnsupported: Naming the first.
        """
        for operand in Operand:
            if operand not in operands:
                continue
            taker = None
            if operand not in _METHOD_OPERANDS[self._method]:
                taker = self._method.value
            elif self._regularizer is not None and not _takes(self._regularizer.traits, operand):
                taker = self._regularizer.name
            if taker is not None:
                raise OperandUnsupported(
                    f"is not taken by {taker}", field=f"chunk.{operand.value}", segment=self._segment.name
                )

    def figures(self) -> Figures:
        """What was counted so far."""
        return self._tally.figures()

    def compute(self, piece: Chunk, position: int, out: FloatArray | None) -> None:
        """Compute the stretch that begins at ``position`` of the segment.

        Args:
            piece: Its elements, whose ends are such as the regularizer may be cut at.
            position: Position of its first element in the segment.
            out: Where the result goes; None for Method.PENALTY.
        """
        if self._method is Method.PENALTY or out is None:
            self._tally.count(piece.parameters)
            self._add_penalty(piece, piece.parameters, position)
        elif self._method is Method.GRADIENT:
            self._tally.count(piece.parameters)
            self._add_penalty(piece, piece.parameters, position)
            self._gradient(piece, position, out)
        else:
            # The figures need the old parameters beside the new ones.
            new = np.empty_like(out) if np.may_share_memory(out, piece.parameters) else out
            self._proximal_step(piece, position, new)
            self._tally.count(new)
            self._add_penalty(piece, new, position)
            self._tally.add_distance(new, piece.parameters, position)
            if new is not out:
                out[...] = new

    def _add_penalty(self, piece: Chunk, x: FloatArray, position: int) -> None:
        if self._regularizer is None:
            return
        regularizer = self._regularizer.restricted(position, position + x.size)
        if piece.reference is not None:
            x = x - piece.reference
        self._tally.add_penalty(regularizer, self._shaped(x), piece.weights, position)

    def _gradient(self, piece: Chunk, position: int, out: FloatArray) -> None:
        if self._regularizer is None:
            out[...] = 0 if piece.loss_gradients is None else piece.loss_gradients
            return
        x = piece.parameters if piece.reference is None else piece.parameters - piece.reference
        regularizer = self._regularizer.restricted(position, position + x.size)
        gradient = out if piece.loss_gradients is None else np.empty_like(out)
        try:
            regularizer.gradient(self._shaped(x), self._shaped(gradient))
        except GradientUndefined as error:
            error.segment = self._segment.name
            error.element = piece.element_offset + (error.element or 0)
            raise
        if piece.weights is not None:
            gradient *= piece.weights
        if piece.loss_gradients is not None:
            np.add(gradient, piece.loss_gradients, out=out)

    def _proximal_step(self, piece: Chunk, position: int, out: FloatArray) -> None:
        step_size: StepSize = self._step_size or 0.0
        if piece.step_scales is not None:
            step_size = step_size * piece.step_scales.astype(np.float64)
        v = piece.parameters
        if piece.loss_gradients is not None:
            np.multiply(piece.loss_gradients, step_size, out=out, casting="same_kind")
            v = np.subtract(v, out, out=out)
        if self._regularizer is None:
            out[...] = v
            return
        if piece.reference is not None:
            v = np.subtract(v, piece.reference, out=out)
        if piece.weights is not None:
            # The prox of w·f with step size γ is that of f with γ·w.
            step_size = step_size * piece.weights.astype(np.float64)
        regularizer = self._regularizer.restricted(position, position + v.size)
        regularizer.prox(self._shaped(v), step_size, self._shaped(out))
        if piece.reference is not None:
            out += piece.reference
            if regularizer.traits.indicator and regularizer.traits.separable:
                _settle_inside(regularizer, out, piece.reference)

    def _shaped(self, array: npt.NDArray[np.floating]) -> npt.NDArray[np.floating]:
        whole = self._segment.locality is Locality.SEGMENT
        return array.reshape(self._segment.shape) if whole else array


def _settle_inside(regularizer: Regularizer, out: FloatArray, reference: FloatArray) -> None:
    """Move elements by one unit in the last place where adding the reference rounded them out of the set."""
    moved = out - reference
    inside = np.empty_like(moved)
    regularizer.prox(moved, 0.0, inside)
    np.copyto(out, np.nextafter(out, reference), where=moved != inside)


def _takes(traits: Traits, operand: Operand) -> bool:
    if operand is Operand.WEIGHTS:
        return traits.takes_weights
    if operand is Operand.STEP_SCALES:
        return traits.takes_step_scales
    return True
