"""Whatever a server answers, a caller gets a result or an error of the package's own, and can go on."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from concurrent import futures
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
from google.protobuf import any_pb2
from google.rpc import error_details_pb2, status_pb2  # type: ignore[import-untyped] # has none
from regularization.v1 import regularization_service_pb2 as service
from regularization.v1 import summary_pb2, tensor_pb2
from regularization_client import (
    Client,
    InternalError,
    InvalidRequestError,
    L1Norm,
    ProtocolError,
    RegularizationError,
    ResourceExhaustedError,
    Retry,
    TruncatedStreamError,
)

from tests.support.faulty_hand_off import gives, handing_off

L1 = L1Norm(strength=0.5)
THETA = {"a": np.array([0.75, -0.25], np.float32), "b": np.array([0.5], np.float32)}
MANY = np.ones(3000, np.float32)
ONCE = Retry(attempts=1)
ELEMENTS = np.concatenate(list(THETA.values())).tobytes()

Raw = Callable[[Iterable[bytes], grpc.ServicerContext], Iterator[bytes]]
"""What a server does, with messages as bytes."""


class RawHandler(grpc.GenericRpcHandler):
    """Answers every method as it is told to."""

    def __init__(self, answers: list[Raw]) -> None:
        self._answers = answers

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> Any:
        """Take a call."""
        return grpc.stream_stream_rpc_method_handler(self._answers.pop(0))


@contextmanager
def serving(*answers: Raw, address: str = "localhost:0") -> Iterator[str]:
    """Serve one answer to each call in turn; the value is the address."""
    server = grpc.server(futures.ThreadPoolExecutor(4))
    server.add_generic_rpc_handlers((RawHandler(list(answers)),))
    port = server.add_insecure_port(address)
    server.start()
    try:
        yield address if address.startswith("unix:") else f"localhost:{port}"
    finally:
        server.stop(None).wait()


def figures(elements: int, **others: Any) -> summary_pb2.Figures:
    """Figures that are all there."""
    zero = summary_pb2.ExactSum()
    whole: dict[str, Any] = {"penalty": zero, "nonzeros": elements, "squared_distance": zero, **others}
    return summary_pb2.Figures(
        elements=elements, **{name: each for name, each in whole.items() if each is not None}
    )


def summary(
    *segments: tuple[str, summary_pb2.Figures], total: summary_pb2.Figures | None = None
) -> summary_pb2.Summary:
    """A summary of two arrays, that is right where nothing else is said."""
    entries = segments or (("a", figures(2)), ("b", figures(1)))
    return summary_pb2.Summary(
        total=figures(3) if total is None else total,
        segments=[summary_pb2.SegmentSummary(name=name, figures=each) for name, each in entries],
    )


def chunk(values: bytes = ELEMENTS, offset: int = 0, bitmap: bytes = b"") -> tensor_pb2.ResultChunk:
    """A result chunk."""
    return tensor_pb2.ResultChunk(element_offset=offset, values=values, nonzero_bitmap=bitmap)


def message(chunk: tensor_pb2.ResultChunk | None = None, summary: summary_pb2.Summary | None = None) -> bytes:
    """A message of an answer."""
    return service.ProximalStepResponse(chunk=chunk, summary=summary).SerializeToString()


RIGHT = message(chunk(), summary())


def says(*messages: bytes) -> Raw:
    """Answer with these messages."""

    def answer(requests: Iterable[bytes], context: grpc.ServicerContext) -> Iterator[bytes]:
        for _ in requests:
            pass
        yield from messages

    return answer


def summing(value: float, *expansion: float) -> bytes:
    """An answer whose penalty is that sum, of everything and of the first array."""
    exact = summary_pb2.ExactSum(value=value, expansion=expansion)
    return message(
        chunk(),
        summary(("a", figures(2, penalty=exact)), ("b", figures(1)), total=figures(3, penalty=exact)),
    )


def with_summary(
    *segments: tuple[str, summary_pb2.Figures], total: summary_pb2.Figures | None = None
) -> list[bytes]:
    """An answer whose elements are right, with that summary."""
    return [message(chunk(), summary(*segments, total=total))]


LONG_STRETCH = b"\x0a\xff\xff\xff\xff\x0f"
"""The lead of a chunk of 4 GiB."""

ANSWERS: dict[str, tuple[type[RegularizationError], list[bytes]]] = {
    "no message": (TruncatedStreamError, []),
    "an empty message": (TruncatedStreamError, [b""]),
    "garbage": (ProtocolError, [b"\xff" * 40]),
    "random bytes": (ProtocolError, [np.random.default_rng(1).bytes(1000)]),
    "a message that is cut off": (ProtocolError, [RIGHT[:-3]]),
    "a length beyond the message": (ProtocolError, [LONG_STRETCH]),
    "a page of a web server": (ProtocolError, [b"<html><body>It works!</body></html>"]),
    "a field of another type": (ProtocolError, [b"\x0a\x02\x12\x05"]),
    "a wrong offset": (ProtocolError, [message(chunk(offset=1), summary())]),
    "a negative offset": (ProtocolError, [message(chunk(offset=-1), summary())]),
    "the largest offset": (ProtocolError, [message(chunk(offset=(1 << 63) - 1), summary())]),
    "too few elements": (ProtocolError, [message(chunk(ELEMENTS[:8]), summary())]),
    "too many elements": (ProtocolError, [message(chunk(ELEMENTS * 2), summary())]),
    "elements of twice the size": (ProtocolError, [message(chunk(np.ones(3, "f8").tobytes()), summary())]),
    "elements of half the size": (ProtocolError, [message(chunk(np.ones(3, "f2").tobytes()), summary())]),
    "half an element": (ProtocolError, [message(chunk(ELEMENTS[:-1]), summary())]),
    "a bitmap that is too long": (ProtocolError, [message(chunk(b"", bitmap=bytes(9)), summary())]),
    "a bitmap past the end": (ProtocolError, [message(chunk(ELEMENTS[:4], bitmap=b"\x08"), summary())]),
    "a bitmap of fewer values": (ProtocolError, [message(chunk(ELEMENTS, bitmap=b"\x01"), summary())]),
    "a bitmap of more values": (ProtocolError, [message(chunk(ELEMENTS[:4], bitmap=b"\x07"), summary())]),
    "a bitmap where no chunk began": (ProtocolError, [message(chunk(b"", 2, bitmap=b"\x00"), summary())]),
    "the elements twice": (ProtocolError, [message(chunk()), message(chunk(), summary())]),
    "no summary": (TruncatedStreamError, [message(chunk())]),
    "two summaries": (ProtocolError, [RIGHT, message(None, summary())]),
    "a chunk after the summary": (ProtocolError, [message(None, summary()), message(chunk())]),
    "a summary alone": (ProtocolError, [message(None, summary())]),
    "an empty summary": (ProtocolError, [message(chunk(), summary_pb2.Summary())]),
    "a total of other elements": (ProtocolError, with_summary(total=figures(4))),
    "a negative total": (ProtocolError, with_summary(total=figures(-3))),
    "a negative count": (ProtocolError, with_summary(total=figures(3, nonzeros=-1))),
    "a count beyond the elements": (ProtocolError, with_summary(total=figures(3, nonzeros=4))),
    "a count of a segment beyond its elements": (
        ProtocolError,
        with_summary(("a", figures(2)), ("b", figures(1, nonzeros=2))),
    ),
    "a figure that is missing": (ProtocolError, with_summary(total=figures(3, penalty=None))),
    "a figure of a segment that is missing": (
        ProtocolError,
        with_summary(("a", figures(2, nonzeros=None)), ("b", figures(1))),
    ),
    "other segments": (ProtocolError, with_summary(("a", figures(2)), ("c", figures(1)))),
    "segments in another order": (ProtocolError, with_summary(("b", figures(1)), ("a", figures(2)))),
    "a segment twice": (ProtocolError, with_summary(("a", figures(2)), ("a", figures(1)))),
    "a segment too few": (ProtocolError, with_summary(("a", figures(2)))),
    "a segment too many": (
        ProtocolError,
        with_summary(("a", figures(2)), ("b", figures(1)), ("c", figures(0))),
    ),
    "elements in another segment": (ProtocolError, with_summary(("a", figures(1)), ("b", figures(2)))),
    "a name that is no text": (ProtocolError, [RIGHT.replace(b"\x0a\x01a", b"\x0a\x01\xff")]),
    "an expansion that is not the value": (ProtocolError, [summing(1.0, 2.0)]),
    "a value without its expansion": (ProtocolError, [summing(1.0)]),
    "an expansion without its value": (ProtocolError, [summing(0.0, 1.0)]),
    "an expansion out of order": (ProtocolError, [summing(1.0, 1.0, 1.0)]),
    "an expansion with zeros": (ProtocolError, [summing(1.0, 1.0, 0.0)]),
    "an expansion that goes on with NaN": (ProtocolError, [summing(1.0, 1.0, math.nan)]),
    "an expansion that goes on after infinity": (ProtocolError, [summing(math.inf, math.inf, 1.0)]),
    "a value that is NaN beside an expansion that is not": (ProtocolError, [summing(math.nan, 1.0)]),
}


@pytest.mark.parametrize(("kind", "messages"), ANSWERS.values(), ids=ANSWERS)
def test_an_answer_that_is_none_ends_in_a_typed_error(
    kind: type[RegularizationError], messages: list[bytes]
) -> None:
    """The parameters stay what they are, and the next call of the same client is answered."""
    theta = {name: array.copy() for name, array in THETA.items()}
    with serving(says(*messages), says(RIGHT)) as target, Client(target, retry=ONCE) as client:
        with pytest.raises(RegularizationError) as caught:
            client.proximal_step(theta, L1, step_size=1.0, out=theta, sparse=True)
        assert type(caught.value) is kind
        assert all(np.array_equal(theta[name], THETA[name]) for name in THETA)
        assert client.proximal_step(theta, L1, step_size=1.0).segments["b"].elements == 1


def test_the_rows_are_not_refused_for_another_reason() -> None:
    """What they change from is an answer, also with expansions, infinities and NaN."""
    sums = [(0.0,), (1.0, 1.0), (1.0, 1.0, 2.0**-60), (math.inf, math.inf), (math.nan, math.nan)]
    right = [RIGHT, *(summing(*numbers) for numbers in sums), *with_summary()]
    with serving(*map(says, right)) as target, Client(target, retry=ONCE) as client:
        for _ in right:
            assert client.proximal_step(THETA, L1, step_size=1.0).elements == 3


def test_a_sum_of_a_segment_that_is_none_is_not_given_out() -> None:
    """It is looked at when it is asked for, and the total is right."""
    wrong = figures(2, penalty=summary_pb2.ExactSum(value=1.0, expansion=[2.0]))
    with (
        serving(says(*with_summary(("a", wrong), ("b", figures(1))))) as target,
        Client(target, retry=ONCE) as client,
    ):
        step = client.proximal_step(THETA, L1, step_size=1.0)
        with pytest.raises(ProtocolError):
            _ = step.segments["a"]


PENALTIES: dict[str, tuple[type[RegularizationError], list[bytes]]] = {
    "no message": (TruncatedStreamError, []),
    "an empty message": (TruncatedStreamError, [b""]),
    "garbage": (ProtocolError, [b"\xff" * 40]),
    "a chunk in place of a summary": (ProtocolError, [message(chunk())]),
    "an empty summary": (ProtocolError, [b"\x0a\x00"]),
    "another count": (
        ProtocolError,
        [service.PenaltyResponse(summary=summary(total=figures(7))).SerializeToString()],
    ),
}


@pytest.mark.parametrize(("kind", "messages"), PENALTIES.values(), ids=PENALTIES)
def test_so_does_an_answer_to_penalty(kind: type[RegularizationError], messages: list[bytes]) -> None:
    """Whose answer is one message."""
    right = service.PenaltyResponse(summary=summary()).SerializeToString()
    with serving(says(*messages), says(right)) as target, Client(target, retry=ONCE) as client:
        with pytest.raises(RegularizationError) as caught:
            client.penalty(THETA, L1)
        assert type(caught.value) is kind
        assert client.penalty(THETA, L1).nonzeros == 3


def test_two_answers_to_penalty_are_an_error() -> None:
    """Whichever gRPC makes of it."""
    right = service.PenaltyResponse(summary=summary()).SerializeToString()
    with (
        serving(says(right, right)) as target,
        Client(target, retry=ONCE, timeout=5) as client,
        pytest.raises(RegularizationError),
    ):
        client.penalty(THETA, L1)


def detail(message: Any) -> any_pb2.Any:
    """A detail of a status."""
    packed = any_pb2.Any()
    packed.Pack(message)
    return packed


def information(reason: str = "ERROR_REASON_FIELD_OUT_OF_RANGE", **metadata: str) -> any_pb2.Any:
    """What the service says of an error."""
    return detail(error_details_pb2.ErrorInfo(reason=reason, domain="regularization.v1", metadata=metadata))


def broken(kind: str) -> any_pb2.Any:
    """A detail whose bytes are not what its name says."""
    return any_pb2.Any(type_url=f"type.googleapis.com/google.rpc.{kind}", value=b"\xff\xff")


def status(*details: any_pb2.Any, code: int = 3) -> bytes:
    """The details of a status as they travel."""
    return bytes(status_pb2.Status(code=code, message="no", details=details).SerializeToString())


STATUSES: dict[str, tuple[bytes, str | None]] = {
    "bytes that are no status": (b"\xff" * 20, None),
    "another code": (status(code=5), None),
    "a code that there is not": (status(code=99), None),
    "a broken ErrorInfo": (status(broken("ErrorInfo")), None),
    "a broken BadRequest": (status(information(), broken("BadRequest")), "ERROR_REASON_FIELD_OUT_OF_RANGE"),
    "a broken ErrorInfo beside a good one": (
        status(broken("ErrorInfo"), information()),
        "ERROR_REASON_FIELD_OUT_OF_RANGE",
    ),
    "a reason that is not known": (status(information("OTHER")), "OTHER"),
    "an element that is no number": (status(information(element="x")), "ERROR_REASON_FIELD_OUT_OF_RANGE"),
    "an element of too many digits": (
        status(information(element="9" * 5000)),
        "ERROR_REASON_FIELD_OUT_OF_RANGE",
    ),
    "an element that is negative": (status(information(element="-1")), "ERROR_REASON_FIELD_OUT_OF_RANGE"),
    "no details": (status(), None),
}


@pytest.mark.parametrize(("details", "reason"), STATUSES.values(), ids=STATUSES)
@pytest.mark.parametrize("method", ["penalty", "step", "catalogue"])
def test_a_status_with_details_that_are_none_is_read_as_far_as_it_goes(
    details: bytes, reason: str | None, method: str
) -> None:
    """The code of the call stands, and what can be read."""

    def fail(requests: Iterable[bytes], context: grpc.ServicerContext) -> Iterator[bytes]:
        context.set_trailing_metadata((("grpc-status-details-bin", details),))
        context.abort(grpc.StatusCode.INVALID_ARGUMENT, "no")
        yield b""

    with serving(fail) as target, Client(target, retry=ONCE) as client:
        calls = {
            "penalty": lambda: client.penalty(THETA, L1),
            "step": lambda: client.proximal_step(MANY, L1, step_size=1.0),
            "catalogue": client.list_regularizers,
        }
        with pytest.raises(InvalidRequestError, match="no") as caught:
            calls[method]()
    assert (caught.value.reason, caught.value.element) == (reason, None)


def test_a_text_that_is_none_is_shown_as_it_can_be() -> None:
    """Bytes in metadata that are no UTF-8 do no harm either."""

    def fail(requests: Iterable[bytes], context: grpc.ServicerContext) -> Iterator[bytes]:
        context.set_trailing_metadata((("other-bin", b"\xff\xfe"),))
        context.set_code(grpc.StatusCode.DATA_LOSS)
        context.set_details(b"caf\xe9 \xff")
        return iter(())

    with serving(fail) as target, Client(target, retry=ONCE) as client, pytest.raises(InternalError):
        client.proximal_step(THETA, L1, step_size=1.0)


def test_a_message_that_is_too_large_is_not_taken() -> None:
    """As gRPC's limit has it."""
    with (
        serving(says(bytes(5 << 20)), says(RIGHT)) as target,
        Client(target, retry=ONCE) as client,
    ):
        with pytest.raises(ResourceExhaustedError):
            client.proximal_step(THETA, L1, step_size=1.0)
        assert client.proximal_step(THETA, L1, step_size=1.0).elements == 3


