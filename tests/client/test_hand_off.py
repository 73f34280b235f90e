"""The hand-off and calls on shared memory where the server does what it should not, or goes away."""

from __future__ import annotations

import os
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.rpc import error_details_pb2, status_pb2  # type: ignore[import-untyped] # has none
from grpc_status import rpc_status
from regularization.v1 import regularization_service_pb2 as service
from regularization_client import (
    Client,
    DeadlineExceededError,
    L1Norm,
    ProtocolError,
    Retry,
    SharedMemoryError,
    TruncatedStreamError,
    UnavailableError,
)

from tests.support.faulty_hand_off import gives, handing_off, reply, sealed
from tests.support.faulty_server import Answer, answering, result, summary
from tests.support.processes import until

L1 = L1Norm(strength=0.1)
QUICK = Retry(attempts=3, first_pause=0.01)


def without_descriptor(peer: socket.socket, request: bytes) -> None:
    """Grants memory, and passes none."""
    peer.sendall(reply(size=12))


def too_little(peer: socket.socket, request: bytes) -> None:
    """Grants less than was asked for."""
    descriptor = os.memfd_create("test")
    os.ftruncate(descriptor, 4)
    socket.send_fds(peer, [reply(size=4)], [descriptor])
    os.close(descriptor)


def too_little_in_truth(peer: socket.socket, request: bytes) -> None:
    """Says that it grants what was asked for, and does not."""
    descriptor = os.memfd_create("test")
    os.ftruncate(descriptor, 4)
    socket.send_fds(peer, [reply(size=12)], [descriptor])
    os.close(descriptor)


def half_a_reply(peer: socket.socket, request: bytes) -> None:
    """Breaks off in the middle."""
    descriptor = os.memfd_create("test")
    socket.send_fds(peer, [reply(size=12)[:10]], [descriptor])
    os.close(descriptor)
    peer.shutdown(socket.SHUT_RDWR)


def hangs_up(peer: socket.socket, request: bytes) -> None:
    """As to another user."""
    peer.shutdown(socket.SHUT_RDWR)


def another_status(peer: socket.socket, request: bytes) -> None:
    """Of a later version."""
    peer.sendall(reply(status=9))


@pytest.mark.parametrize(
    ("deed", "error", "text"),
    [
        (without_descriptor, ProtocolError, "without all of the memory"),
        (too_little, ProtocolError, "without all of the memory"),
        (too_little_in_truth, ProtocolError, "without all of the memory"),
        (half_a_reply, SharedMemoryError, "with its own user only"),
        (hangs_up, SharedMemoryError, "with its own user only"),
        (another_status, SharedMemoryError, "refuses 12 bytes of shared memory, with status 9"),
    ],
)
def test_a_hand_off_that_is_none_is_an_error(
    socket_folder: Path, deed: Callable[[socket.socket, bytes], None], error: type[Exception], text: str
) -> None:
    """Typed, and no descriptor is left open."""
    path = socket_folder / "s"
    with handing_off(path, deed), Client(f"unix:{path}") as client:
        for _ in range(2):
            with pytest.raises(error, match=text):
                client.shared_array(3)
    until(lambda: not any("memfd:test" in str(link) for link in links_of_descriptors()))


def links_of_descriptors() -> Iterator[Path]:
    """What the descriptors of this process lead to."""
    for descriptor in Path("/proc/self/fd").iterdir():
        with suppress(FileNotFoundError):
            yield descriptor.readlink()


def test_a_reply_may_come_in_pieces(socket_folder: Path) -> None:
    """As everything that comes over a stream."""

    def in_pieces(peer: socket.socket, request: bytes) -> None:
        descriptor = sealed(12)
        whole = reply(size=12, handle=b"h" * 16)
        socket.send_fds(peer, [whole[:5]], [descriptor])
        os.close(descriptor)
        for begin in range(5, 32, 9):
            time.sleep(0.01)
            peer.sendall(whole[begin : begin + 9])

    path = socket_folder / "s"
    with handing_off(path, in_pieces), Client(f"unix:{path}") as client:
        assert client.shared_array(3).arrays.shape == (3,)


