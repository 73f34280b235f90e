"""From the status of a call to the exception that stands for it."""

from __future__ import annotations

from typing import NamedTuple

import grpc
from google.protobuf import any_pb2
from google.protobuf.message import DecodeError, Message
from google.rpc import error_details_pb2, status_pb2  # type: ignore[import-untyped] # has none
from grpc_status import rpc_status
from regularization.v1.errors_pb2 import ErrorReason

from .. import _errors as errors

REGION_UNKNOWN = "ERROR_REASON_REGION_UNKNOWN"
"""The reason why memory is not the server's any more."""

SHUTTING_DOWN = "ERROR_REASON_SHUTTING_DOWN"
"""The reason of a server that takes no calls any more."""

TOO_MANY_CALLS = "ERROR_REASON_TOO_MANY_CALLS"
"""The reason of a server that has no room for a call: nothing of it was done."""

SHARED_MEMORY_UNAVAILABLE = "ERROR_REASON_SHARED_MEMORY_UNAVAILABLE"
"""The reason of a server that shares none."""

REQUEST_ID_TRAILER = "x-request-id"
"""Name of the trailer with the id that the server's log knows the call by."""

LONGEST_WAIT = 600.0
"""The most seconds that a server may ask to wait; beyond that its word is not taken."""

_LONGEST_ID = 64
_DOMAIN = "regularization.v1"
_MOST_ELEMENTS = 1 << 63
_LONGEST_INDEX = len(str(_MOST_ELEMENTS))

_BY_CODE: dict[grpc.StatusCode, type[errors.RegularizationError]] = {
    grpc.StatusCode.INVALID_ARGUMENT: errors.InvalidRequestError,
    grpc.StatusCode.OUT_OF_RANGE: errors.InvalidRequestError,
    grpc.StatusCode.FAILED_PRECONDITION: errors.GradientUndefinedError,
    grpc.StatusCode.RESOURCE_EXHAUSTED: errors.ResourceExhaustedError,
    grpc.StatusCode.UNAVAILABLE: errors.UnavailableError,
    grpc.StatusCode.DEADLINE_EXCEEDED: errors.DeadlineExceededError,
    grpc.StatusCode.UNAUTHENTICATED: errors.AuthenticationError,
    grpc.StatusCode.PERMISSION_DENIED: errors.AuthenticationError,
    grpc.StatusCode.UNIMPLEMENTED: errors.UnimplementedError,
}

_BY_REASON: dict[str | None, type[errors.RegularizationError]] = {
    REGION_UNKNOWN: errors.SharedMemoryError,
    "ERROR_REASON_REGION_RANGE_INVALID": errors.SharedMemoryError,
    "ERROR_REASON_REGION_OVERLAP": errors.SharedMemoryError,
    SHARED_MEMORY_UNAVAILABLE: errors.SharedMemoryError,
    "ERROR_REASON_PLAN_CHANGED": errors.InvalidRequestError,
}


_TEXTS: dict[str | None, str] = {
    "ERROR_REASON_TOKEN_MISSING": "the server asks for a token: give --token (in Python: token=…)",
    "ERROR_REASON_TOKEN_REFUSED": "the server does not accept the token: it is wrong, or not valid any more",
}
"""What is said in place of the server's words: what to do here."""


class _Details(NamedTuple):
    """What the status's details say, apart from its text."""

    reason: str | None
    metadata: dict[str, str]
    field: str | None
    retry_after: float | None


def from_call(call: grpc.RpcError) -> errors.RegularizationError:
    """Return the exception for a failed call; raise it ``from`` the call, which keeps the cause.

    Args:
        call: What grpc raised. It is the call too, and has its code, text and trailing metadata.
    """
    assert isinstance(call, grpc.Call)  # noqa: S101 - grpc raises its own calls, and its types do not say so
    code, told = call.code(), call.details() or ""
    details = _parse(_status(call))
    if details.reason is None:
        reason, told = _reason_in(told)
        details = details._replace(reason=reason)
    text = _TEXTS.get(details.reason) or told or "the server gave no further information"
    figures = dict(details.metadata)
    field = figures.pop("field", None)
    element = figures.pop("element", None)
    kind = _BY_REASON.get(details.reason) or _BY_CODE.get(code, errors.InternalError)
    return kind(
        text,
        code=code,
        reason=details.reason,
        field=details.field or field,
        segment=figures.pop("segment", None),
        element=_index(element),
        request_id=_request_id(figures.pop("request_id", None), call),
        metadata=figures,
        retry_after=details.retry_after,
    )


def _status(call: grpc.Call) -> status_pb2.Status | None:
    """Return the rich status, or None where the call has none, or bytes that are none, or contradicts it."""
    try:
        return rpc_status.from_call(call)
    except (ValueError, DecodeError):
        return None


def _parse(status: status_pb2.Status | None) -> _Details:
    reason, metadata, field, retry_after = None, {}, None, None
    for detail in status.details if status is not None else ():
        information, request = error_details_pb2.ErrorInfo(), error_details_pb2.BadRequest()
        retry = error_details_pb2.RetryInfo()
        if _unpacked(detail, information) and information.domain == _DOMAIN:
            reason, metadata = information.reason or None, dict(information.metadata)
        elif _unpacked(detail, request) and request.field_violations:
            field = request.field_violations[0].field
        elif _unpacked(detail, retry):
            retry_after = _wait_of(retry)
    return _Details(reason, metadata, field, retry_after)


def _reason_in(text: str) -> tuple[str | None, str]:
    """Divide a text that begins with a reason: so a server says it that has no room for details."""
    name, colon, rest = text.partition(": ")
    return (name, rest) if colon and name in ErrorReason.DESCRIPTOR.values_by_name else (None, text)


def _wait_of(retry: error_details_pb2.RetryInfo) -> float | None:
    """Return the seconds to wait, if they are some that anybody would wait."""
    seconds = retry.retry_delay.seconds + retry.retry_delay.nanos / 1e9
    return seconds if 0 <= seconds <= LONGEST_WAIT else None


def _unpacked(detail: any_pb2.Any, into: Message) -> bool:
    """Whether a detail is such a message, and can be read as one."""
    try:
        return detail.Unpack(into)
    except DecodeError:
        return False


def _request_id(told: str | None, call: grpc.Call) -> str | None:
    """Return the id that the details tell, or else the trailers, if it is short."""
    if told is None:
        trailers = call.trailing_metadata() or ()
        told = next((str(value) for name, value in trailers if name == REQUEST_ID_TRAILER), None)
    return told if told is not None and 0 < len(told) <= _LONGEST_ID and told.isprintable() else None


def _index(text: str | None) -> int | None:
    """Return the index of an element, if the text is one."""
    if text is None or not text.isdecimal() or len(text) > _LONGEST_INDEX:
        return None
    number = int(text)
    return number if number < _MOST_ELEMENTS else None
