"""One method on one segment: what is computed for a stretch of it that may be computed by itself.

This is where number formats change: elements come in the layout's data type, everything is
computed in float64, and each element of a result is rounded to the data type once.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ..errors import GradientUndefined, OperandUnsupported
from ..regularizer import Locality
from .call import Call, Chunk, ElementArray, Method, Operand
from .figures import Figures, Tally

if TYPE_CHECKING:
    from ..regularizer import Float64Array, Regularizer, StepSize, Traits
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
            refuser = None
            if operand not in _METHOD_OPERANDS[self._method]:
                refuser = self._method.value
            elif self._regularizer is not None and not _takes(self._regularizer.traits, operand):
                refuser = self._regularizer.name
            if refuser is not None:
                raise OperandUnsupported(
                    f"is not taken by {refuser}", field=f"chunk.{operand.value}", segment=self._segment.name
                )

    def figures(self) -> Figures:
        """What was counted so far."""
        return self._tally.figures()

    def compute(self, piece: Chunk, position: int, out: ElementArray | None) -> None:
        """Compute the stretch that begins at ``position`` of the segment.

        Args:
            piece: Its elements, whose ends are such as the regularizer may be cut at.
            position: Position of its first element in the segment.
            out: Where the result goes, in the layout's data type; None for Method.PENALTY. It may be the
                piece's own parameters.
        """
        regularizer = self._regularizer
        if regularizer is not None:
            regularizer = regularizer.restricted(position, position + piece.parameters.size)
        x = _wide(piece.parameters)
        if out is not None and np.may_share_memory(x, out):
            x = x.copy()
        if self._method is Method.PROXIMAL_STEP and out is not None:
            self._proximal_step(piece, x, regularizer, out)
            new = _wide(out)
            self._count(piece, new, regularizer, position)
            self._tally.add_distance(new, x, position)
            return
        self._count(piece, x, regularizer, position)
        if out is not None:
            self._gradient(piece, x, regularizer, out)

    def _count(self, piece: Chunk, x: Float64Array, regularizer: Regularizer | None, position: int) -> None:
        self._tally.count(x)
        if regularizer is not None:
            penalized = self._shaped(_less_reference(x, piece))
            weights = None if piece.weights is None else _wide(piece.weights)
            self._tally.add_penalty(regularizer, penalized, weights, position)

    def _gradient(
        self, piece: Chunk, x: Float64Array, regularizer: Regularizer | None, out: ElementArray
    ) -> None:
        gradient = np.zeros_like(x)
        if regularizer is not None:
            try:
                regularizer.gradient(self._shaped(_less_reference(x, piece)), self._shaped(gradient))
            except GradientUndefined as error:
                error.segment = self._segment.name
                error.element = piece.element_offset + (error.element or 0)
                raise
            if piece.weights is not None:
                gradient *= piece.weights
        if piece.loss_gradients is not None:
            gradient += piece.loss_gradients
        out[...] = gradient

    def _proximal_step(
        self, piece: Chunk, x: Float64Array, regularizer: Regularizer | None, out: ElementArray
    ) -> None:
        step_size: StepSize = self._step_size or 0.0
        if piece.step_scales is not None:
            step_size = step_size * _wide(piece.step_scales)
        v = x if piece.loss_gradients is None else x - step_size * _wide(piece.loss_gradients)
        if regularizer is None:
            out[...] = v
            return
        v = _less_reference(v, piece)
        if piece.weights is not None:
            # The prox of w·f with step size γ is that of f with γ·w.
            step_size = step_size * _wide(piece.weights)
        new = np.empty_like(v)
        regularizer.prox(self._shaped(v), step_size, self._shaped(new))
        if piece.reference is not None:
            new += piece.reference
        out[...] = new
        if piece.reference is not None and regularizer.traits.indicator and regularizer.traits.separable:
            _settle_inside(regularizer, out, piece.reference)

    def _shaped(self, array: Float64Array) -> Float64Array:
        whole = self._segment.locality is Locality.SEGMENT
        return array.reshape(self._segment.shape) if whole else array


def _wide(array: ElementArray) -> Float64Array:
    return array.astype(np.float64, copy=False)


def _less_reference(x: Float64Array, piece: Chunk) -> Float64Array:
    return x if piece.reference is None else x - piece.reference


def _settle_inside(regularizer: Regularizer, out: ElementArray, reference: ElementArray) -> None:
    """Move elements by one unit in the last place where adding the reference rounded them out of the set."""
    moved = _wide(out) - reference
    inside = np.empty_like(moved)
    regularizer.prox(moved, 0.0, inside)
    np.copyto(out, np.nextafter(out, reference), where=moved != inside)


def _takes(traits: Traits, operand: Operand) -> bool:
    if operand is Operand.WEIGHTS:
        return traits.takes_weights
    if operand is Operand.STEP_SCALES:
        return traits.takes_step_scales
    return True
