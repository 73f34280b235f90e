"""A call in flight: what is known of it, handed from what happens around it down to its method."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

from ..observability.request_ids import request_id_of
from .grpc_internals import ClientGone

if TYPE_CHECKING:
    import grpc
    from regularization_kernels.engine import MemoryBudget

    from .callers import Caller
    from .held_messages import HeldMessages
    from .progress import Progress

UNIX_PEER = "unix"
"""What the peers of calls on the same host begin with; between sockets of one host nothing is lost."""


class Ending(NamedTuple):
    """How a call ended, for the log."""

    code: grpc.StatusCode
    reason: str | None = None
    place: dict[str, str] | None = None
    """Field, element and figures of an error; nothing that a caller named."""
    fault: Exception | None = None
    """What went wrong, where that is the server's own fault."""


def _was_not() -> bool:
    return False


class CallContext:
    """One call.

    Args:
        method: Its full name, with slashes.
        transport: gRPC's context of it.
        progress: How far it has got.

    Attributes:
        peer: Who calls, as gRPC names it.
        request_id: What the call is known by to its caller, in its log line and in its trace.
        elements: Elements that it has received, or that lie in shared memory for it.
        bytes_received: Bytes of its request messages.
        bytes_sent: Bytes of its response messages.
        in_shared_memory: Whether its elements lie in shared memory.
        token_name: Name of the token that it shows; None where none is asked for, or it has no name.
        caller: Who makes it, once that is known.
        memory: Where it takes its buffers from: its caller's share of the memory budget.
        messages: What its messages take of that. Health has none of these three, and reflection no messages.
        ending: How it ended; None until then.
        was_cut_off: Asks, once its messages have ended, whether its client had gone.
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
        "progress",
        "request_id",
        "token_name",
        "transport",
        "was_cut_off",
    )

    def __init__(self, method: str, transport: grpc.ServicerContext, progress: Progress) -> None:
        self._started = time.perf_counter()
        self.method = method
        self.transport = transport
        self.progress = progress
        self.peer: str = transport.peer()
        self.request_id = request_id_of(transport.invocation_metadata())
        self.elements = 0
        self.bytes_received = 0
        self.bytes_sent = 0
        self.in_shared_memory = False
        self.token_name: str | None = None
        self.ending: Ending | None = None
        self.was_cut_off: Callable[[], bool] = _was_not

    @property
    def seconds(self) -> float:
        """Age of the call."""
        return time.perf_counter() - self._started

    @property
    def is_local(self) -> bool:
        """Whether it comes over a Unix socket."""
        return self.peer.startswith(UNIX_PEER)

    @property
    def check(self) -> Wanted:
        """``check_wanted`` for whoever computes, with the caller."""
        return Wanted(self)

    def check_wanted(self) -> None:
        """Go on only where somebody waits for the answer, and the call has time left.

        Raises:
            ClientGone: If nobody does.
            CallTooLong: If it has none.
        """
        if not self.transport.is_active():
            raise ClientGone
        self.progress.check_time()


class Wanted:
    """Asks whether a call is wanted, and tells whose it is.

    Args:
        context: The call's, whose caller is known.

    Attributes:
        whose: The caller.
    """

    __slots__ = ("_context", "whose")

    def __init__(self, context: CallContext) -> None:
        self._context = context
        self.whose = context.caller

    def __call__(self) -> None:
        """Ask it: see ``CallContext.check_wanted``."""
        self._context.check_wanted()
