"""A connection to the hand-off of shared memory, over which descriptors of memory come.

What a connection was given is the server's to free when the connection closes.
"""

from __future__ import annotations

import errno
import fcntl
import mmap
import os
import select
import socket
import threading
import time
from pathlib import Path
from typing import NamedTuple

import grpc
from regularization.hand_off import (
    MOST_BYTES,
    NO_HANDLE,
    REPLY_BYTES,
    SUFFIX,
    Operation,
    Reply,
    Request,
    Status,
)

from .._errors import DeadlineExceededError, ProtocolError, SharedMemoryError, UnavailableError

_SECONDS_TO_SHOW = 0.1
_SHORTEST_WAIT = 0.001
_NO_SERVER = (errno.ENOENT, errno.ECONNREFUSED, errno.EAGAIN)


class Memory(NamedTuple):
    """Memory that was handed over."""

    handle: bytes
    """What calls name it by."""

    content: mmap.mmap


class HandOff:
    """A connection to a server's hand-off socket. Several threads may use it.

    Args:
        path: Of the server's own Unix socket.
        timeout: Seconds that the server may take to answer; None for no limit.

    Raises:
        UnavailableError: If there is no server.
        SharedMemoryError: If the server offers no shared memory.
    """

    def __init__(self, path: str, timeout: float | None) -> None:
        self._lock = threading.Lock()
        # Not inherited by programs that this one starts: memory must go when this process does.
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._socket.settimeout(timeout)
        self._timeout = timeout
        try:
            self._socket.connect(path + SUFFIX)
        except OSError as error:
            self._socket.close()
            raise _no_connection(path, error) from error

    def allocate(self, size: int) -> Memory:
        """Return memory of so many bytes, at least one, all of them 0.

        Raises:
            SharedMemoryError: If there is no room for it.
            ProtocolError: If what comes is not memory of that size, sealed against shrinking.
            ConnectionError: If the server has closed the connection.
        """
        if size > MOST_BYTES:
            raise SharedMemoryError(f"no server has {size} bytes of shared memory")
        reply, descriptor = self._ask(Request(Operation.ALLOCATE, size))
        try:
            if reply.status != Status.OK:
                raise SharedMemoryError(_refusal(reply.status, size))
            if (
                descriptor is None
                or min(reply.size, os.fstat(descriptor).st_size) < size
                or reply.handle == NO_HANDLE
            ):
                raise ProtocolError("the hand-off of shared memory came without all of the memory")
            if not _keeps_its_size(descriptor):
                raise ProtocolError("the hand-off of shared memory came with memory that is not sealed")
            return Memory(reply.handle, mmap.mmap(descriptor, size))
        except (OSError, ValueError, OverflowError) as error:
            raise SharedMemoryError(f"cannot map {size} bytes of shared memory: {error}") from error
        finally:
            if descriptor is not None:
                os.close(descriptor)

    def release(self, handle: bytes) -> None:
        """Let the server free memory. It does so by itself where the connection is closed."""
        try:
            self._ask(Request(Operation.RELEASE, handle=handle))
        except (ConnectionError, DeadlineExceededError):
            self.close()

    def closed_by_server(self) -> bool:
        """Whether the connection is no more, which is how a server's end shows, soon after."""
        with self._lock:
            try:
                readable, _, _ = select.select([self._socket], [], [], _SECONDS_TO_SHOW)
                # Nothing comes unasked but the end.
                return bool(readable) and not self._socket.recv(1, socket.MSG_PEEK)
            except (OSError, ValueError):
                return True

    def close(self) -> None:
        """Close the connection. Closing again does nothing."""
        self._socket.close()

    def _ask(self, request: Request) -> tuple[Reply, int | None]:
        with self._lock:
            try:
                deadline = None if self._timeout is None else time.monotonic() + self._timeout
                self._socket.settimeout(self._timeout)
                self._socket.sendall(request.pack())
                raw, descriptor = self._receive(deadline)
            except TimeoutError as error:
                # What comes late would be taken for the answer to the next request.
                self._socket.close()
                raise DeadlineExceededError("the hand-off of shared memory did not answer in time") from error
            except OSError as error:
                self._socket.close()
                raise ConnectionError(str(error)) from error
        return Reply.unpack(raw), descriptor

    def _receive(self, deadline: float | None) -> tuple[bytes, int | None]:
        reply, descriptors, _, _ = socket.recv_fds(self._socket, REPLY_BYTES, 1, socket.MSG_CMSG_CLOEXEC)
        descriptor = descriptors[0] if descriptors else None
        try:
            while len(reply) < REPLY_BYTES:
                # The time is for the whole reply, in however many pieces it comes.
                if deadline is not None:
                    self._socket.settimeout(max(deadline - time.monotonic(), _SHORTEST_WAIT))
                more = self._socket.recv(REPLY_BYTES - len(reply)) if reply else b""
                if not more:
                    raise ConnectionResetError("the server closed the hand-off of shared memory")
                reply += more
                if deadline is not None and len(reply) < REPLY_BYTES and time.monotonic() > deadline:
                    raise TimeoutError("the reply did not come in time")
        except OSError:
            if descriptor is not None:
                os.close(descriptor)
            raise
        return reply, descriptor


def _keeps_its_size(descriptor: int) -> bool:
    """Whether nobody can cut the memory off: who reads what was cut off is killed by the system."""
    try:
        return bool(fcntl.fcntl(descriptor, fcntl.F_GET_SEALS) & fcntl.F_SEAL_SHRINK)
    except OSError:
        return False


def _no_connection(path: str, error: OSError) -> Exception:
    place = f"{path}{SUFFIX}".replace("\0", "@")
    if isinstance(error, TimeoutError):
        return DeadlineExceededError(f"{place}: the hand-off of shared memory did not answer in time")
    if error.errno == errno.ENOENT and Path(path).exists():
        return SharedMemoryError(f"the server at {path} offers no shared memory: there is no {place}")
    if error.errno in _NO_SERVER:
        return UnavailableError(f"{place}: no server is there: {error}", code=grpc.StatusCode.UNAVAILABLE)
    return SharedMemoryError(f"{place} cannot be connected to: {error}")


def _refusal(status: int, size: int) -> str:
    reasons: dict[int, str] = {
        Status.NO_ROOM: "which is more than its budget for shared memory leaves, or allows at all",
        Status.TOO_MANY_REGIONS: "for it has given out as many regions as it may",
    }
    reason = reasons.get(status, f"with status {status}")
    return f"the server refuses {size} bytes of shared memory, {reason}"
