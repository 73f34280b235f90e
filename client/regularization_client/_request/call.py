"""From the arguments of a call to its job."""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from itertools import accumulate
from typing import Any

import numpy as np
from regularization.wire import OPERANDS

from .._config import CallOptions
from .._errors import ArgumentError
from .arrays import AnyArray, Arrays, Structure
from .expected import Expected
from .header import Header, Regularizers, StepSizes, known_layout_bytes
from .job import Job


@dataclass(frozen=True, slots=True)
class ArrayCall:
    """A call over arrays."""

    header: Header
    structure: Structure
    regularizer: Regularizers
    inputs: Mapping[str, Mapping[str, AnyArray]]
    """Arrays by name, by field of TensorChunk in the schema's order, "parameters" first."""
    out: Mapping[str, AnyArray] = field(default_factory=dict)
    """Where the results belong; empty for a call that has none."""
    given_out: bool = False
    """Whether that is where the caller said."""

    def job(self) -> tuple[Job, Mapping[str, AnyArray]]:
        """Return the call with its elements in chunks, and the arrays that it writes to."""
        results = _apart(self.out, self.inputs) if self.given_out else self.out
        stretches = self.structure.stretches(self.inputs, results)
        header = self.header.to_bytes(self.structure.element_range)
        data_type = self.structure.data_type
        return Job(self.header.method, header, data_type, stretches, self.expected()), results

    def expected(self) -> Expected:
        """Return what the summary of the answer must say."""
        return Expected.of_layout(
            {name: math.prod(shape) for name, shape in self.structure.shapes.items()},
            self.header.figures,
            self.structure.element_range,
        )

    def finished(self) -> Any:
        """Return the results in the structure of the parameters."""
        return self.structure.restored(self.out)


def array_call(
    method: str,
    parameters: Arrays,
    regularizer: Regularizers,
    operands: Mapping[str, Arrays | None],
    options: CallOptions,
    *,
    step_size: StepSizes | None = None,
    out: Arrays | None = None,
    has_result: bool = True,
) -> ArrayCall:
    """Return the call that the arguments ask for.

    Raises:
        ArgumentError: If they do not fit together.
    """
    structure = Structure(parameters, options.get("part"))
    inputs = {"parameters": structure.arrays}
    for name in OPERANDS:
        if operands.get(name) is not None:
            inputs[name] = structure.operand(operands[name], name)
    targets = structure.outputs(out) if has_result else {}
    _check_names(structure, regularizer, "regularizer")
    _check_names(structure, step_size, "step_size")
    layout = known_layout_bytes(structure.data_type, structure.shapes, regularizer, step_size)
    header = Header(method, layout, options, None if isinstance(step_size, Mapping) else step_size)
    return ArrayCall(header, structure, regularizer, inputs, targets, given_out=out is not None)


def _check_names(structure: Structure, setting: object, what: str) -> None:
    if isinstance(setting, Mapping) and not structure.named:
        raise ArgumentError(f"{what} must not be a mapping where the parameters are one array without a name")


def _apart(
    outputs: Mapping[str, AnyArray], inputs: Mapping[str, Mapping[str, AnyArray]]
) -> dict[str, AnyArray]:
    """Return where to write outputs: elsewhere, where that would change what a replay has to send again."""
    taken = _Bounds(array for arrays in inputs.values() for array in arrays.values())
    return {
        name: np.empty(array.shape, array.dtype) if taken.overlap(array) else array
        for name, array in outputs.items()
    }


class _Bounds:
    """Where in memory arrays lie, to find in short time what overlaps one of them."""

    def __init__(self, arrays: Iterable[AnyArray]) -> None:
        bounds = sorted(np.lib.array_utils.byte_bounds(array) for array in arrays)
        self._begins = [begin for begin, _ in bounds]
        # The furthest end of all that begin no later.
        self._ends = list(accumulate((end for _, end in bounds), max))

    def overlap(self, array: AnyArray) -> bool:
        begin, end = np.lib.array_utils.byte_bounds(array)
        before = bisect_left(self._begins, end)
        return before > 0 and self._ends[before - 1] > begin
