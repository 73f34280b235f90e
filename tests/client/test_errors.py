"""What callers see when a call fails."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import grpc
import numpy as np
import pytest
from regularization_client import (
    AuthenticationError,
    Box,
    Client,
    DeadlineExceededError,
    GradientUndefinedError,
    InternalError,
    InvalidRequestError,
    L1Norm,
    NuclearNorm,
    ProtocolError,
    RegularizationError,
    ResourceExhaustedError,
    Retry,
    TruncatedStreamError,
    UnavailableError,
    UnimplementedError,
)

from tests.support.faulty_server import answering, echo, result, summary

THETA = np.array([0.8, -0.3, 0.5], np.float32)
L1 = L1Norm(strength=0.1)
ONCE = Retry(attempts=1)


def test_an_invalid_field_is_named(client: Client) -> None:
    """Code, reason, field and segment are attributes; grpc's own error is the cause."""
    with pytest.raises(InvalidRequestError, match=r"strength must be .*>= 0, got -0.5") as caught:
        client.penalty({"b": THETA, "w": THETA}, {"b": None, "w": L1Norm(strength=-0.5)})
    error = caught.value
    assert error.code is grpc.StatusCode.INVALID_ARGUMENT
    assert error.reason == "ERROR_REASON_FIELD_OUT_OF_RANGE"
    assert error.field == "header.layout.segments[1].regularizer.l1_norm.strength"
    assert error.segment == "w"
    assert isinstance(error.__cause__, grpc.RpcError)


def test_an_error_says_its_request(client: Client) -> None:
    """The id is an attribute, and ends the text; it is no figure of the reason."""
    with pytest.raises(InvalidRequestError) as caught:
        client.penalty(THETA, L1Norm(strength=-0.5))
    error = caught.value
    assert error.request_id is not None
    assert str(error).endswith(f"request {error.request_id})")
    assert "request_id" not in error.metadata


@pytest.mark.parametrize(("told", "shown"), [("proxy-7", "proxy-7"), ("x" * 65, None)])
def test_the_id_of_trailers_is_taken_where_there_are_no_details(told: str, shown: str | None) -> None:
    """As of a proxy, or of a service that is another one; but no long text."""

    def fail(requests: Iterable[Any], context: grpc.ServicerContext) -> Iterator[Any]:
        context.set_trailing_metadata((("x-request-id", told),))
        context.abort(grpc.StatusCode.INTERNAL, "broken")
        yield

    with answering(fail) as target, Client(target) as client, pytest.raises(InternalError) as caught:
        client.penalty(THETA, L1)
    assert caught.value.request_id == shown
    assert str(caught.value) == ("broken" if shown is None else f"broken (request {shown})")


def test_a_missing_field_is_missed_by_the_server(client: Client) -> None:
    """A message without any field set still is the choice of that regularizer."""
    with pytest.raises(InvalidRequestError) as caught:
        client.penalty(THETA, L1Norm())
    assert caught.value.reason == "ERROR_REASON_FIELD_MISSING"


def test_a_field_that_the_server_does_not_know_is_refused(client: Client) -> None:
    """Of a message that a newer client made: the server says which, and does not compute without it."""
    newer = L1Norm.FromString(L1.SerializeToString() + b"\xe8\x3e\x01")  # field 1005: 1
    with pytest.raises(InvalidRequestError) as caught:
        client.penalty(THETA, newer)
    assert caught.value.reason == "ERROR_REASON_FIELD_UNKNOWN"
    assert caught.value.field == "header.layout.segments[0].regularizer.l1_norm"
    assert caught.value.metadata["number"] == "1005"


def test_a_call_whose_summary_might_not_be_received_is_refused(client: Client) -> None:
    """Before its elements are sent, with the figures; with fewer, or the total alone, it is answered."""
    arrays = {f"{index:0250}": np.zeros(1) for index in range(6000)}
    with pytest.raises(InvalidRequestError, match="fewer figures") as caught:
        client.proximal_step(arrays, L1, step_size=0.1)
    assert caught.value.reason == "ERROR_REASON_SUMMARY_TOO_LARGE"
    assert caught.value.field == "header.figures"
    result = client.proximal_step(arrays, L1, step_size=0.1, figures={"nonzeros"})
    assert result.nonzeros == 0
    total = client.proximal_step(arrays, L1, step_size=0.1, by_segment=False)
    assert (total.nonzeros, total.penalty, dict(total.segments)) == (0, 0.0, {})


