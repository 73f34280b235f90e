"""From the arguments of a call to its job."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import numpy as np
from google.protobuf.message import Message
from regularization.v1 import layout_pb2, summary_pb2
from regularization.v1 import regularization_service_pb2 as service

from regularization_client._config import CallOptions
from regularization_client._errors import ArgumentError
from regularization_client._exchange import GRADIENT, PENALTY, PROXIMAL_STEP
from regularization_client._job import Job
from regularization_client._messages import DATA_TYPES, wrap
from regularization_client._names import resolve
from regularization_client._structure import AnyArray, Arrays, Structure
from regularization_client._wire import OPERANDS

Regularizers: TypeAlias = Message | Mapping[str, Message | None] | None
"""A regularizer's message or None, for all; or by name or pattern."""

StepSizes: TypeAlias = float | Mapping[str, float]
"""A step size for all, or by name or pattern."""

_HEADERS: dict[
    str, type[service.PenaltyHeader] | type[service.GradientHeader] | type[service.ProximalStepHeader]
] = {
    PENALTY: service.PenaltyHeader,
    GRADIENT: service.GradientHeader,
    PROXIMAL_STEP: service.ProximalStepHeader,
}
_POLICIES = {
    "reject": service.NON_FINITE_POLICY_REJECT,
    "propagate": service.NON_FINITE_POLICY_PROPAGATE,
}
_FIGURES = tuple(summary_pb2.SummaryFigures.DESCRIPTOR.fields_by_name)


@dataclass(frozen=True, slots=True)
class Segment:
    """A named, shaped stretch of the vector, and what it is regularized with."""

    name: str
    shape: tuple[int, ...]
    regularizer: Message | None = None
    step_size: float | None = None


@dataclass(frozen=True, slots=True)
class ArrayCall:
    """A call over arrays."""

    job: Job
    structure: Structure
    results: dict[str, AnyArray] = field(default_factory=dict)
    """Where the call writes to."""
    out: dict[str, AnyArray] = field(default_factory=dict)
    """Where the results belong, if somewhere else."""

    def finished(self) -> Any:
        """Put the results where they belong, and return them in the structure of the parameters."""
        for name, array in self.out.items():
            if array is not self.results[name]:
                array[...] = self.results[name]
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
    arrays = {"parameters": structure.arrays}
    arrays |= {name: structure.operand(operands.get(name), name) for name in OPERANDS}
    targets = structure.outputs(out) if has_result else {}
    results = {name: _apart(array, arrays) for name, array in targets.items()} if out is not None else targets
    header = build_header(
        method,
        structure.data_type,
        _segments(structure, regularizer, step_size),
        options,
        step_size=None if isinstance(step_size, Mapping) else step_size,
        element_range=structure.element_range,
    )
    job = Job(method, header, structure.data_type, structure.stretches(arrays, results))
    return ArrayCall(job, structure, results, targets)


def build_header(
    method: str,
    data_type: np.dtype[Any],
    segments: list[Segment],
    options: CallOptions,
    *,
    step_size: float | None = None,
    element_range: tuple[int, int] | None = None,
) -> bytes:
    """Return the header of a method's first message, as bytes."""
    header = _HEADERS[method]()
    header.layout.data_type = DATA_TYPES[data_type]
    for segment in segments:
        header.layout.segments.append(_segment(segment))
    if element_range is not None:
        header.element_range.begin, header.element_range.end = element_range
        header.element_range.SetInParent()
    figures = options.get("figures")
    if figures is not None:
        _choose(header.figures, figures)
    policy = options.get("non_finite", "reject")
    if policy not in _POLICIES:
        raise ArgumentError(f"non_finite must be one of {', '.join(_POLICIES)}, got {policy!r}")
    header.non_finite_policy = _POLICIES[policy]
    if isinstance(header, service.ProximalStepHeader) and step_size is not None:
        header.step_size = step_size
    return header.SerializeToString()


def _segments(structure: Structure, regularizer: Regularizers, step_size: StepSizes | None) -> list[Segment]:
    names = list(structure.shapes)
    regularizers = _by_name(structure, regularizer, "regularizer")
    own_steps = _by_name(structure, step_size, "step_size") if isinstance(step_size, Mapping) else {}
    return [Segment(name, structure.shapes[name], regularizers[name], own_steps.get(name)) for name in names]


def _by_name(structure: Structure, setting: Any, what: str) -> dict[str, Any]:
    if not isinstance(setting, Mapping):
        return dict.fromkeys(structure.shapes, setting)
    if not structure.named:
        raise ArgumentError(f"{what} must not be a mapping where the parameters are one array without a name")
    return resolve(setting, structure.shapes, what)


def _segment(segment: Segment) -> layout_pb2.Segment:
    return layout_pb2.Segment(
        name=segment.name,
        shape=segment.shape,
        regularizer=wrap(segment.regularizer),
        step_size=segment.step_size,
    )


def _choose(message: summary_pb2.SummaryFigures, figures: Collection[str]) -> None:
    unknown = [name for name in figures if name not in _FIGURES]
    if isinstance(figures, str) or unknown:
        raise ArgumentError(f"figures must be a collection of {', '.join(_FIGURES)}, got {figures!r}")
    for name in _FIGURES:
        setattr(message, name, name in figures)


def _apart(output: AnyArray, inputs: Mapping[str, Mapping[str, AnyArray]]) -> AnyArray:
    """Return where to write an output: elsewhere, if that would change what a replay has to send again."""
    for arrays in inputs.values():
        if any(np.may_share_memory(output, array) for array in arrays.values()):
            return np.empty(output.shape, output.dtype)
    return output
