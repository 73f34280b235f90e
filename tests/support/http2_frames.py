"""HTTP/2 written by hand: calls with headers that no gRPC client would send."""

from __future__ import annotations

import socket
import struct
from contextlib import contextmanager
from typing import TYPE_CHECKING

from tests.support.messages import SERVICE, TIMEOUT

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
FRAME_HEADER = 9
FIRST_WINDOW = 65535
LARGEST_FRAME = 16384
DATA, HEADERS, RST_STREAM, SETTINGS, PING, WINDOW_UPDATE = 0, 1, 3, 4, 6, 8
END_STREAM, END_HEADERS, ACK = 1, 4, 1
INITIAL_WINDOW_SIZE = 4
EMPTY_MESSAGE = bytes(5)
"""A message without bytes: not compressed, and of length 0."""


def frame(kind: int, flags: int, stream: int, payload: bytes) -> bytes:
    """One frame."""
    return struct.pack(">I", len(payload))[1:] + struct.pack(">BBI", kind, flags, stream) + payload


def field(name: bytes, value: bytes) -> bytes:
    """A header field, literal and without compression."""
    assert max(len(name), len(value)) < 0x7F
    return b"\x00" + bytes([len(name)]) + name + bytes([len(value)]) + value


def headers(method: str, *more: tuple[bytes, bytes]) -> bytes:
    """The headers of a call, and more; the method is one of the service, or a path."""
    path = method if method.startswith("/") else f"/{SERVICE}/{method}"
    of_call = [
        (b":method", b"POST"),
        (b":scheme", b"http"),
        (b":path", path.encode()),
        (b":authority", b"localhost"),
        (b"te", b"trailers"),
        (b"content-type", b"application/grpc"),
    ]
    return b"".join(field(*each) for each in [*of_call, *more])


@contextmanager
def connected(address: str) -> Iterator[socket.socket]:
    """A connection to a server's Unix socket or TCP address that has begun to speak HTTP/2."""
    if address.startswith("unix:"):
        connection = socket.socket(socket.AF_UNIX)
        connection.connect(address.removeprefix("unix:"))
    else:
        host, _, port = address.rpartition(":")
        connection = socket.create_connection((host, int(port)))
    with connection:
        connection.settimeout(TIMEOUT)
        connection.sendall(PREFACE + frame(SETTINGS, 0, 0, b""))
        yield connection


def status_of(address: str, method: str, more: Sequence[tuple[bytes, bytes]]) -> int:
    """The gRPC status of a call with one empty message and these headers beside a call's own."""
    with connected(address) as connection:
        connection.sendall(
            frame(HEADERS, END_HEADERS, 1, headers(method, *more)) + frame(DATA, END_STREAM, 1, EMPTY_MESSAGE)
        )
        name, received = b"grpc-status", b""
        while (at := received.find(name)) < 0 or len(received) < at + len(name) + 4:
            piece = connection.recv(1 << 16)
            assert piece, received
            received += piece
    length = received[at + len(name)]
    return int(received[at + len(name) + 1 :][:length])


class MuteSender:
    """A connection with one call, which sends all that it may and takes no answer.

    Args:
        connection: Has begun to speak HTTP/2.
        method: Of the service.
        messages: What to send, again and again.
    """

    def __init__(self, connection: socket.socket, method: str, messages: Iterator[bytes]) -> None:
        self.sent = 0
        self._connection = connection
        self._messages = messages
        self._message = b""
        self._received = b""
        self._windows = {0: FIRST_WINDOW, 1: FIRST_WINDOW}
        self._first_window = FIRST_WINDOW
        connection.sendall(frame(HEADERS, END_HEADERS, 1, headers(method)))

    def send_all(self, most: int, quiet: float) -> None:
        """Send until so much is sent, or until the server has given no more room for so many seconds."""
        self._connection.settimeout(quiet)
        while self.sent < most:
            room = min(*self._windows.values(), LARGEST_FRAME)
            if room > 0:
                self._send(room)
            else:
                try:
                    self._receive()
                except TimeoutError:
                    return

    def _send(self, room: int) -> None:
        if not self._message:
            message = next(self._messages)
            self._message = struct.pack(">BI", 0, len(message)) + message
        piece, self._message = self._message[:room], self._message[room:]
        self._connection.sendall(frame(DATA, 0, 1, piece))
        self.sent += len(piece)
        self._windows = {stream: window - len(piece) for stream, window in self._windows.items()}

    def _receive(self) -> None:
        piece = self._connection.recv(1 << 16)
        assert piece, "the server has closed the connection"
        self._received += piece
        while len(self._received) >= FRAME_HEADER:
            size = int.from_bytes(self._received[:3], "big")
            kind, flags, stream = struct.unpack(">BBI", self._received[3:FRAME_HEADER])
            end = FRAME_HEADER + size
            if len(self._received) < end:
                return
            payload, self._received = self._received[FRAME_HEADER:end], self._received[end:]
            self._take(kind, flags, stream, payload)

    def _take(self, kind: int, flags: int, stream: int, payload: bytes) -> None:
        if kind == WINDOW_UPDATE:
            self._windows[stream] += int.from_bytes(payload, "big")
        elif kind == PING and not flags & ACK:
            # Who does not answer is taken for slow, and given less room.
            self._connection.sendall(frame(PING, ACK, 0, payload))
        elif kind == SETTINGS and not flags & ACK:
            for name, value in struct.iter_unpack(">HI", payload):
                if name == INITIAL_WINDOW_SIZE:
                    self._windows[1] += value - self._first_window
                    self._first_window = value
            self._connection.sendall(frame(SETTINGS, ACK, 0, b""))
