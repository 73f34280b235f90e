from __future__ import annotations

from typing import TYPE_CHECKING

import grpc
import pytest
from google.rpc import error_details_pb2, status_pb2  # type: ignore[import-untyped]
from regularization.v1.errors_pb2 import ErrorReason
from regularization_kernels import errors
from regularization_kernels.errors import RegularizationError
from regularization_server.contract import refusals
from regularization_server.contract.statuses import STATUSES, clipped, failure_of

from tests.support.messages import answers, chunk, good_call, header, request

if TYPE_CHECKING:
    from regularization_server import Server


def classes_of(module: object) -> set[type[Exception]]:
    """The error classes that a module defines, less the root of the tree."""
    return {
        value
        for value in vars(module).values()
        if isinstance(value, type)
        and issubclass(value, RegularizationError)
        and value is not RegularizationError
    }


def camel_case(reason: str) -> str:
    """The name of the class that a reason has."""
    return "".join(word.capitalize() for word in reason.removeprefix("ERROR_REASON_").split("_"))


def test_every_error_has_its_status() -> None:
    """The table has a row for each error class of the kernels and of the transport, and no other."""
    assert set(STATUSES) == classes_of(errors) | classes_of(refusals)


def test_every_reason_has_its_error() -> None:
    """Each reason of the contract belongs to the error class of its name, but for the server's own faults."""
    given = {ErrorReason.Name(reason): cls.__name__ for cls, (_, reason) in STATUSES.items()}
    reasons = set(ErrorReason.keys()) - {"ERROR_REASON_UNSPECIFIED", "ERROR_REASON_INTERNAL"}
    assert given == {reason: camel_case(reason) for reason in reasons}


def test_codes_are_those_of_the_contract() -> None:
    """Each reason goes with the code that its comment in the schema names."""
    other = {
        "ERROR_REASON_GRADIENT_UNDEFINED": grpc.StatusCode.FAILED_PRECONDITION,
        "ERROR_REASON_BUDGET_EXCEEDED": grpc.StatusCode.RESOURCE_EXHAUSTED,
        "ERROR_REASON_STREAM_IDLE": grpc.StatusCode.DEADLINE_EXCEEDED,
        "ERROR_REASON_CALL_TOO_LONG": grpc.StatusCode.DEADLINE_EXCEEDED,
        "ERROR_REASON_SHUTTING_DOWN": grpc.StatusCode.UNAVAILABLE,
        "ERROR_REASON_TOKEN_MISSING": grpc.StatusCode.UNAUTHENTICATED,
        "ERROR_REASON_TOKEN_REFUSED": grpc.StatusCode.UNAUTHENTICATED,
        "ERROR_REASON_TOO_MANY_CALLS": grpc.StatusCode.RESOURCE_EXHAUSTED,
        "ERROR_REASON_SHARED_MEMORY_UNAVAILABLE": grpc.StatusCode.FAILED_PRECONDITION,
        "ERROR_REASON_PLAN_CHANGED": grpc.StatusCode.FAILED_PRECONDITION,
    }
    for code, reason in STATUSES.values():
        assert code is other.get(ErrorReason.Name(reason), grpc.StatusCode.INVALID_ARGUMENT)


@pytest.mark.parametrize("letter", ["a", "é", "€", "𝄞", "\n"])
@pytest.mark.parametrize("error", [errors.LayoutInvalid, errors.BudgetExceeded])
def test_metadata_stays_small(letter: str, error: type[RegularizationError]) -> None:
    """Whatever an error names, its message and details stay below 8 KiB on the wire."""
    huge = letter * 20_000
    wrong = error(huge, field=huge, segment=huge, element=2**62, expected=2**62, received=-(2**62))
    failure = failure_of(wrong, "r" * 64)
    (details,) = (
        value for key, value in failure.status.trailing_metadata if key == "grpc-status-details-bin"
    )
    percent_encoded = sum(1 if 0x20 <= byte <= 0x7E else 3 for byte in failure.text.encode())
    assert percent_encoded + len(details) * 4 / 3 < 8192 - 512


def test_details_of_an_error() -> None:
    """The details have reason, domain, place and figures as strings, and the field where one is at fault."""
    error = errors.StreamTooLong(
        "must end", field="chunk.parameters", segment="w", element=8, expected=8, received=9
    )
    failure = failure_of(error, "r-1")
    (raw,) = (value for key, value in failure.status.trailing_metadata if key == "grpc-status-details-bin")
    status = status_pb2.Status.FromString(raw)
    info, bad_request = error_details_pb2.ErrorInfo(), error_details_pb2.BadRequest()
    status.details[0].Unpack(info)
    status.details[1].Unpack(bad_request)
    assert (info.reason, info.domain) == ("ERROR_REASON_STREAM_TOO_LONG", "regularization.v1")
    assert dict(info.metadata) == {
        "field": "chunk.parameters",
        "segment": "w",
        "element": "8",
        "expected": "8",
        "received": "9",
        "request_id": "r-1",
    }
    assert failure.place.keys() == {"field", "element", "expected", "received"}
    assert ("x-request-id", "r-1") in failure.status.trailing_metadata
    assert [violation.field for violation in bad_request.field_violations] == ["chunk.parameters"]
    assert status.message == failure.text == "chunk.parameters must end"


@pytest.mark.parametrize("size", range(3, 12))
def test_clipping_keeps_whole_characters(size: int) -> None:
    """A clipped text fits, is valid, and shows that something is missing."""
    text = clipped("a€𝄞é" * 3, size)
    assert len(text.encode()) <= size
    assert text.endswith("…")


def test_fault_of_the_server_is_logged_and_not_told(
    server: Server, channel: grpc.Channel, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """An unexpected exception is INTERNAL for the client; its type and its place go to the log alone."""

    def broken(*_: object) -> None:
        raise ZeroDivisionError("a secret")

    with monkeypatch.context() as patch:
        patch.setattr("regularization_server.calls.service.call_of", broken)
        with pytest.raises(grpc.RpcError) as caught:
            answers(channel, "gradient", [request("gradient", header=header("gradient"), chunk=chunk())])
    assert caught.value.code() is grpc.StatusCode.INTERNAL
    assert "secret" not in str(caught.value)
    assert "ZeroDivisionError" in caplog.text
    assert "in broken" in caplog.text
    assert "reason=ERROR_REASON_INTERNAL" in caplog.text
    good_call(channel)
