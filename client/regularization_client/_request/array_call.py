"""From the arguments of a caller to a call."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from regularization.wire import OPERANDS

from .._config import CallOptions
from .._errors import ArgumentError
from .arrays import AnyArray, Arrays, Structure
from .call import Call
from .header import Header
from .layout import Regularizers, StepSizes, layout_of
from .method import Method


def array_call(
    method: Method,
    parameters: Arrays,
    regularizer: Regularizers,
    operands: Mapping[str, Arrays | None],
    options: CallOptions,
    *,
    step_size: StepSizes | None = None,
    out: Arrays | None = None,
) -> tuple[Call, Any]:
    """Return the call that the arguments ask for, and the arrays of its results as the caller gets them.

    Raises:
        ArgumentError: If they do not fit together.
    """
    structure = Structure(parameters, options.get("part"))
    inputs = {"parameters": structure.arrays}
    for name in OPERANDS:
        if operands.get(name) is not None:
            inputs[name] = structure.operand(operands[name], name)
    results: Mapping[str, AnyArray] = structure.outputs(out) if method.has_results else {}
    _check_names(structure, regularizer, "regularizer")
    _check_names(structure, step_size, "step_size")
    layout = layout_of(structure.data_type, structure.shapes, regularizer, step_size)
    header = Header(method, layout, options, None if isinstance(step_size, Mapping) else step_size)
    call = Call(
        header,
        structure.data_type,
        structure.stretches(inputs, results),
        structure.element_range,
        results_may_alias=out is not None,
        scattered=structure.scattered,
    )
    return call, structure.restored(results) if method.has_results else None


def _check_names(structure: Structure, setting: object, what: str) -> None:
    if isinstance(setting, Mapping) and not structure.named:
        raise ArgumentError(f"{what} must not be a mapping where the parameters are one array without a name")
