"""From an error to its status: one flat table, and the only place that chooses codes."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import grpc
from google.protobuf import any_pb2
from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import Message
from google.rpc import error_details_pb2, status_pb2  # type: ignore[import-untyped] # has none
from grpc_status import rpc_status
from regularization.v1 import errors_pb2
from regularization.v1.errors_pb2 import ErrorReason
from regularization_kernels import errors
from regularization_kernels.errors import RegularizationError

from ..observability.request_ids import HEADER
from . import refusals
from .retries import seconds_to_wait

DOMAIN = "regularization.v1"
"""The domain of every ``ErrorInfo``."""

REQUEST_ID = "request_id"
"""The key of a request's id in the metadata of every ``ErrorInfo``."""

INVALID = grpc.StatusCode.INVALID_ARGUMENT

STATUSES: dict[type[Exception], tuple[grpc.StatusCode, ErrorReason.ValueType]] = {
    errors.FieldMissing: (INVALID, errors_pb2.ERROR_REASON_FIELD_MISSING),
    errors.FieldOutOfRange: (INVALID, errors_pb2.ERROR_REASON_FIELD_OUT_OF_RANGE),
    errors.DataTypeUnsupported: (INVALID, errors_pb2.ERROR_REASON_DATA_TYPE_UNSUPPORTED),
    errors.LayoutInvalid: (INVALID, errors_pb2.ERROR_REASON_LAYOUT_INVALID),
    errors.JointInvalid: (INVALID, errors_pb2.ERROR_REASON_JOINT_INVALID),
    errors.GroupsInvalid: (INVALID, errors_pb2.ERROR_REASON_GROUPS_INVALID),
    errors.ElementRangeInvalid: (INVALID, errors_pb2.ERROR_REASON_ELEMENT_RANGE_INVALID),
    errors.ChunkOutOfOrder: (INVALID, errors_pb2.ERROR_REASON_CHUNK_OUT_OF_ORDER),
    errors.StreamTooShort: (INVALID, errors_pb2.ERROR_REASON_STREAM_TOO_SHORT),
    errors.StreamTooLong: (INVALID, errors_pb2.ERROR_REASON_STREAM_TOO_LONG),
    errors.OperandSizeMismatch: (INVALID, errors_pb2.ERROR_REASON_OPERAND_SIZE_MISMATCH),
    errors.OperandUnsupported: (INVALID, errors_pb2.ERROR_REASON_OPERAND_UNSUPPORTED),
    errors.OperandInconsistent: (INVALID, errors_pb2.ERROR_REASON_OPERAND_INCONSISTENT),
    errors.OperandOutOfRange: (INVALID, errors_pb2.ERROR_REASON_OPERAND_OUT_OF_RANGE),
    errors.ValueNotFinite: (INVALID, errors_pb2.ERROR_REASON_VALUE_NOT_FINITE),
    errors.GradientUndefined: (
        grpc.StatusCode.FAILED_PRECONDITION,
        errors_pb2.ERROR_REASON_GRADIENT_UNDEFINED,
    ),
    errors.MethodUnsupported: (INVALID, errors_pb2.ERROR_REASON_METHOD_UNSUPPORTED),
    errors.ModifierUnsupported: (INVALID, errors_pb2.ERROR_REASON_MODIFIER_UNSUPPORTED),
    errors.MeasurementInvalid: (INVALID, errors_pb2.ERROR_REASON_MEASUREMENT_INVALID),
    errors.MeasurementIncomplete: (INVALID, errors_pb2.ERROR_REASON_MEASUREMENT_INCOMPLETE),
    errors.StatisticsInvalid: (INVALID, errors_pb2.ERROR_REASON_STATISTICS_INVALID),
    errors.StatisticsOverlap: (INVALID, errors_pb2.ERROR_REASON_STATISTICS_OVERLAP),
    errors.BudgetExceeded: (grpc.StatusCode.RESOURCE_EXHAUSTED, errors_pb2.ERROR_REASON_BUDGET_EXCEEDED),
    refusals.MessageUnreadable: (INVALID, errors_pb2.ERROR_REASON_MESSAGE_UNREADABLE),
    refusals.FieldUnknown: (INVALID, errors_pb2.ERROR_REASON_FIELD_UNKNOWN),
    refusals.HeaderMissing: (INVALID, errors_pb2.ERROR_REASON_HEADER_MISSING),
    refusals.HeaderRepeated: (INVALID, errors_pb2.ERROR_REASON_HEADER_REPEATED),
    refusals.RegularizerUnknown: (INVALID, errors_pb2.ERROR_REASON_REGULARIZER_UNKNOWN),
    refusals.PlanInvalid: (INVALID, errors_pb2.ERROR_REASON_PLAN_INVALID),
    refusals.PlanNameUnmatched: (INVALID, errors_pb2.ERROR_REASON_PLAN_NAME_UNMATCHED),
    refusals.PlanRuleUnmatched: (INVALID, errors_pb2.ERROR_REASON_PLAN_RULE_UNMATCHED),
    refusals.PlanUnknown: (INVALID, errors_pb2.ERROR_REASON_PLAN_UNKNOWN),
    refusals.PlanChanged: (grpc.StatusCode.FAILED_PRECONDITION, errors_pb2.ERROR_REASON_PLAN_CHANGED),
    refusals.ScheduleUnknown: (INVALID, errors_pb2.ERROR_REASON_SCHEDULE_UNKNOWN),
    refusals.StoppingRuleUnknown: (INVALID, errors_pb2.ERROR_REASON_STOPPING_RULE_UNKNOWN),
    refusals.TransformationUnknown: (INVALID, errors_pb2.ERROR_REASON_TRANSFORMATION_UNKNOWN),
    refusals.ChunkSizeInvalid: (INVALID, errors_pb2.ERROR_REASON_CHUNK_SIZE_INVALID),
    refusals.SummaryTooLarge: (INVALID, errors_pb2.ERROR_REASON_SUMMARY_TOO_LARGE),
    refusals.TokenMissing: (grpc.StatusCode.UNAUTHENTICATED, errors_pb2.ERROR_REASON_TOKEN_MISSING),
    refusals.TokenRefused: (grpc.StatusCode.UNAUTHENTICATED, errors_pb2.ERROR_REASON_TOKEN_REFUSED),
    refusals.TooManyCalls: (grpc.StatusCode.RESOURCE_EXHAUSTED, errors_pb2.ERROR_REASON_TOO_MANY_CALLS),
    refusals.StreamIdle: (grpc.StatusCode.DEADLINE_EXCEEDED, errors_pb2.ERROR_REASON_STREAM_IDLE),
    refusals.CallTooLong: (grpc.StatusCode.DEADLINE_EXCEEDED, errors_pb2.ERROR_REASON_CALL_TOO_LONG),
    refusals.TooManyEmptyMessages: (INVALID, errors_pb2.ERROR_REASON_TOO_MANY_EMPTY_MESSAGES),
    refusals.ShuttingDown: (grpc.StatusCode.UNAVAILABLE, errors_pb2.ERROR_REASON_SHUTTING_DOWN),
    refusals.RegionUnknown: (INVALID, errors_pb2.ERROR_REASON_REGION_UNKNOWN),
    refusals.RegionRangeInvalid: (INVALID, errors_pb2.ERROR_REASON_REGION_RANGE_INVALID),
    refusals.RegionOverlap: (INVALID, errors_pb2.ERROR_REASON_REGION_OVERLAP),
    refusals.SharedMemoryUnavailable: (
        grpc.StatusCode.FAILED_PRECONDITION,
        errors_pb2.ERROR_REASON_SHARED_MEMORY_UNAVAILABLE,
    ),
}
"""Code and reason of every error; what is not here is a fault of the server."""