def test_a_hand_off_that_does_not_answer_is_not_waited_for(socket_folder: Path) -> None:
    """Beyond the client's timeout; its late answer is not taken for another."""
    answers: list[bytes] = []

    def late(peer: socket.socket, request: bytes) -> None:
        if answers:
            gives(peer, request)
        answers.append(request)

    path = socket_folder / "s"
    with handing_off(path, late) as seen, Client(f"unix:{path}", timeout=0.2) as client:
        with pytest.raises(DeadlineExceededError, match="did not answer in time"):
            client.shared_array(3)
        assert client.shared_array(4).arrays.size == 4
    assert seen.connections == 2


def test_one_connection_serves_all_and_is_closed_with_the_client(socket_folder: Path) -> None:
    """Released memory is released by its handle; the rest goes with the connection."""
    path = socket_folder / "s"
    with handing_off(path, gives) as seen:
        with Client(f"unix:{path}") as client:
            first = client.shared_array(3)
            client.shared_array((2, 2), "f8")
            first.release()
            first.release()
        assert [(operation, size) for operation, size, _ in seen.requests] == [(1, 12), (1, 32), (2, 0)]
        assert seen.requests[2][2] != bytes(16)
        assert seen.connections == 1


def test_memory_of_a_connection_that_broke_is_forgotten(socket_folder: Path) -> None:
    """New memory comes over a new one."""
    path = socket_folder / "s"
    breaks = threading.Event()

    def once(peer: socket.socket, request: bytes) -> None:
        if breaks.is_set():
            breaks.clear()
            peer.shutdown(socket.SHUT_RDWR)
        else:
            gives(peer, request)

    with handing_off(path, once) as seen, Client(f"unix:{path}") as client:
        one = client.shared_array(3)
        breaks.set()
        two = client.shared_array(3)
        assert seen.connections == 2
        one.release()
        two.release()
        assert [operation for operation, *_ in seen.requests] == [1, 1, 1, 2]


class Server:
    """Answers calls on shared memory: unavailable at first, then by a summary."""

    def __init__(
        self, failures: int = 0, answer: Answer | None = None, reason: str = "ERROR_REASON_OF_ITS_OWN"
    ) -> None:
        self.headers: list[service.ProximalStepHeader] = []
        self._failures = failures
        self._answer = answer
        self._reason = reason

    def __call__(self, requests: Iterable[Any], context: grpc.ServicerContext) -> Iterator[Any]:
        """Answer a stream."""
        (request,) = requests
        assert not request.HasField("chunk")
        self.headers.append(request.header)
        if len(self.headers) <= self._failures:
            status = status_pb2.Status(code=grpc.StatusCode.UNAVAILABLE.value[0], message="going away")
            information = error_details_pb2.ErrorInfo(reason=self._reason, domain="regularization.v1")
            status.details.add().Pack(information)
            context.abort_with_status(rpc_status.to_status(status))
        if self._answer is not None:
            yield from self._answer([request], context)
        elif isinstance(request, service.PenaltyRequest):
            yield service.PenaltyResponse(summary=summary(3).summary)
        else:
            yield summary(3)


def test_a_call_names_where_everything_lies(socket_folder: Path) -> None:
    """Handles as they were given, offsets in bytes, and no chunk."""
    path, server = socket_folder / "s", Server()
    with (
        handing_off(path, gives),
        answering(server, f"unix:{path}") as target,
        Client(target) as client,
        client.shared_array(9) as one,
        client.shared_array(3) as two,
    ):
        client.proximal_step(one[3:6], L1, step_size=1.0, loss_gradients=two, out=one[6:])
    (header,) = server.headers
    shared = header.shared
    assert [field.name for field, _ in shared.ListFields()] == ["parameters", "loss_gradients", "result"]
    assert shared.parameters.region == shared.result.region != shared.loss_gradients.region
    offsets = (shared.parameters.byte_offset, shared.loss_gradients.byte_offset, shared.result.byte_offset)
    assert offsets == (12, 0, 24)


def called(client: Client, place: str) -> Any:
    """Make a call whose result lies there."""
    with client.shared_array(9) as memory:
        theta, slope, rest = memory[:3], memory[3:6], memory[6:]
        if place == "nowhere":
            return client.penalty(theta, L1)
        out = {"parameters": theta, "loss_gradients": slope, "beside": rest}[place]
        return client.proximal_step(theta, L1, step_size=1.0, loss_gradients=slope, out=out)


