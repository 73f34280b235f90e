"""Calls that HTTP/2 breaks off, and frames that break its rules: whoever sends them harms nobody but himself.

The negative cases of gRPC's interoperability tests from the client's side, by a client written by hand.
"""

from __future__ import annotations

import socket
import struct
import time
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

import grpc
import pytest
from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.events import (
    ConnectionTerminated,
    DataReceived,
    PingAckReceived,
    RemoteSettingsChanged,
    StreamEnded,
    StreamReset,
)
from h2.settings import SettingCodes
from regularization_server import Server, Settings

from tests.support.attackers import message
from tests.support.http2_frames import (
    DATA,
    END_HEADERS,
    HEADERS,
    PING,
    PREFACE,
    SETTINGS,
    WINDOW_UPDATE,
    frame,
    headers,
)
from tests.support.messages import SERVICE, TIMEOUT, chunk, good_call, header, request
from tests.support.processes import channel_to, until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from h2.events import Event

CANCEL, ENHANCE_YOUR_CALM = 8, 11
FIRST = request("gradient", header=header("gradient"), chunk=chunk((1, 2, 3, 4))).SerializeToString()
REST = request("gradient", chunk=chunk((5, 6, 7, 8), offset=4)).SerializeToString()


class HandWrittenClient:
    """One connection, which makes calls of its own kind.

    Args:
        connection: A socket to a server.
    """

    def __init__(self, connection: socket.socket) -> None:
        self.http = H2Connection(H2Configuration(client_side=True))
        self.events: list[Event] = []
        self.most_streams: int | None = None
        self.is_over = False
        self._connection = connection
        self._connection.settimeout(TIMEOUT)
        self.http.initiate_connection()
        self.flush()

    def begin(self) -> int:
        """Send the headers of a call; its stream."""
        stream = self.http.get_next_available_stream_id()
        names = {
            ":method": "POST",
            ":scheme": "http",
            ":path": f"/{SERVICE}/Gradient",
            ":authority": "localhost",
            "te": "trailers",
            "content-type": "application/grpc",
        }
        self.http.send_headers(stream, list(names.items()))
        self.flush()
        return stream

    def send(self, stream: int, content: bytes, *, end: bool = False) -> None:
        """Send bytes of a call."""
        self.http.send_data(stream, content, end_stream=end)
        self.flush()

    def reset(self, stream: int) -> None:
        """Cancel a call."""
        self.http.reset_stream(stream, CANCEL)
        self.flush()

    def flush(self) -> None:
        """Send what is to be sent."""
        self._connection.sendall(self.http.data_to_send())

    def send_raw(self, content: bytes) -> None:
        """Send bytes past all rules."""
        self._connection.sendall(content)

    def read_until(self, holds: Callable[[], bool]) -> None:
        """Read until something holds, or the connection is over."""
        while not holds() and not self.is_over:
            piece = self._connection.recv(1 << 16)
            if not piece:
                self.is_over = True
                return
            for event in self.http.receive_data(piece):
                self.events.append(event)
                if isinstance(event, ConnectionTerminated):
                    self.is_over = True
                elif isinstance(event, DataReceived):
                    self.http.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
                elif isinstance(event, RemoteSettingsChanged):
                    changed = event.changed_settings.get(SettingCodes.MAX_CONCURRENT_STREAMS)
                    self.most_streams = self.most_streams if changed is None else changed.new_value
            if not self.is_over:
                with suppress(BrokenPipeError):  # whoever has closed may have left a last word to be read
                    self.flush()

    def has(self, kind: type[Event], stream: int | None = None) -> bool:
        """Whether such an event has come, of a stream if one is given."""
        return any(
            isinstance(event, kind) and stream in (None, getattr(event, "stream_id", None))
            for event in self.events
        )

    def answer_of(self, stream: int) -> bytes:
        """All that a call is answered, once it is over."""
        self.read_until(lambda: self.has(StreamEnded, stream))
        return b"".join(
            event.data
            for event in self.events
            if isinstance(event, DataReceived) and event.stream_id == stream and event.data
        )


@contextmanager
def by_hand(server: Server) -> Iterator[HandWrittenClient]:
    """A connection to a server's Unix socket."""
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(server.addresses[0].removeprefix("unix:"))
        yield HandWrittenClient(connection)


def in_flight(server: Server) -> int:
    """Calls whose handlers run."""
    return server._calls.in_flight


def good_answer(client: HandWrittenClient) -> bytes:
    """What a call that is made in order is answered."""
    stream = client.begin()
    client.send(stream, message(FIRST) + message(REST), end=True)
    return client.answer_of(stream)


