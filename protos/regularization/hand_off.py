"""The hand-off of shared memory: what goes over the Unix socket beside a server's own.

Written by hand, for both ends; ``shared_memory.proto`` and docs/shared-memory.md say what it means. A request
has 32 bytes, and so has its reply; the reply to an allocation carries the memory's descriptor.
"""

from __future__ import annotations

import struct
from enum import IntEnum
from typing import NamedTuple

SUFFIX = ".memory"
"""What the name of the socket has behind that of the server's own."""

MAGIC = b"RGM1"
"""What every request begins with: the protocol and its version."""

HANDLE_BYTES = 16
"""Length of a region's handle."""

NO_HANDLE = bytes(HANDLE_BYTES)
"""Stands where there is no region."""

MOST_BYTES = (1 << 64) - 1
"""The largest size that a request can state."""

_REQUEST = struct.Struct(f"<4sIQ{HANDLE_BYTES}s")
_REPLY = struct.Struct(f"<IIQ{HANDLE_BYTES}s")

REQUEST_BYTES, REPLY_BYTES = _REQUEST.size, _REPLY.size
"""Lengths of a request and of a reply."""


class Operation(IntEnum):
    """What a request asks for."""

    ALLOCATE = 1
    RELEASE = 2


class Status(IntEnum):
    """How a request ended."""

    OK = 0
    MALFORMED = 1
    NO_ROOM = 2
    TOO_MANY_REGIONS = 3
    NO_SUCH_REGION = 4


class Request(NamedTuple):
    """What a client asks."""

    operation: int
    """An ``Operation``, or whatever number came."""

    size: int = 0
    """Bytes to allocate; 0 in a release."""

    handle: bytes = NO_HANDLE
    """The region to release; none in an allocation."""

    magic: bytes = MAGIC
    """``MAGIC``, or whatever came in its place."""

    @classmethod
    def unpack(cls, raw: bytes) -> Request:
        """Return what ``REQUEST_BYTES`` bytes say."""
        magic, operation, size, handle = _REQUEST.unpack(raw)
        return cls(operation, size, handle, magic)

    def pack(self) -> bytes:
        """Return its bytes."""
        return _REQUEST.pack(self.magic, self.operation, self.size, self.handle)


class Reply(NamedTuple):
    """What the server answers."""

    status: int
    """A ``Status``, or whatever number came."""

    size: int = 0
    """Bytes of the region that was allocated."""

    handle: bytes = NO_HANDLE
    """The region that was allocated or released."""

    @classmethod
    def unpack(cls, raw: bytes) -> Reply:
        """Return what ``REPLY_BYTES`` bytes say."""
        status, _, size, handle = _REPLY.unpack(raw)
        return cls(status, size, handle)

    def pack(self) -> bytes:
        """Return its bytes."""
        return _REPLY.pack(self.status, 0, self.size, self.handle)
