"""The stretches of a vector that come in and go out."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from ..arrays import ElementArray
from ..formats import fraction_bits, numbers_of
from .methods import Operand

_OPERANDS = {operand.value: operand for operand in Operand}


@dataclass(frozen=True, slots=True)
class Chunk:
    """A stretch of the parameters, with the operands of the same elements; arrays of one axis."""

    element_offset: int
    parameters: ElementArray
    loss_gradients: ElementArray | None = None
    reference: ElementArray | None = None
    weights: ElementArray | None = None
    step_scales: ElementArray | None = None

    @property
    def end(self) -> int:
        """One past its last element, in the vector."""
        return self.element_offset + self.parameters.size

    @property
    def operands(self) -> frozenset[Operand]:
        """Which operands it has."""
        return frozenset([operand for name, operand in _OPERANDS.items() if getattr(self, name) is not None])

    def arrays(self) -> dict[str, ElementArray]:
        """Parameters and the operands it has, by name."""
        arrays = {name: array for name in _OPERANDS if (array := getattr(self, name)) is not None}
        return {"parameters": self.parameters, **arrays}

    def with_operands_as_numbers(self) -> Chunk:
        """The same chunk; of operands in fixed point it has the numbers that they stand for."""
        if fraction_bits(self.parameters.dtype) is None:
            return self
        numbers: dict[str, Any] = {
            operand.value: numbers_of(getattr(self, operand.value)) for operand in self.operands
        }
        return replace(self, **numbers)

    def with_operands_apart_from(self, out: ElementArray) -> Chunk:
        """The same chunk; of operands that lie where ``out`` does it has copies."""
        inside = {
            operand.value: getattr(self, operand.value).copy()
            for operand in self.operands
            if np.may_share_memory(getattr(self, operand.value), out)
        }
        return replace(self, **inside) if inside else self

    def copied(self) -> Chunk:
        """The same chunk in memory of its own."""
        return Chunk(self.element_offset, **{name: array.copy() for name, array in self.arrays().items()})

    @property
    def nbytes(self) -> int:
        """Bytes of all its arrays."""
        return sum(array.nbytes for array in self.arrays().values())

    def part(self, begin: int, end: int) -> Chunk:
        """Its elements from ``begin`` to ``end`` of the vector, without a copy."""
        if (begin, end) == (self.element_offset, self.end):
            return self
        cut = slice(begin - self.element_offset, end - self.element_offset)
        return Chunk(begin, **{name: array[cut] for name, array in self.arrays().items()})


@dataclass(frozen=True, slots=True)
class ResultChunk:
    """The result for the elements of one chunk."""

    element_offset: int
    values: ElementArray
