"""A hand-off socket that does as a test tells it to: for faults that the real one does not have."""

from __future__ import annotations

import fcntl
import os
import socket
import struct
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

Deed = Callable[[socket.socket, bytes], None]
"""What to do about a request."""


@dataclass
class HandOffs:
    """What has become of a hand-off socket."""

    deed: Deed
    requests: list[tuple[int, int, bytes]] = field(default_factory=list)
    """Operation, size and handle of each."""
    connections: int = 0

    def serve(self, listener: socket.socket) -> None:
        """Take one connection after the other."""
        while True:
            try:
                peer, _ = listener.accept()
            except OSError:
                return
            self.connections += 1
            with peer:
                while request := peer.recv(32, socket.MSG_WAITALL):
                    magic, operation, size, handle = struct.unpack("<4sIQ16s", request)
                    assert magic == b"RGM1"
                    self.requests.append((operation, size, handle))
                    try:
                        self.deed(peer, request)
                    except OSError:
                        break


@contextmanager
def handing_off(path: Path, deed: Deed) -> Iterator[HandOffs]:
    """Serve hand-offs beside a server's socket."""
    hand_offs = HandOffs(deed)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(f"{path}.memory")
        listener.listen()
        thread = threading.Thread(target=hand_offs.serve, args=(listener,), daemon=True)
        thread.start()
        yield hand_offs
        listener.shutdown(socket.SHUT_RDWR)
        thread.join(10)


def reply(status: int = 0, size: int = 0, handle: bytes = bytes(16)) -> bytes:
    """The bytes of a reply."""
    return struct.pack("<IIQ16s", status, 0, size, handle)


def gives(peer: socket.socket, request: bytes) -> None:
    """What a right hand-off does."""
    _, operation, size, handle = struct.unpack("<4sIQ16s", request)
    if operation != 1:
        peer.sendall(reply(handle=handle))
        return
    descriptor = sealed(size)
    socket.send_fds(peer, [reply(size=size, handle=os.urandom(16))], [descriptor])
    os.close(descriptor)


def sealed(size: int) -> int:
    """Memory as a server makes it."""
    descriptor = os.memfd_create("test", os.MFD_ALLOW_SEALING)
    os.ftruncate(descriptor, size)
    fcntl.fcntl(descriptor, fcntl.F_ADD_SEALS, fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SEAL)
    return descriptor
