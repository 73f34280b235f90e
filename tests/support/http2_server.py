"""A server that speaks HTTP/2 by hand, and breaks off answers as no gRPC server would.

What it answers is right: a real server makes it. What is wrong is how it goes out.
"""

from __future__ import annotations

import socket
import struct
import threading
from collections import deque
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING

from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.events import ConnectionTerminated, DataReceived, PingAckReceived, RequestReceived, StreamEnded
from h2.exceptions import ProtocolError
from h2.settings import SettingCodes, Settings

from tests.support.http2_frames import DATA, END_HEADERS, END_STREAM, HEADERS, field, frame

if TYPE_CHECKING:
    from collections.abc import Iterator

    import grpc

_PIECE = 1 << 16
_PREFIX = 5
"""Bytes before a message: whether it is compressed, and its length."""


class Break(Enum):
    """How an answer breaks off, or what comes with it."""

    RESET_AFTER_HEADERS = "reset after headers"
    RESET_DURING_DATA = "reset during data"
    RESET_AFTER_DATA = "reset after data"
    """All of it is there but the status."""
    GO_AWAY = "go away"
    """The answer goes on after its first message; its connection takes no other."""
    GO_AWAY_UNSERVED = "go away, unserved"
    """The connection takes no call any more, and says that it has not looked at this one."""
    PINGS = "pings"
    """A ping after each message."""


@dataclass(frozen=True)
class Breaking:
    """How an answer breaks off.

    Args:
        how: How.
        code: The error code of a reset.
    """

    how: Break
    code: int = 0


class HandWrittenServer:
    """Answers calls, in its own way.

    Args:
        real: A channel to who makes the answers.
        most_streams: How many calls a connection may have at once.

    Attributes:
        address: Where it listens.
        breaking: Each call has the next of these; without any, its answer is whole.
        connections: How many there were.
        calls: How many there were.
        most_at_once: The most calls that a connection had at once.
        acknowledged: How many pings were answered.
    """

    def __init__(self, real: grpc.Channel, most_streams: int = 100) -> None:
        self.breaking: deque[Breaking] = deque()
        self.connections = 0
        self.calls = 0
        self.most_at_once = 0
        self.acknowledged = 0
        self.real = real
        self.most_streams = most_streams
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.address = f"127.0.0.1:{self._listener.getsockname()[1]}"
        self._sockets: list[socket.socket] = [self._listener]
        self._threads = [threading.Thread(target=self._accept, daemon=True)]
        self._threads[0].start()

    def close(self) -> None:
        """End all connections."""
        for each in self._sockets:
            with suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
            each.close()
        for thread in self._threads:
            thread.join()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            self.connections += 1
            self._sockets.append(connection)
            thread = threading.Thread(target=_Connection(self, connection).serve, daemon=True)
            self._threads.append(thread)
            thread.start()


class _Connection:
    """One connection."""

    def __init__(self, server: HandWrittenServer, connection: socket.socket) -> None:
        self._server = server
        self._connection = connection
        self._http = H2Connection(H2Configuration(client_side=False))
        limits = {SettingCodes.MAX_CONCURRENT_STREAMS: server.most_streams}
        self._http.local_settings = Settings(client=False, initial_values=limits)
        self._paths: dict[int, str] = {}
        self._received: dict[int, bytearray] = {}
        self._ended: deque[int] = deque()

    def serve(self) -> None:
        """Answer calls until the connection ends."""
        with suppress(OSError, ProtocolError):
            self._http.initiate_connection()
            self._flush()
            while self._read():
                while self._ended:
                    self._answer(self._ended.popleft())
        with suppress(OSError):
            self._connection.shutdown(socket.SHUT_RDWR)

    def _read(self) -> bool:
        """Take what comes; whether there may be more."""
        piece = self._connection.recv(_PIECE)
        for event in self._http.receive_data(piece) if piece else ():
            if isinstance(event, RequestReceived):
                path = dict(event.headers)[b":path"].decode()
                self._paths[event.stream_id] = path
                self._received[event.stream_id] = bytearray()
                self._server.most_at_once = max(self._server.most_at_once, len(self._received))
            elif isinstance(event, DataReceived):
                self._received[event.stream_id] += event.data
                self._http.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
            elif isinstance(event, StreamEnded):
                self._ended.append(event.stream_id)
            elif isinstance(event, PingAckReceived):
                self._server.acknowledged += 1
            elif isinstance(event, ConnectionTerminated):
                return False
        self._flush()
        return bool(piece)

    def _answer(self, stream: int) -> None:
        self._server.calls += 1
        breaking = self._server.breaking.popleft() if self._server.breaking else None
        how = None if breaking is None else breaking.how
        call = self._server.real.stream_stream(self._paths.pop(stream))
        messages = list(call(iter(_messages(bytes(self._received.pop(stream)))), timeout=30))
        if how is Break.GO_AWAY_UNSERVED:
            self._http.close_connection(last_stream_id=stream - 2 if stream > 2 else 0)
            self._flush()
            return
        self._http.send_headers(stream, [(":status", "200"), ("content-type", "application/grpc")])
        if how is Break.RESET_AFTER_HEADERS:
            messages = []
        elif how is Break.RESET_DURING_DATA:
            whole = _framed(messages[-1])
            messages = messages[:-1]
        for number, message in enumerate(messages):
            self._send(stream, _framed(message))
            if how is Break.GO_AWAY and number == 0:
                self._http.close_connection(last_stream_id=stream)
                self._flush()
                # The library takes this for the end of all calls; to the protocol it is that of new ones.
                self._goes_on(stream, messages[1:])
                return
            if how is Break.PINGS:
                self._http.ping(struct.pack(">Q", number))
        if how is Break.RESET_DURING_DATA:
            self._send(stream, whole[: len(whole) // 2])
        if breaking is not None and how in _RESETS:
            self._http.reset_stream(stream, breaking.code)
        else:
            self._http.send_headers(stream, [("grpc-status", "0")], end_stream=True)
        self._flush()

    def _send(self, stream: int, content: bytes) -> None:
        while content:
            room = min(
                self._http.local_flow_control_window(stream), self._http.max_outbound_frame_size, len(content)
            )
            if room <= 0:
                self._flush()
                if not self._read():
                    raise OSError
                continue
            self._http.send_data(stream, content[:room])
            content = content[room:]
        self._flush()

    def _goes_on(self, stream: int, messages: list[bytes]) -> None:
        frames = [frame(DATA, 0, stream, _framed(message)) for message in messages]
        end = frame(HEADERS, END_HEADERS | END_STREAM, stream, field(b"grpc-status", b"0"))
        self._connection.sendall(b"".join([*frames, end]))
        while self._connection.recv(_PIECE):
            continue

    def _flush(self) -> None:
        self._connection.sendall(self._http.data_to_send())


_RESETS = (Break.RESET_AFTER_HEADERS, Break.RESET_DURING_DATA, Break.RESET_AFTER_DATA)


def _framed(message: bytes) -> bytes:
    return struct.pack(">BI", 0, len(message)) + message


def _messages(received: bytes) -> list[bytes]:
    """The messages that a request's bytes have."""
    messages, at = [], 0
    while at < len(received):
        _, length = struct.unpack(">BI", received[at : at + _PREFIX])
        messages.append(received[at + _PREFIX : at + _PREFIX + length])
        at += _PREFIX + length
    return messages


@contextmanager
def hand_written_server(real: grpc.Channel, most_streams: int = 100) -> Iterator[HandWrittenServer]:
    """A server that answers what a real one answers."""
    server = HandWrittenServer(real, most_streams)
    try:
        yield server
    finally:
        server.close()