INTERNAL = (grpc.StatusCode.INTERNAL, errors_pb2.ERROR_REASON_INTERNAL)

FAULT = "a fault of the server; its log has the details"
"""All that a client learns of it."""

# Metadata must stay below 8 KiB. The text travels three times, once percent-encoded (three bytes for one) and
# twice in base64 (four for three); names are in base64.
_TEXT_BYTES = 768
_NAME_BYTES = 256


@dataclass(frozen=True)
class Failure:
    """How a call failed, for the client and for the log."""

    code: grpc.StatusCode
    reason: str
    text: str
    """Rule, value and place, for the client: a caller's names and values may be in it."""
    place: dict[str, str]
    """For the log: the path of the field at fault, the element, and figures; nothing that a caller named."""
    status: grpc.Status


def failure_of(error: Exception, request_id: str) -> Failure:
    """How a call fails that ``error`` ends; of a fault of the server the client learns its id alone.

    Args:
        error: The error.
        request_id: What the log knows the call by.
    """
    code, reason = STATUSES.get(type(error), INTERNAL)
    if isinstance(error, RegularizationError) and type(error) in STATUSES:
        text, metadata, field = clipped(str(error), _TEXT_BYTES), _metadata(error), error.field
    else:
        text, metadata, field = f"{FAULT} of request {request_id}", {}, None
    place = {name: value for name, value in metadata.items() if name != "segment"}
    metadata[REQUEST_ID] = request_id
    name = ErrorReason.Name(reason)
    details: list[Message] = [error_details_pb2.ErrorInfo(reason=name, domain=DOMAIN, metadata=metadata)]
    if field is not None:
        violation = error_details_pb2.BadRequest.FieldViolation(
            field=clipped(field, _NAME_BYTES), description=text
        )
        details.append(error_details_pb2.BadRequest(field_violations=[violation]))
    seconds = seconds_to_wait(error)
    if seconds is not None:
        delay = Duration()
        delay.FromNanoseconds(round(seconds * 1e9))
        details.append(error_details_pb2.RetryInfo(retry_delay=delay))
    return Failure(code, name, text, place, _status(code, text, details, request_id))


def clipped(text: str, size: int) -> str:
    """The text, or as much of its beginning as fits ``size`` bytes of UTF-8 with an ellipsis."""
    raw = text.encode()
    if len(raw) <= size:
        return text
    ellipsis = "…"
    return raw[: size - len(ellipsis.encode())].decode(errors="ignore") + ellipsis


def _metadata(error: RegularizationError) -> dict[str, str]:
    place = {"field": error.field, "segment": error.segment, "element": error.element}
    figures = {**place, **error.metadata}
    return {name: clipped(str(value), _NAME_BYTES) for name, value in figures.items() if value is not None}


def _status(code: grpc.StatusCode, text: str, details: Iterable[Message], request_id: str) -> grpc.Status:
    packed = []
    for detail in details:
        packed.append(any_pb2.Any())
        packed[-1].Pack(detail)
    status = rpc_status.to_status(status_pb2.Status(code=code.value[0], message=text, details=packed))
    # The trailers of a call that fails are those of its status alone.
    with_id: grpc.Status = status._replace(
        trailing_metadata=(*status.trailing_metadata, (HEADER, request_id))
    )
    return with_id