def test_the_first_nonfinite_element_is_named(client: Client) -> None:
    """By its segment and its index in the whole vector, which the text has, too."""
    with pytest.raises(InvalidRequestError) as caught:
        client.penalty({"b": THETA, "w": np.array([1, np.nan, np.inf], np.float32)}, L1)
    assert caught.value.reason == "ERROR_REASON_VALUE_NOT_FINITE"
    assert (caught.value.segment, caught.value.element) == ("w", 4)
    assert "'w'" in str(caught.value)
    assert "4" in str(caught.value)


def test_a_gradient_outside_a_box_is_undefined(client: Client) -> None:
    """The element is named."""
    with pytest.raises(GradientUndefinedError) as caught:
        client.gradient(THETA, Box(upper=0.6))
    assert caught.value.element == 0


def test_a_layout_that_does_not_fit_is_refused(client: Client) -> None:
    """A vector has no singular values."""
    with pytest.raises(InvalidRequestError) as caught:
        client.penalty(THETA, NuclearNorm(strength=1.0))
    assert caught.value.reason == "ERROR_REASON_LAYOUT_INVALID"


CODES = {
    grpc.StatusCode.OUT_OF_RANGE: InvalidRequestError,
    grpc.StatusCode.RESOURCE_EXHAUSTED: ResourceExhaustedError,
    grpc.StatusCode.UNAVAILABLE: UnavailableError,
    grpc.StatusCode.DEADLINE_EXCEEDED: DeadlineExceededError,
    grpc.StatusCode.UNAUTHENTICATED: AuthenticationError,
    grpc.StatusCode.PERMISSION_DENIED: AuthenticationError,
    grpc.StatusCode.UNIMPLEMENTED: UnimplementedError,
    grpc.StatusCode.INTERNAL: InternalError,
    grpc.StatusCode.DATA_LOSS: InternalError,
}


@pytest.mark.parametrize(("code", "kind"), CODES.items(), ids=lambda value: getattr(value, "name", None))
def test_each_code_has_its_exception(code: grpc.StatusCode, kind: type[RegularizationError]) -> None:
    """Also where the status has no details; the text is kept."""

    def fail(requests: Iterable[Any], context: grpc.ServicerContext) -> Iterator[Any]:
        context.abort(code, "no such luck")
        yield

    with answering(fail) as target, Client(target, retry=ONCE) as client, pytest.raises(kind) as caught:
        client.penalty(THETA, L1)
    assert type(caught.value) is kind
    assert (caught.value.code, caught.value.message, caught.value.reason) == (code, "no such luck", None)


@pytest.mark.parametrize(
    ("told", "reason"),
    [
        ("ERROR_REASON_STREAM_IDLE: an answer must be read", "ERROR_REASON_STREAM_IDLE"),
        ("ERROR_REASON_OF_NOBODY: an answer must be read", None),
        ("an answer must be read", None),
    ],
)
def test_a_text_that_begins_with_a_reason_has_it(told: str, reason: str | None) -> None:
    """A server has no room for details where its messages are not taken, and says the reason so."""

    def fail(requests: Iterable[Any], context: grpc.ServicerContext) -> Iterator[Any]:
        context.abort(grpc.StatusCode.DEADLINE_EXCEEDED, told)
        yield

    with answering(fail) as target, Client(target) as client, pytest.raises(DeadlineExceededError) as caught:
        client.penalty(THETA, L1)
    assert caught.value.reason == reason
    assert str(caught.value) == ("an answer must be read" if reason else told)


def test_details_that_contradict_the_status_are_not_read() -> None:
    """The code of the call stands."""

    def fail(requests: Iterable[Any], context: grpc.ServicerContext) -> Iterator[Any]:
        context.set_trailing_metadata((("grpc-status-details-bin", b"\x08\x05"),))
        context.abort(grpc.StatusCode.INTERNAL, "broken")
        yield

    with answering(fail) as target, Client(target) as client, pytest.raises(InternalError) as caught:
        client.penalty(THETA, L1)
    assert caught.value.reason is None