@pytest.mark.parametrize("sent", ["headers", "half a message", "a message", "all"])
def test_a_call_that_is_reset_ends_and_others_of_its_connection_go_on(server: Server, sent: str) -> None:
    """After its headers, during and after its data: the server forgets it, and answers its neighbours."""
    content = {
        "headers": b"",
        "half a message": message(FIRST)[:20],
        "a message": message(FIRST),
        "all": message(FIRST) + message(REST),
    }[sent]
    with by_hand(server) as client:
        expected = good_answer(client)
        beside = client.begin()
        client.send(beside, message(FIRST))
        stream = client.begin()
        if content:
            client.send(stream, content, end=sent == "all")
        client.reset(stream)
        client.send(beside, message(REST), end=True)
        assert client.answer_of(beside) == expected
        assert good_answer(client) == expected
    until(lambda: in_flight(server) == 0 and server.budget.used == 0)


def test_a_client_that_goes_away_has_its_calls_answered(server: Server) -> None:
    """It takes no streams of the server's any more, of which there are none; its own go on."""
    with by_hand(server) as client:
        expected = good_answer(client)
        stream = client.begin()
        client.send(stream, message(FIRST))
        client.send_raw(frame(7, 0, 0, struct.pack(">II", 0, 0)))
        client.send(stream, message(REST), end=True)
        assert client.answer_of(stream) == expected
    until(lambda: in_flight(server) == 0)


def test_a_ping_is_answered_in_the_middle_of_a_call(server: Server) -> None:
    """And the call goes on."""
    with by_hand(server) as client:
        stream = client.begin()
        client.send(stream, message(FIRST))
        client.http.ping(b"12345678")
        client.flush()
        client.read_until(lambda: client.has(PingAckReceived))
        client.send(stream, message(REST), end=True)
        assert client.answer_of(stream)


def test_a_flood_of_pings_ends_its_connection(server: Server) -> None:
    """With a word that says so; other connections do not notice."""
    with by_hand(server) as client:
        client.send_raw(b"".join(frame(PING, 0, 0, struct.pack(">Q", number)) for number in range(200)))
        client.read_until(lambda: False)
        ends = [event for event in client.events if isinstance(event, ConnectionTerminated)]
        assert [end.error_code for end in ends][:1] == [ENHANCE_YOUR_CALM]
    with channel_to(server.addresses[0]) as channel:
        good_call(channel)
    until(lambda: in_flight(server) == 0)


def test_calls_beyond_the_limit_of_a_connection_are_refused(tmp_path: Path) -> None:
    """Of a client that does not obey: those within it are answered, and the others are reset."""
    settings = Settings(listen=(f"unix:{tmp_path / 's'}",), max_streams_per_connection=4)
    with Server(settings) as server, by_hand(server) as client:
        expected = good_answer(client)
        assert client.most_streams == 4
        # To the library the limit holds, too.
        client.http.remote_settings[SettingCodes.MAX_CONCURRENT_STREAMS] = 100
        client.http.remote_settings.acknowledge()
        streams = [client.begin() for _ in range(8)]
        client.read_until(lambda: sum(isinstance(each, StreamReset) for each in client.events) == 4)
        refused = {event.stream_id for event in client.events if isinstance(event, StreamReset)}
        assert refused == set(streams[4:])
        for stream in streams[:4]:
            client.send(stream, message(FIRST) + message(REST), end=True)
        assert [client.answer_of(stream) for stream in streams[:4]] == [expected] * 4


LONG = 1 << 15
BROKEN = {
    "no preface": b"GET / HTTP/1.1\r\nhost: localhost\r\n\r\n",
    "data of no stream": frame(DATA, 0, 1, b"x"),
    "data of the connection": frame(DATA, 0, 0, b"x"),
    "headers that are none": frame(HEADERS, END_HEADERS, 1, b"\xff" * 40),
    "headers of an even stream": frame(HEADERS, END_HEADERS, 2, headers("Gradient")),
    "headers without an end": frame(HEADERS, 0, 1, headers("Gradient")) + frame(PING, 0, 0, bytes(8)),
    "a frame that is too long": frame(DATA, 0, 1, bytes(LONG)),
    "a ping of seven bytes": frame(PING, 0, 0, bytes(7)),
    "settings of five bytes": frame(SETTINGS, 0, 0, bytes(5)),
    "a window that is too large": frame(WINDOW_UPDATE, 0, 0, struct.pack(">I", (1 << 31) - 1)) * 2,
    "half a frame": frame(HEADERS, END_HEADERS, 1, headers("Gradient"))[:20],
    "frames of a kind that there is not": frame(200, 255, 3, bytes(100)) * 100,
}


@pytest.mark.parametrize("what", BROKEN)
def test_frames_that_break_the_rules_harm_nobody_else(
    server: Server, channel: grpc.Channel, what: str
) -> None:
    """The connection may end or not; the server has no call of it left, and answers others."""
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(server.addresses[0].removeprefix("unix:"))
        connection.settimeout(0.2)
        begin = b"" if what == "no preface" else PREFACE + frame(SETTINGS, 0, 0, b"")
        connection.sendall(begin + BROKEN[what])
        began = time.monotonic()
        good_call(channel)
        try:
            while connection.recv(1 << 16):
                assert time.monotonic() - began < TIMEOUT
        except (TimeoutError, ConnectionResetError):
            pass
        good_call(channel)
    until(lambda: in_flight(server) == 0)