@pytest.mark.parametrize("raw", [b"\xff" * 30, b"<html>", b"\x0a\x05ab", b"\x0a\x03\x0a\x01\xff"])
def test_a_catalogue_that_is_none_is_an_error(raw: bytes) -> None:
    """Typed, for whoever asks for it, and where a call over several streams needs it."""
    with serving(says(raw), says(raw), says(b"")) as target, Client(target, retry=ONCE) as client:
        with pytest.raises(ProtocolError):
            client.list_regularizers()
        with pytest.raises(ProtocolError):
            client.proximal_step(np.ones((1 << 18) + 1, np.float32), L1, step_size=1.0, streams=2)
        assert client.list_regularizers() == ()


SHARED: dict[str, tuple[type[RegularizationError], list[bytes]]] = {
    "no message": (TruncatedStreamError, []),
    "garbage": (ProtocolError, [b"\xff" * 40]),
    "no summary": (TruncatedStreamError, [b""]),
    "a chunk": (ProtocolError, [RIGHT]),
    "other segments": (ProtocolError, [message(None, summary(("a", figures(2)), ("c", figures(1))))]),
    "other elements": (ProtocolError, [message(None, summary(total=figures(2)))]),
    "a count beyond the elements": (ProtocolError, [message(None, summary(total=figures(3, nonzeros=9)))]),
}


@pytest.mark.parametrize(("kind", "messages"), SHARED.values(), ids=SHARED)
def test_an_answer_on_shared_memory_is_checked_alike(
    socket_folder: Path, kind: type[RegularizationError], messages: list[bytes]
) -> None:
    """And the memory can be used again."""
    path = socket_folder / "s"
    right = message(None, summary())
    with (
        handing_off(path, gives),
        serving(says(*messages), says(right), address=f"unix:{path}") as target,
        Client(target, retry=ONCE) as client,
        client.shared_arrays({"a": 2, "b": 1}) as theta,
    ):
        with pytest.raises(RegularizationError) as caught:
            client.proximal_step(theta, L1, step_size=1.0, out=theta)
        assert type(caught.value) is kind
        assert client.proximal_step(theta, L1, step_size=1.0, out=theta).shared
