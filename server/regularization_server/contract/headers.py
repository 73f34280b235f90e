"""From a stream's header to the engine's call, with the path of every field at fault."""

from __future__ import annotations

from contextlib import nullcontext
from typing import TYPE_CHECKING

import regularization_kernels
from regularization.v1 import layout_pb2, regularization_service_pb2
from regularization_kernels import engine
from regularization_kernels.engine import (
    Call,
    FigureChoice,
    Joint,
    Layout,
    Measurement,
    Method,
    Round,
    Rounding,
    RoundingMode,
    Segment,
)
from regularization_kernels.errors import DataTypeUnsupported, FieldMissing, FieldOutOfRange

from .binding import construct, regularizer_of, within
from .planned import planned_layout
from .refusals import PlanInvalid

if TYPE_CHECKING:
    from collections.abc import Callable

    from regularization.v1.regularizers_pb2 import Regularizer as RegularizerMessage
    from regularization_kernels.arrays import DataType
    from regularization_kernels.regularizer import Regularizer

    from .header_bytes import HeaderMessage as Header
    from .header_bytes import ReadHeader
    from .planned import PlannedLayout

DATA_TYPES: dict[layout_pb2.DataType.ValueType, DataType] = {
    layout_pb2.DataType.Value(f"DATA_TYPE_{engine.contract_name(data_type)}"): data_type
    for data_type in engine.DATA_TYPES
}
"""What is computed, by the contract's data type."""

ROUNDING_MODES = {
    layout_pb2.ROUNDING_MODE_UNSPECIFIED: RoundingMode.NEAREST_EVEN,
    layout_pb2.ROUNDING_MODE_NEAREST_EVEN: RoundingMode.NEAREST_EVEN,
    layout_pb2.ROUNDING_MODE_STOCHASTIC: RoundingMode.STOCHASTIC,
}
"""How results are rounded, by the contract's mode."""

PROPAGATES = {
    regularization_service_pb2.NON_FINITE_POLICY_UNSPECIFIED: False,
    regularization_service_pb2.NON_FINITE_POLICY_REJECT: False,
    regularization_service_pb2.NON_FINITE_POLICY_PROPAGATE: True,
}
"""Whether NaN and infinities are computed with, by the contract's policy."""


HEADERS: dict[Method, type[Header]] = {
    Method.PENALTY: regularization_service_pb2.PenaltyHeader,
    Method.GRADIENT: regularization_service_pb2.GradientHeader,
    Method.PROXIMAL_STEP: regularization_service_pb2.ProximalStepHeader,
}
"""The header of each method."""

METHODS = {regularization_service_pb2.Method.Value(f"METHOD_{method.name}"): method for method in Method}
"""What a vector is measured for, by the contract's method."""

_SEGMENTS_BETWEEN_CHECKS = 256

_SMALL_REGULARIZER = 128
"""Bytes of a regularizer's message up to which it is looked for among those before it."""


def call_of(
    header: ReadHeader,
    method: Method,
    check: Callable[[], None] = lambda: None,
    planned: PlannedLayout | None = None,
) -> Call:
    """The engine's call that a header describes.

    Args:
        header: The header, of which segments and joint regularizers are gone through.
        method: The method.
        check: Called now and then; what it raises ends this.
        planned: What its plan makes of the segments, where it has one and that is known; None finds out.

    Raises:
        RegularizationError: With the path of the field at fault, if the header breaks a rule.
    """
    message = header.message
    planned = planned or planned_layout(header, check)
    with within("header"):
        element_range = _element_range(message)
        if not message.measurement:
            return _call(header, method, element_range, check, planned)
        call = _call(header, method, None, check, planned)
        return Measurement.read(call, message.measurement).applied(element_range)


def round_of(
    header: ReadHeader, check: Callable[[], None] = lambda: None, planned: PlannedLayout | None = None
) -> Round:
    """The round that a header of ``Measure`` or ``Combine`` describes.

    Args:
        header: The header, of which the segments are gone through.
        check: Called now and then; what it raises ends this.
        planned: See ``call_of``.

    Raises:
        RegularizationError: With the path of the field at fault, if the header breaks a rule.
    """
    message = header.message
    planned = planned or planned_layout(header, check)
    with within("header"):
        call = _call(header, _method(message), None, check, planned)
        return Round.after(Measurement.read(call, message.measurement))


def range_of(header: ReadHeader) -> tuple[int, int] | None:
    """The range of elements that a header describes; None for all."""
    return _element_range(header.message)


def _call(
    header: ReadHeader,
    method: Method,
    element_range: tuple[int, int] | None,
    check: Callable[[], None],
    planned: PlannedLayout | None,
) -> Call:
    message = header.message
    with nullcontext() if planned is None else planned.telling_rules():
        return Call(
            method=method,
            layout=_layout(header, check) if planned is None else _planned(header, check, planned),
            element_range=element_range,
            step_size=_step_size(message, method),
            figures=construct(FigureChoice, message.figures),
            propagate_non_finite=propagates(message),
            rounding=_rounding(message, method),
        )


