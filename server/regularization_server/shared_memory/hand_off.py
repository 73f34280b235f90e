"""The hand-off of shared memory: a Unix socket beside the server's own, over which clients get regions.

A client asks for a region and gets its memory as a descriptor. What it got over a connection is its own until
it releases it or the connection closes, also where the client was killed. One thread serves all connections:
each request is 32 bytes and takes microseconds, and none waits for a client.
"""

from __future__ import annotations

import os
import selectors
import socket
import struct
import time
from dataclasses import dataclass, field
from functools import partial
from threading import Event, Thread
from typing import TYPE_CHECKING

from regularization.hand_off import MAGIC, NO_HANDLE, REQUEST_BYTES, Operation, Reply, Request, Status

from .regions import NoRoom, TooManyRegions

if TYPE_CHECKING:
    from collections.abc import Callable

    from structlog.typing import FilteringBoundLogger

    from .listener import HandOffListener
    from .regions import Regions

# Of asm-generic/socket.h; Python does not have it, and asks for no more than the bytes of 256 groups.
_SO_PEERGROUPS, _SO_PEERGROUPS_BYTES = 59, 1024
_GROUP = struct.Struct("I")

_CREDENTIALS = struct.Struct("iII")
"""Process, user and group of a peer when it connected."""

_SECONDS_WITHOUT_DESCRIPTOR = 0.1
"""Time to wait where the process may open no more files, before the next client is looked at."""


@dataclass(eq=False)
class _Connection:
    """A client, what it has sent of its next request, and the handles that are its own."""

    socket: socket.socket
    user: int
    received: bytearray = field(default_factory=bytearray)
    handles: set[bytes] = field(default_factory=set)


