"""A stop over TCP: a call's end waits for who still reads, and nobody waits for nothing."""

from __future__ import annotations

import math
import socket
import struct
import time
from contextlib import contextmanager
from threading import Thread
from typing import TYPE_CHECKING

import grpc
import numpy as np
import psutil
import pytest
from regularization.v1.layout_pb2 import Segment
from regularization.v1.tensor_pb2 import TensorChunk
from regularization_server import Server, Settings
from regularization_server.server import SECONDS_TO_CLOSE

from tests.support.http2_frames import (
    DATA,
    EMPTY_MESSAGE,
    END_HEADERS,
    END_STREAM,
    HEADERS,
    INITIAL_WINDOW_SIZE,
    LARGEST_FRAME,
    PREFACE,
    SETTINGS,
    WINDOW_UPDATE,
    connected,
    frame,
    headers,
)
from tests.support.messages import TIMEOUT, OpenCall, good_call, header, l1_norm, layout_of, request
from tests.support.processes import channel_to, until

if TYPE_CHECKING:
    from collections.abc import Iterator

LINGER = 1.0
FOREVER = 600.0
ELEMENTS = 12_000
"""An answer that the system takes at once from the server, and cannot hand over to who does not read."""
RECEIVE_BUFFER = 4096
LARGE_WINDOW = 1 << 30


def server_on_tcp(linger: float) -> Server:
    """A server that takes its time when it stops."""
    return Server(Settings(listen=("127.0.0.1:0",), linger=linger))


def test_the_last_message_comes_before_its_calls_end() -> None:
    """While the server stops, an answer comes as soon as ever, and the status behind it later."""
    with server_on_tcp(LINGER) as server, channel_to(server.addresses[0]) as channel:
        open_call = OpenCall(channel)
        stopping = Thread(target=server.stop)
        stopping.start()
        until(lambda: server._drain.has_begun)
        open_call.send_rest()
        assert next(open_call.answers).HasField("summary")
        answered = time.monotonic()
        assert list(open_call.answers) == []
        assert time.monotonic() - answered >= LINGER / 2
        stopping.join()


def test_a_connection_is_open_for_a_while_after_a_call() -> None:
    """A stop right after a call gives whoever reads its answer the same time."""
    with server_on_tcp(LINGER) as server, connected(server.addresses[0]) as connection:
        connection.sendall(
            frame(HEADERS, END_HEADERS, 1, headers("ListRegularizers"))
            + frame(DATA, END_STREAM, 1, EMPTY_MESSAGE)
        )
        received = b""
        while b"grpc-status" not in received:
            received += connection.recv(1 << 16)
        answered = time.monotonic()
        Thread(target=server.stop).start()
        while connection.recv(1 << 16):
            assert time.monotonic() - answered < TIMEOUT
        assert time.monotonic() - answered >= LINGER / 2


@pytest.mark.parametrize("timeout", [0.5, None])
def test_lingering_uses_up_neither_deadline_nor_grace(timeout: float | None) -> None:
    """A call that is done in time is OK, however long the server would linger."""
    with server_on_tcp(FOREVER) as server, channel_to(server.addresses[0]) as channel:
        open_call = OpenCall(channel, timeout=timeout or TIMEOUT)
        results: list[bool] = []
        stopping = Thread(target=lambda: results.append(server.stop(grace=TIMEOUT if timeout else 2)))
        stopping.start()
        until(lambda: server._drain.has_begun)
        (last,) = open_call.finish()
        assert last.HasField("summary")
        assert open_call.answers.code() is grpc.StatusCode.OK
        stopping.join()
        assert results == [True]


def test_a_client_that_goes_ends_the_wait() -> None:
    """Nothing is kept for a call that its client has cancelled after the last message."""
    with server_on_tcp(FOREVER) as server, channel_to(server.addresses[0]) as channel:
        open_call = OpenCall(channel, timeout=FOREVER)
        stopping = Thread(target=server.stop, kwargs={"grace": FOREVER})
        stopping.start()
        until(lambda: server._drain.has_begun)
        open_call.send_rest()
        next(open_call.answers)
        open_call.cancel()
        stopping.join(TIMEOUT)
        assert not stopping.is_alive()