def _method(header: Header) -> Method:
    if header.method == regularization_service_pb2.METHOD_UNSPECIFIED:
        raise FieldMissing("is required and unset", field="method")
    if header.method not in METHODS:
        known = ", ".join(map(regularization_service_pb2.Method.Name, METHODS))
        raise FieldOutOfRange(f"must be one of {known}, got {header.method}", field="method")
    return METHODS[header.method]


def _layout(header: ReadHeader, check: Callable[[], None]) -> Layout:
    if header.layout is not None:
        return header.layout
    if not header.message.HasField("layout"):
        raise FieldMissing("is required and unset", field="layout")
    with within("layout"):
        data_type = data_type_of(header.message.layout)
        segments = []
        regularizers = _Regularizers()
        for index, message in enumerate(header.segments):
            if index % _SEGMENTS_BETWEEN_CHECKS == 0:
                check()
            segments.append(_segment(index, message, regularizers))
        joints = tuple(_joint(index, message) for index, message in enumerate(header.joints))
        return Layout(data_type, tuple(segments), joints)


def _planned(header: ReadHeader, check: Callable[[], None], planned: PlannedLayout) -> Layout:
    with within("layout"):
        for _ in header.joints:
            raise PlanInvalid("must be unset where there is planned", field="joints")
        return planned.layout(data_type_of(header.message.layout), header.segments, check)


def _joint(index: int, message: layout_pb2.JointRegularizer) -> Joint:
    with within(f"joints[{index}]"):
        if not message.HasField("regularizer"):
            raise FieldMissing("is required and unset", field="regularizer")
        with within("regularizer"):
            regularizer = regularizer_of(message.regularizer)
        step_size = message.step_size if message.HasField("step_size") else None
        return Joint(message.name, regularizer, step_size)


def data_type_of(layout: Header) -> DataType:
    """The data type that a layout, or another message with one, chooses.

    Raises:
        FieldMissing: If it chooses none.
        DataTypeUnsupported: If it is not one that is computed.
    """
    if layout.data_type == layout_pb2.DATA_TYPE_UNSPECIFIED:
        raise FieldMissing("is required and unset", field="data_type")
    if layout.data_type not in DATA_TYPES:
        known = ", ".join(map(layout_pb2.DataType.Name, DATA_TYPES))
        raise DataTypeUnsupported(f"must be one of {known}, got {layout.data_type}", field="data_type")
    return DATA_TYPES[layout.data_type]


class _Regularizers:
    """The regularizers of a layout, equal messages once: most layouts have a few for all segments."""

    def __init__(self) -> None:
        self._known: dict[bytes, Regularizer] = {}

    def of(self, message: RegularizerMessage) -> Regularizer:
        """The regularizer that a message chooses."""
        if message.ByteSize() > _SMALL_REGULARIZER:
            return regularizer_of(message)
        raw = message.SerializeToString()
        found = self._known.get(raw)
        if found is None:
            found = self._known[raw] = regularizer_of(message)
        return found


def _segment(index: int, message: layout_pb2.Segment, regularizers: _Regularizers) -> Segment:
    with within(f"segments[{index}]", segment=message.name):
        regularizer = None
        if message.HasField("regularizer"):
            with within("regularizer"):
                regularizer = regularizers.of(message.regularizer)
        box = None
        if message.HasField("box"):
            with within("box"):
                box = construct(regularization_kernels.Box, message.box)
        step_size = message.step_size if message.HasField("step_size") else None
        smoothing = message.smoothing if message.HasField("smoothing") else None
        joint = message.joint if message.HasField("joint") else None
        shape, keeps_zeros = tuple(message.shape), message.keeps_zeros
        return Segment(message.name, shape, regularizer, step_size, box, smoothing, joint, keeps_zeros)


def _element_range(header: Header) -> tuple[int, int] | None:
    if not header.HasField("element_range"):
        return None
    return header.element_range.begin, header.element_range.end


def _step_size(header: Header, method: Method) -> float | None:
    if method is not Method.PROXIMAL_STEP:
        return None
    return header.step_size if header.HasField("step_size") else None


def _rounding(header: Header, method: Method) -> Rounding:
    if method is Method.PENALTY or not header.HasField("rounding"):
        return Rounding()
    with within("rounding"):
        message = header.rounding
        if message.mode not in ROUNDING_MODES:
            known = ", ".join(map(layout_pb2.RoundingMode.Name, ROUNDING_MODES))
            raise FieldOutOfRange(f"must be one of {known}, got {message.mode}", field="mode")
        seed = message.seed if message.HasField("seed") else None
        return Rounding(ROUNDING_MODES[message.mode], seed)


def propagates(header: Header) -> bool:
    """Whether a call computes with NaN and infinities.

    Raises:
        FieldOutOfRange: If its policy is not one that is known.
    """
    if header.non_finite_policy not in PROPAGATES:
        known = ", ".join(map(regularization_service_pb2.NonFinitePolicy.Name, PROPAGATES))
        text = f"must be one of {known}, got {header.non_finite_policy}"
        raise FieldOutOfRange(text, field="non_finite_policy")
    return PROPAGATES[header.non_finite_policy]
