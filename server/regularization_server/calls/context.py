"""A call in flight: what is known of it, handed from what happens around it down to its method."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    import grpc
    from regularization_kernels.engine import MemoryBudget

    from .callers import Caller
    from .held_messages import HeldMessages

UNIX_PEER = "unix"
"""What the peers of calls on the same host begin with; between sockets of one host nothing is lost."""


class ClientGone(Exception):
    """Nobody waits for the call's answer any more: it was cancelled, or its time is over."""


class Ending(NamedTuple):
    """How a call ended, for the log."""

    code: grpc.StatusCode
    reason: str | None = None
    place: dict[str, str] | None = None
    """Field, element and figures of an error; nothing that a caller named."""
    fault: Exception | None = None
    """What went wrong, where that is the server's own fault."""


class CallContext:
    """One call.

    Args:
        method: Its full name, with slashes.
        transport: gRPC's context of it.

    Attributes:
        peer: Who calls, as gRPC names it.
        elements: Elements that it has received, or that lie in shared memory for it.
        bytes_received: Bytes of its request messages.
        bytes_sent: Bytes of its response messages.
        in_shared_memory: Whether its elements lie in shared memory.
        caller: Who makes it, once that is known.
        memory: Where it takes its buffers from: its caller's share of the memory budget.
        messages: What its messages take of that.
        ending: How it ended; None until then.
    """

    caller: Caller
    memory: MemoryBudget
    messages: HeldMessages
    __slots__ = (
        "_started",
        "bytes_received",
        "bytes_sent",
        "caller",
        "elements",
        "ending",
        "in_shared_memory",
        "memory",
        "messages",
        "method",
        "peer",
        "transport",
    )

    def __init__(self, method: str, transport: grpc.ServicerContext) -> None:
        self._started = time.perf_counter()
        self.method = method
        self.transport = transport
        self.peer: str = transport.peer()
        self.elements = 0
        self.bytes_received = 0
        self.bytes_sent = 0
        self.in_shared_memory = False
        self.ending: Ending | None = None

    @property
    def seconds(self) -> float:
        """Age of the call."""
        return time.perf_counter() - self._started

    @property
    def is_local(self) -> bool:
        """Whether it comes over a Unix socket."""
        return self.peer.startswith(UNIX_PEER)

    def check_wanted(self) -> None:
        """Go on only where somebody waits for the answer.

        Raises:
            ClientGone: If nobody does.
        """
        if not self.transport.is_active():
            raise ClientGone
