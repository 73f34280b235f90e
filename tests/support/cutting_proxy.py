"""A proxy in front of a server that cuts connections, holds them up, or lets nothing through any more."""

from __future__ import annotations

import socket
import struct
import threading
from collections import deque
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

_PIECE = 1 << 16
_RESET_AT_CLOSE = struct.pack("ii", 1, 0)


class Way(Enum):
    """Which way bytes go."""

    TO_SERVER = "to the server"
    TO_CLIENT = "to the client"


class How(Enum):
    """What becomes of a connection."""

    CLOSE = "close"
    """Both ends hear that it is over."""
    RESET = "reset"
    """Both ends hear that it is broken."""
    HALF_CLOSE = "half close"
    """It is over in this way, and goes on in the other."""
    BLACK_HOLE = "black hole"
    """Nothing comes through any more, in neither way, and nobody hears of it."""
    DELAY = "delay"
    """It goes on, after half a second."""


SECONDS_OF_DELAY = 0.5


@dataclass(frozen=True)
class Cut:
    """What happens to a connection, and when.

    Args:
        how: What.
        way: The way that is counted.
        after: So many bytes that have gone that way have come through.
    """

    how: How
    way: Way
    after: int


class CuttingProxy:
    """Takes connections, and carries what comes to a server and back.

    Args:
        target: Of the server: "unix:/path" or "host:port".

    Attributes:
        address: Where it listens.
        cuts: Each new connection has the next of these; without any it is whole.
        happened: The cuts that were made.
        carried: Of the last connection, the bytes that came through each way.
    """

    def __init__(self, target: str) -> None:
        self._target = target
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.address = f"127.0.0.1:{self._listener.getsockname()[1]}"
        self.cuts: deque[Cut] = deque()
        self.happened: list[Cut] = []
        self.carried: dict[Way, bytearray] = {}
        self._over = threading.Event()
        self._sockets: list[socket.socket] = []
        self._threads = [threading.Thread(target=self._accept, daemon=True)]
        self._threads[0].start()

    def close(self) -> None:
        """End everything."""
        self._over.set()
        self.close_connections()
        _shut(self._listener)
        for thread in self._threads:
            thread.join()

    def close_connections(self) -> None:
        """End all that there are; further ones are taken."""
        # Those that come meanwhile are further ones.
        present, self._sockets = self._sockets, []
        for each in present:
            _shut(each)

    def _accept(self) -> None:
        while not self._over.is_set():
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            self._connect(client)

    def _connect(self, client: socket.socket) -> None:
        self._sockets.append(client)
        try:
            server = _connected(self._target)
        except OSError:
            client.close()
            return
        self._sockets.append(server)
        cut = self.cuts.popleft() if self.cuts else None
        self.carried = {way: bytearray() for way in Way}
        link = _Link(self, client, server, cut, self.carried)
        for way in Way:
            thread = threading.Thread(target=link.carry, args=(way,), daemon=True)
            self._threads.append(thread)
            thread.start()

    def wait(self, seconds: float) -> None:
        """Wait so long, or until the end."""
        self._over.wait(seconds)


class _Link:
    """One connection through the proxy."""

    def __init__(
        self,
        proxy: CuttingProxy,
        client: socket.socket,
        server: socket.socket,
        cut: Cut | None,
        carried: dict[Way, bytearray],
    ) -> None:
        self._proxy = proxy
        self._ends = {Way.TO_SERVER: (client, server), Way.TO_CLIENT: (server, client)}
        self._cut = cut
        self._carried = carried
        self._swallows = False

    def carry(self, way: Way) -> None:
        """Carry what goes one way, until it is over."""
        source, sink = self._ends[way]
        with suppress(OSError):
            while not self._swallows and (piece := source.recv(_PIECE)):
                self._pass(way, piece)
            if not self._swallows:
                sink.shutdown(socket.SHUT_WR)

    def _pass(self, way: Way, piece: bytes) -> None:
        _, sink = self._ends[way]
        cut = self._cut
        if cut is None or cut.way is not way or len(self._carried[way]) + len(piece) < cut.after:
            if not self._swallows:
                self._send(way, piece)
            return
        at = cut.after - len(self._carried[way])
        self._send(way, piece[:at])
        self._cut = None
        self._proxy.happened.append(cut)
        if cut.how is How.DELAY:
            self._proxy.wait(SECONDS_OF_DELAY)
            self._send(way, piece[at:])
        elif cut.how is How.HALF_CLOSE:
            sink.shutdown(socket.SHUT_WR)
        elif cut.how is How.BLACK_HOLE:
            self._swallows = True
        else:
            self._end(reset=cut.how is How.RESET)

    def _send(self, way: Way, piece: bytes) -> None:
        self._ends[way][1].sendall(piece)
        self._carried[way] += piece

    def _end(self, *, reset: bool) -> None:
        for end in self._ends[Way.TO_SERVER]:
            with suppress(OSError):
                if reset and end.family == socket.AF_INET:
                    end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_AT_CLOSE)
                    # Says nothing to the other end, but wakes who reads here and would keep the socket open.
                    end.shutdown(socket.SHUT_RD)
                    end.close()
                    continue
            _shut(end)


def _shut(connection: socket.socket) -> None:
    with suppress(OSError):
        connection.shutdown(socket.SHUT_RDWR)
    connection.close()


def _connected(target: str) -> socket.socket:
    if target.startswith("unix:"):
        connection = socket.socket(socket.AF_UNIX)
        connection.connect(target.removeprefix("unix:"))
        return connection
    host, _, port = target.rpartition(":")
    return socket.create_connection((host, int(port)))


@contextmanager
def cutting_proxy(target: str) -> Iterator[CuttingProxy]:
    """A proxy in front of a server."""
    proxy = CuttingProxy(target)
    try:
        yield proxy
    finally:
        proxy.close()
