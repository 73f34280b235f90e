"""Whatever a hand-off gives for shared memory, a caller gets memory or an error of the package's own."""

from __future__ import annotations

import os
import socket
import struct
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from regularization_client import (
    Client,
    DeadlineExceededError,
    ProtocolError,
    RegularizationError,
    SharedMemoryError,
)

from tests.support.faulty_hand_off import gives, handing_off, reply


def passes(make: Callable[[], int], granted: int = 12, handle: bytes = b"h" * 16) -> Callable[..., None]:
    """A hand-off that passes a descriptor of its own making."""

    def deed(peer: socket.socket, request: bytes) -> None:
        descriptor = make()
        socket.send_fds(peer, [reply(size=granted, handle=handle)], [descriptor])
        os.close(descriptor)

    return deed


def unsealed() -> int:
    """Memory that the server may cut off later, which would kill whoever reads it."""
    descriptor = os.memfd_create("test", os.MFD_ALLOW_SEALING)
    os.ftruncate(descriptor, 4096)
    return descriptor


def says_text(peer: socket.socket, request: bytes) -> None:
    """Is some other server."""
    peer.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n....")


HAND_OFFS: dict[str, tuple[type[RegularizationError], Callable[[socket.socket, bytes], None]]] = {
    "garbage": (SharedMemoryError, lambda peer, request: peer.sendall(b"\xff" * 32)),
    "text": (
        SharedMemoryError,
        lambda peer, request: peer.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n...."),
    ),
    "memory that can shrink": (ProtocolError, passes(unsealed)),
    "a file": (ProtocolError, passes(lambda: os.open(__file__, os.O_RDONLY))),
    "a socket": (ProtocolError, passes(lambda: socket.socket(socket.AF_UNIX).detach())),
    "a device": (ProtocolError, passes(lambda: os.open("/dev/zero", os.O_RDWR))),
    "a size beyond every number": (ProtocolError, passes(unsealed, granted=(1 << 64) - 1)),
    "a handle of zeros": (ProtocolError, passes(unsealed, handle=bytes(16))),
}


@pytest.mark.parametrize(("kind", "deed"), HAND_OFFS.values(), ids=HAND_OFFS)
def test_a_hand_off_that_gives_something_else_is_refused(
    socket_folder: Path, kind: type[RegularizationError], deed: Callable[[socket.socket, bytes], None]
) -> None:
    """Before it is mapped; and what comes next is taken."""
    path, deeds = socket_folder / "s", [deed]

    def act(peer: socket.socket, request: bytes) -> None:
        (deeds.pop() if deeds else gives)(peer, request)

    with handing_off(path, act), Client(f"unix:{path}", timeout=5) as client:
        with pytest.raises(kind) as caught:
            client.shared_array(3)
        assert type(caught.value) is kind
        assert client.shared_array(3).arrays.shape == (3,)


def test_a_reply_that_trickles_is_not_waited_for(socket_folder: Path) -> None:
    """The time is for the whole of it, not for each byte."""
    done = threading.Event()

    def trickle(peer: socket.socket, request: bytes) -> None:
        for byte in struct.pack("<32B", *range(32)):
            if done.wait(0.2):
                return
            peer.sendall(bytes([byte]))

    path = socket_folder / "s"
    with handing_off(path, trickle), Client(f"unix:{path}", timeout=0.5) as client:
        began = time.monotonic()
        with pytest.raises(DeadlineExceededError):
            client.shared_array(3)
        took = time.monotonic() - began
        done.set()
    assert took < 4