def test_a_server_that_was_not_called_stops_at_once() -> None:
    """Not after the time that a call would have had; nor does a call over a Unix socket need it."""
    server = server_on_tcp(FOREVER)
    server.start()
    with channel_to(server.addresses[0]):
        started = time.monotonic()
        assert server.stop()
    assert time.monotonic() - started < TIMEOUT / 2


def test_calls_on_one_host_end_at_once(tmp_path: object) -> None:
    """Between the two ends of a Unix socket nothing is lost."""
    with Server(Settings(listen=(f"unix:{tmp_path}/s",), linger=FOREVER)) as server:
        with channel_to(server.addresses[0]) as channel:
            good_call(channel)
            started = time.monotonic()
            assert server.stop()
        assert time.monotonic() - started < TIMEOUT / 2


@contextmanager
def answered_but_not_read(server: Server) -> Iterator[socket.socket]:
    """The other end of a call that is over for the server; most of its answer waits in the system."""
    host, _, port = server.addresses[0].rpartition(":")
    layout = layout_of(Segment(name="w", shape=[ELEMENTS], regularizer=l1_norm()))
    chunk = TensorChunk(parameters=np.ones(ELEMENTS, "<f4").tobytes())
    message = request(
        "proximal_step", header=header("proximal_step", layout), chunk=chunk
    ).SerializeToString()
    body = struct.pack(">BI", 0, len(message)) + message
    with socket.socket() as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BUFFER)
        connection.settimeout(TIMEOUT)
        connection.connect((host, int(port)))
        connection.sendall(
            PREFACE
            + frame(SETTINGS, 0, 0, struct.pack(">HI", INITIAL_WINDOW_SIZE, LARGE_WINDOW))
            + frame(WINDOW_UPDATE, 0, 0, struct.pack(">I", LARGE_WINDOW))
            + frame(HEADERS, END_HEADERS, 1, headers("ProximalStep"))
        )
        for begin in range(0, len(body), LARGEST_FRAME):
            piece = body[begin : begin + LARGEST_FRAME]
            connection.sendall(frame(DATA, END_STREAM if begin + len(piece) == len(body) else 0, 1, piece))
        until(lambda: server._drain._last_end > -math.inf and server._calls._open == 0)
        yield connection


def read_to_the_end(connection: socket.socket) -> bytes:
    """What comes until the connection is closed or reset; for each piece that it takes it gives new room."""
    received = b""
    try:
        while b"grpc-status" not in received and (piece := connection.recv(RECEIVE_BUFFER)):
            received += piece
            connection.sendall(frame(WINDOW_UPDATE, 0, 0, struct.pack(">I", len(piece))))
    except ConnectionError:
        pass
    return received


def ends_of_connections() -> set[tuple[str, int]]:
    """The other ends of what this process, which is the server, has open over TCP."""
    return {tuple(each.raddr) for each in psutil.Process().net_connections("tcp") if each.raddr}


def test_without_lingering_a_slow_reader_loses_the_end() -> None:
    """The system resets a connection that is closed and still spoken to, and drops what it had to send."""
    with server_on_tcp(0) as server, answered_but_not_read(server) as connection:
        server.stop()
        # Transport closes it beside this thread, maybe later.
        until(lambda: connection.getsockname() not in ends_of_connections())
        received = read_to_the_end(connection)
        assert len(received) < 4 * ELEMENTS
        assert b"grpc-status" not in received


def test_with_lingering_a_slow_reader_has_the_whole_answer() -> None:
    """The same one, which reads as late, finds the connection open."""
    with server_on_tcp(10 * SECONDS_TO_CLOSE) as server, answered_but_not_read(server) as connection:
        stopping = Thread(target=server.stop)
        stopping.start()
        until(lambda: server._drain.has_begun)
        time.sleep(2 * SECONDS_TO_CLOSE)
        received = read_to_the_end(connection)
        assert len(received) > 4 * ELEMENTS
        assert b"grpc-status" in received
        stopping.join()
