"""HTTP/2 written by hand: calls with headers that no gRPC client would send."""

from __future__ import annotations

import socket
import struct
from contextlib import contextmanager
from typing import TYPE_CHECKING

from tests.server.messages import SERVICE, TIMEOUT

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA, HEADERS, SETTINGS = 0, 1, 4
END_STREAM, END_HEADERS = 1, 4
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
    """The headers of a call, and more."""
    of_call = [
        (b":method", b"POST"),
        (b":scheme", b"http"),
        (b":path", f"/{SERVICE}/{method}".encode()),
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