def test_every_call_has_a_deadline() -> None:
    """A minute where nothing else is said, the client's, or the call's own."""
    left: list[float] = []

    def note(requests: Iterable[Any], context: grpc.ServicerContext) -> Iterator[Any]:
        left.append(context.time_remaining() or float("inf"))
        yield from echo(requests, context)

    with answering(note) as target:
        with Client(target) as client:
            client.proximal_step(THETA, L1, step_size=1.0)
            client.proximal_step(THETA, L1, step_size=1.0, timeout=7)
            client.proximal_step(THETA, L1, step_size=1.0, timeout=None)
        with Client(target, timeout=20) as client:
            client.proximal_step(THETA, L1, step_size=1.0)
    assert 50 < left[0] < 61
    assert 5 < left[1] < 8
    assert left[2] > 1e6
    assert 15 < left[3] < 21


@pytest.mark.parametrize("elements", [3, 100_000])
def test_a_deadline_ends_a_call_that_hangs(elements: int) -> None:
    """The error is a TimeoutError, too, and is not tried again."""
    calls = []

    def hang(requests: Iterable[Any], context: grpc.ServicerContext) -> Iterator[Any]:
        calls.append(1)
        while context.is_active():
            next(iter(requests), None)
        yield

    theta = np.ones(elements, np.float32)
    with (
        answering(hang) as target,
        Client(target, chunk_bytes=1024) as client,
        pytest.raises(TimeoutError) as caught,
    ):
        client.proximal_step(theta, L1, step_size=1.0, timeout=0.3)
    assert isinstance(caught.value, DeadlineExceededError)
    assert len(calls) == 1


BROKEN = {
    "no summary": (TruncatedStreamError, lambda: [result(0, THETA.tobytes())]),
    "nothing": (TruncatedStreamError, list),
    "a gap": (ProtocolError, lambda: [result(1, THETA[1:].tobytes()), summary(3)]),
    "a repeated offset": (ProtocolError, lambda: [result(0, THETA[:1].tobytes())] * 2),
    "half an element": (ProtocolError, lambda: [result(0, THETA.tobytes()[:-2])]),
    "too much": (ProtocolError, lambda: [result(0, np.ones(4, np.float32).tobytes()), summary(3)]),
    "too little": (ProtocolError, lambda: [result(0, THETA[:2].tobytes()), summary(3)]),
    "another count": (ProtocolError, lambda: [result(0, THETA.tobytes()), summary(2)]),
    "more after the summary": (ProtocolError, lambda: [result(0, THETA.tobytes()), summary(3), summary(3)]),
}


@pytest.mark.parametrize(("kind", "answer"), BROKEN.values(), ids=BROKEN)
def test_an_answer_that_breaks_the_contract_is_not_trusted(kind: type[ProtocolError], answer: Any) -> None:
    """Each way has its error, and out stays what it was where it is the parameters."""

    def broken(requests: Iterable[Any], context: grpc.ServicerContext) -> Iterator[Any]:
        list(requests)
        yield from answer()

    theta = THETA.copy()
    with answering(broken) as target, Client(target) as client, pytest.raises(kind) as caught:
        client.proximal_step(theta, L1, step_size=1.0, out=theta)
    assert type(caught.value) is kind
    np.testing.assert_array_equal(theta, THETA)


def test_an_array_that_cannot_be_read_ends_the_call(target: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """At once, with the reader's own error, and not when the deadline passes."""
    from regularization_client._request.stores import ArrayStore

    def fail(self: ArrayStore, begin: int, end: int) -> memoryview:
        raise OSError("gone")

    monkeypatch.setattr(ArrayStore, "read", fail)
    with Client(target, chunk_bytes=256) as client:
        for elements in (10, 1000):
            with pytest.raises(OSError, match="gone"):
                client.proximal_step(np.ones(elements), L1, step_size=1.0)
