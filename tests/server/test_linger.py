"""A stop over TCP: a call's end waits for who still reads, and nobody waits for nothing."""

from __future__ import annotations

import time
from threading import Thread

import grpc
import pytest
from regularization_server import Server, Settings

from tests.support.http2_frames import (
    DATA,
    EMPTY_MESSAGE,
    END_HEADERS,
    END_STREAM,
    HEADERS,
    connected,
    frame,
    headers,
)
from tests.support.messages import TIMEOUT, OpenCall, good_call
from tests.support.processes import channel_to, until

LINGER = 1.0
FOREVER = 600.0


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