class HandOff:
    """Hands regions out.

    Args:
        regions: Where regions come from.
        group: Members of this group may come, beside the server's own user; None for nobody else.
        most_connections: Connections that there may be at once; those beyond are closed.
        log: Where it is told who was refused and what went wrong.
    """

    def __init__(
        self,
        regions: Regions,
        group: int | None,
        most_connections: int,
        log: FilteringBoundLogger,
    ) -> None:
        self._listeners: list[HandOffListener] = []
        self._regions = regions
        self._group = group
        self._most_connections = most_connections
        self._log = log
        self._connections: set[_Connection] = set()
        self._selector = selectors.DefaultSelector()
        self._waker, self._woken = socket.socketpair()
        self._listening_ended = Event()
        self._thread = Thread(target=self._serve, name="shared-memory", daemon=True)

    def add(self, listener: HandOffListener) -> None:
        """Take clients here, from the start on."""
        self._listeners.append(listener)
        self._selector.register(listener.socket, selectors.EVENT_READ, partial(self._accept, listener))

    def start(self) -> None:
        """Serve, in a thread of its own."""
        self._selector.register(self._woken, selectors.EVENT_READ, self._stop_listening)
        self._thread.start()

    def stop_listening(self) -> None:
        """Take no more clients, and give the addresses back. Those that are there go on."""
        self._waker.send(b".")
        self._listening_ended.wait()

    def close(self) -> None:
        """Close every connection, and with it forget its regions; calls that use them keep them to their end.

        Of use once, whether it was started or not.
        """
        self._waker.close()
        if self._thread.ident is None:
            self.start()
        self._thread.join()

    def _serve(self) -> None:
        while self._woken.fileno() >= 0:
            for key, _ in self._selector.select():
                act: Callable[[], None] = key.data
                try:
                    act()
                except Exception as error:
                    self._log.error("fault of the hand-off", exc_info=error)
        for connection in list(self._connections):
            self._close(connection)
        self._selector.close()

    def _stop_listening(self) -> None:
        if not self._woken.recv(1):
            self._selector.unregister(self._woken)
            self._woken.close()
        while self._listeners:
            listener = self._listeners.pop()
            self._selector.unregister(listener.socket)
            listener.close()
        self._listening_ended.set()

    def _accept(self, listener: HandOffListener) -> None:
        if listener not in self._listeners:
            return
        try:
            peer, _ = listener.socket.accept()
        except BlockingIOError:
            return
        except OSError as error:
            # The client stays in the queue, and would wake this thread at once.
            self._log.warning("no connection for shared memory", error=str(error))
            time.sleep(_SECONDS_WITHOUT_DESCRIPTOR)
            return
        user = self._admitted_user(peer)
        if user is None or not self._has_room_for(user):
            peer.close()
            return
        peer.setblocking(False)
        connection = _Connection(peer, user)
        self._connections.add(connection)
        self._selector.register(peer, selectors.EVENT_READ, partial(self._read, connection))

    def _has_room_for(self, user: int) -> bool:
        """Whether there may be another connection, and another one of this user."""
        if len(self._connections) >= self._most_connections:
            return False
        theirs = sum(connection.user == user for connection in self._connections)
        return theirs < self._regions.share.regions

    def _admitted_user(self, peer: socket.socket) -> int | None:
        """The user who comes, if it may have memory; the system says who it is, not the client."""
        raw = peer.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
        _, user, group = _CREDENTIALS.unpack(raw)
        if user == os.geteuid():
            return int(user)
        if self._group is not None and self._group in {group, *_further_groups(peer)}:
            return int(user)
        self._log.info("refused shared memory", user=user, group=group)
        return None

    def _read(self, connection: _Connection) -> None:
        # What is passed along with the bytes is not taken: without a place for it, the system drops it.
        try:
            received = connection.socket.recv(64 * REQUEST_BYTES)
        except BlockingIOError:
            return
        except OSError:
            received = b""
        connection.received += received
        try:
            while len(connection.received) >= REQUEST_BYTES:
                request = Request.unpack(bytes(connection.received[:REQUEST_BYTES]))
                del connection.received[:REQUEST_BYTES]
                self._answer(connection, request)
        except Exception as error:
            self._close(connection)
            # Where the client does not read what it asked for, or is gone, nothing is wrong here.
            if not isinstance(error, OSError):
                raise
            return
        if not received:
            self._close(connection)

    def _answer(self, connection: _Connection, request: Request) -> None:
        if request.magic != MAGIC:
            _send(connection, Reply(Status.MALFORMED))
            raise ConnectionAbortedError
        if request.operation == Operation.ALLOCATE and request.handle == NO_HANDLE:
            self._allocate(connection, request.size)
        elif request.operation == Operation.RELEASE and request.size == 0:
            self._release(connection, request.handle)
        else:
            _send(connection, Reply(Status.MALFORMED))

    def _allocate(self, connection: _Connection, size: int) -> None:
        try:
            region, descriptor = self._regions.allocate(size, connection.user)
        except NoRoom:
            _send(connection, Reply(Status.NO_ROOM))
        except TooManyRegions:
            _send(connection, Reply(Status.TOO_MANY_REGIONS))
        else:
            connection.handles.add(region.handle)
            try:
                _send(connection, Reply(Status.OK, region.size, region.handle), [descriptor])
            finally:
                os.close(descriptor)

    def _release(self, connection: _Connection, handle: bytes) -> None:
        if handle in connection.handles:
            connection.handles.remove(handle)
            self._regions.release(handle)
            _send(connection, Reply(Status.OK, handle=handle))
        else:
            _send(connection, Reply(Status.NO_SUCH_REGION))

    def _close(self, connection: _Connection) -> None:
        self._connections.discard(connection)
        self._selector.unregister(connection.socket)
        connection.socket.close()
        for handle in connection.handles:
            self._regions.release(handle)


def _send(connection: _Connection, reply: Reply, descriptors: list[int] | None = None) -> None:
    """Send a reply, or fail where the client has left no room for it."""
    raw = reply.pack()
    if socket.send_fds(connection.socket, [raw], descriptors or []) < len(raw):
        raise ConnectionAbortedError


def _further_groups(peer: socket.socket) -> list[int]:
    try:
        raw = peer.getsockopt(socket.SOL_SOCKET, _SO_PEERGROUPS, _SO_PEERGROUPS_BYTES)
    except OSError:
        return []
    return [group for (group,) in _GROUP.iter_unpack(raw)]
