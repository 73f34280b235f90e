"""Callers that mean no good: a connection with many calls that begin, and do not go on as calls do."""

from __future__ import annotations

import socket
import struct
import threading
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

from tests.support.http2_frames import (
    ACK,
    DATA,
    END_HEADERS,
    END_STREAM,
    FRAME_HEADER,
    HEADERS,
    INITIAL_WINDOW_SIZE,
    PING,
    RST_STREAM,
    SETTINGS,
    connected,
    frame,
    headers,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

CHECK = "/grpc.health.v1.Health/Check"
WATCH = "/grpc.health.v1.Health/Watch"
REFLECT = "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo"
CANCEL = 8


def message(content: bytes) -> bytes:
    """A message as gRPC frames it."""
    return struct.pack(">BI", 0, len(content)) + content


class Calls:
    """Many calls on one connection; a thread answers what keeps it open.

    Args:
        connection: Has begun to speak HTTP/2.

    Attributes:
        ended: Streams that the server has ended, and when.
    """

    def __init__(self, connection: socket.socket) -> None:
        self.ended: dict[int, float] = {}
        self.closed = False
        self._connection = connection
        self._following = 1
        self._lock = threading.Lock()
        connection.settimeout(None)
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def begin(self, method: str, count: int = 1, *more: tuple[bytes, bytes]) -> list[int]:
        """Send the headers of so many calls, and nothing after them."""
        streams = [self._following + 2 * index for index in range(count)]
        self._following += 2 * count
        block = headers(method, *more)
        self._send(b"".join(frame(HEADERS, END_HEADERS, stream, block) for stream in streams))
        return streams

    def begin_and_reset(self, method: str, count: int) -> None:
        """Begin so many calls, and cancel each at once."""
        block, pieces = headers(method), []
        for _ in range(count):
            pieces.append(frame(HEADERS, END_HEADERS, self._following, block))
            pieces.append(frame(RST_STREAM, 0, self._following, struct.pack(">I", CANCEL)))
            self._following += 2
        self._send(b"".join(pieces))

    def send(self, stream: int, content: bytes, *, end: bool = False) -> None:
        """Send some bytes of a call's messages."""
        self._send(frame(DATA, END_STREAM if end else 0, stream, content))

    def reset(self, streams: list[int]) -> None:
        """Cancel calls."""
        self._send(b"".join(frame(RST_STREAM, 0, stream, struct.pack(">I", CANCEL)) for stream in streams))

    def _send(self, content: bytes) -> None:
        with self._lock:
            self._connection.sendall(content)

    def _read(self) -> None:
        received = b""
        try:
            while piece := self._connection.recv(1 << 16):
                received = self._taken(received + piece)
        except OSError:
            pass
        self.closed = True

    def _taken(self, received: bytes) -> bytes:
        while len(received) >= FRAME_HEADER:
            size = int.from_bytes(received[:3], "big")
            if len(received) < FRAME_HEADER + size:
                break
            kind, flags, stream = struct.unpack(">BBI", received[3:FRAME_HEADER])
            payload, received = received[FRAME_HEADER : FRAME_HEADER + size], received[FRAME_HEADER + size :]
            if kind == RST_STREAM or (kind in (DATA, HEADERS) and flags & END_STREAM):
                self.ended.setdefault(stream, time.monotonic())
            elif kind == PING and not flags & ACK:
                self._send(frame(PING, ACK, 0, payload))
            elif kind == SETTINGS and not flags & ACK:
                self._send(frame(SETTINGS, ACK, 0, b""))
        return received


@contextmanager
def attacking(address: str, *, reads: bool = True) -> Iterator[Calls]:
    """A connection for many calls.

    Args:
        address: Of the server.
        reads: Whether its calls take messages; where not, the server may send none.
    """
    with connected(address) as connection:
        if not reads:
            connection.sendall(frame(SETTINGS, 0, 0, struct.pack(">HI", INITIAL_WINDOW_SIZE, 0)))
        yield Calls(connection)
        connection.shutdown(socket.SHUT_RDWR)