@pytest.mark.parametrize("place", ["parameters", "loss_gradients", "beside"])
def test_a_call_that_broke_is_not_replayed_while_its_server_is_there(socket_folder: Path, place: str) -> None:
    """Its first try may have changed what a second would begin with, or go on after the second is done."""
    path, server = socket_folder / "s", Server(failures=1)
    with (
        handing_off(path, gives),
        answering(server, f"unix:{path}") as target,
        Client(target, retry=QUICK) as client,
        pytest.raises(UnavailableError, match="going away; shared out may hold old elements") as caught,
    ):
        called(client, place)
    assert caught.value.code is grpc.StatusCode.UNAVAILABLE
    assert len(server.headers) == 1


@pytest.mark.parametrize("place", ["parameters", "beside", "nowhere"])
def test_a_call_that_was_refused_is_replayed(socket_folder: Path, place: str) -> None:
    """By a server that shuts down: it has touched nothing."""
    path, server = socket_folder / "s", Server(failures=2, reason="ERROR_REASON_SHUTTING_DOWN")
    with (
        handing_off(path, gives),
        answering(server, f"unix:{path}") as target,
        Client(target, retry=QUICK) as client,
    ):
        assert called(client, place).shared
    assert len(server.headers) == 3


def test_a_call_without_a_result_is_always_replayed(socket_folder: Path) -> None:
    """Reading does no harm."""
    path, server = socket_folder / "s", Server(failures=2)
    with (
        handing_off(path, gives),
        answering(server, f"unix:{path}") as target,
        Client(target, retry=QUICK) as client,
    ):
        assert called(client, "nowhere").shared
    assert len(server.headers) == 3


@pytest.mark.parametrize(("place", "calls"), [("parameters", 1), ("beside", 2)])
def test_a_call_whose_server_is_gone(socket_folder: Path, place: str, calls: int) -> None:
    """It is replayed where what it began with is still there."""
    path, hand_offs = socket_folder / "s", list[socket.socket]()

    def goes(requests: Iterable[Any], context: grpc.ServicerContext) -> Iterator[Any]:
        if hand_offs:
            hand_offs.pop().shutdown(socket.SHUT_RDWR)
        yield from server(requests, context)

    def note(peer: socket.socket, request: bytes) -> None:
        hand_offs.append(peer)
        gives(peer, request)

    server = Server(failures=1)
    with (
        handing_off(path, note),
        answering(goes, f"unix:{path}") as target,
        Client(target, retry=QUICK) as client,
    ):
        if calls == 1:
            with pytest.raises(UnavailableError):
                called(client, place)
        else:
            assert called(client, place).shared
    assert len(server.headers) == calls


ANSWERS: dict[str, tuple[list[Any], type[Exception], str]] = {
    "a chunk": ([result(0, bytes(12))], ProtocolError, "has a chunk"),
    "no summary": ([service.ProximalStepResponse()], TruncatedStreamError, "no summary"),
    "of other elements": ([summary(2)], ProtocolError, "of 2 elements .total., where 3 were sent"),
}


@pytest.mark.parametrize(("answers", "error", "text"), ANSWERS.values(), ids=ANSWERS)
def test_an_answer_that_breaks_the_contract_is_refused(
    socket_folder: Path, answers: list[Any], error: type[Exception], text: str
) -> None:
    """It is not to be trusted."""
    path = socket_folder / "s"
    server = Server(answer=lambda requests, context: iter(answers))
    with (
        handing_off(path, gives),
        answering(server, f"unix:{path}") as target,
        Client(target) as client,
        client.shared_array(3) as theta,
        pytest.raises(error, match=text),
    ):
        client.proximal_step(theta, L1, step_size=1.0, out=theta)


def test_what_the_hand_off_is_sent(socket_folder: Path) -> None:
    """The bytes of the protocol, to the last."""
    raw: list[bytes] = []

    def note(peer: socket.socket, request: bytes) -> None:
        raw.append(request)
        gives(peer, request)

    path = socket_folder / "s"
    with handing_off(path, note), Client(f"unix:{path}") as client, client.shared_array(3):
        pass
    assert raw[0] == b"RGM1" + struct.pack("<IQ", 1, 12) + bytes(16)
    assert raw[1][:16] == b"RGM1" + struct.pack("<IQ", 2, 0)
