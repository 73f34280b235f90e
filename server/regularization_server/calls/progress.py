"""Whether calls get on: those that wait for their caller for too long are let go, as are endless ones."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from threading import Condition, Thread
from typing import TYPE_CHECKING, Any, NamedTuple, Self

import grpc
from regularization.v1.errors_pb2 import ErrorReason

from ..contract.refusals import CallTooLong, StreamIdle
from ..contract.statuses import STATUSES
from .grpc_internals import ClientGone, Requests, cancel

if TYPE_CHECKING:
    from collections.abc import Iterable

    from regularization_kernels.errors import RegularizationError

    from .arrivals import Arrivals

BYTES_A_SECOND = 256
"""What a sender must bring in the long run: so many bytes of messages give it back a second of waiting."""

ENVELOPE = 16
"""Bytes of a message that are no progress: an empty chunk has as many."""

SECONDS_TO_READ = 1.0
"""Time that an answer on its way has left when the call's is over: who reads it may learn the reason."""

LOOKS = 8
"""How often a timeout is looked at in its length, at least."""

SECONDS_BETWEEN = 0.5
"""How often it is at least."""

FEWEST_SECONDS_BETWEEN = 0.05
"""And at most, however many calls are overdue one after the other."""


class Limits(NamedTuple):
    """How long calls may take.

    Attributes:
        idle: Seconds that one may wait for its caller, to send or to read.
        longest: Seconds that one may take at all.
    """

    idle: float
    longest: float = math.inf


class Progress:
    """How far a call has got, and who waits for whom.

    Args:
        limits: How long it may take.
        transport: gRPC's context of the call.
    """

    __slots__ = ("_end", "_limits", "_patience", "_transport", "_waits_since", "error")

    def __init__(self, limits: Limits, transport: grpc.ServicerContext) -> None:
        self._limits = limits
        self._transport = transport
        self._end = time.monotonic() + limits.longest
        self._patience = limits.idle
        self._waits_since: float | None = None
        self.error: RegularizationError | None = None

    def check_time(self) -> None:
        """Go on only where the call has time left.

        Raises:
            CallTooLong: If it has not.
        """
        if time.monotonic() >= self._end:
            raise self._too_long()

    def messages(self, raws: Iterable[Any]) -> Messages:
        """The request messages of the call, as they come.

        Raises:
            ClientGone: If the client is.
            StreamIdle: If the sender lets them wait for too long.
            CallTooLong: If the call has no time left.
        """
        return Messages(raws, self)

    @contextmanager
    def waiting(self) -> Iterator[None]:
        """Wait meanwhile for the caller to take what it is sent; that it does not ends the call."""
        self._waits_since = time.monotonic()
        try:
            yield
        finally:
            self._waits_since = None

    def ended(self) -> None:
        """Let the last message and the status be taken from now on."""
        self._waits_since = time.monotonic()

    def end_if_overdue(self, now: float) -> float:
        """Cancel the call where it waits for its caller for too long, or has no time left to wait.

        Returns:
            When this may be so next, if the call goes on to wait as it does now.
        """
        since = self._waits_since
        if since is None or self.error is not None:
            return math.inf
        unread, too_long = since + self._limits.idle, max(self._end, since + SECONDS_TO_READ)
        if now >= unread:
            self._cancel(StreamIdle.reader(self._limits.idle))
        elif now >= too_long:
            self._cancel(self._too_long())
        else:
            return min(unread, too_long)
        return math.inf

    def next_of(self, requests: Requests) -> Any:
        """The next message, where it comes in time."""
        patience = self._patience
        while True:
            self.check_time()
            begin = time.monotonic()
            try:
                message = requests.next_within(min(patience, self._end - begin))
                break
            except TimeoutError:
                self.check_time()
                if self._waits_since is None:
                    raise StreamIdle.sender(self._limits.idle) from None
                # It is the reader that is slow: perhaps it takes an answer before it sends more. The watchdog
                # knows how long that may last.
                patience = max(patience, SECONDS_BETWEEN)
        self._patience -= time.monotonic() - begin
        brought = max(len(message) - ENVELOPE, 0) / BYTES_A_SECOND
        self._patience = min(self._patience + brought, self._limits.idle)
        return message

    def _too_long(self) -> CallTooLong:
        text = f"a call may take {self._limits.longest:g} seconds here: divide it into element ranges"
        return CallTooLong(text, limit_milliseconds=round(self._limits.longest * 1000))

    def _cancel(self, error: RegularizationError) -> None:
        self.error = error
        code, reason = STATUSES[type(error)]
        # Who takes no messages is told a code and a text, and has no room for details.
        cancel(self._transport, code, f"{ErrorReason.Name(reason)}: {error}")


class Messages:
    """The request messages of a call as they come, none of which it keeps, and how they ended."""

    def __init__(self, raws: Iterable[Any], progress: Progress) -> None:
        self._raws = iter(raws)
        self._progress = progress
        self._ended = False

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> Any:
        try:
            return self._next()
        except StopIteration:
            self._ended = True
            raise

    def is_cut_off(self) -> bool:
        """Whether messages that have ended did so because the client was gone.

        gRPC tells that a stream is over before it tells that it was cancelled. Asked for one more message, it
        answers behind both.
        """
        if not self._ended:
            return False
        try:
            next(self._raws, None)
        except ClientGone:
            return True
        except grpc.RpcError as error:
            _cut_loose(error)
            return True
        return False

    def _next(self) -> Any:
        if isinstance(self._raws, Requests):
            return self._progress.next_of(self._raws)
        try:
            with self._progress.waiting():
                return next(self._raws)
        except grpc.RpcError as error:
            _cut_loose(error)
            raise ClientGone from None


def _cut_loose(error: grpc.RpcError) -> None:
    """Let an error that gRPC has raised know nothing of the call.

    gRPC keeps it. With its traceback, and with what was being handled when it came, that is all that the call
    has, for as long as nobody looks for cycles.
    """
    error.__traceback__ = error.__context__ = None


class Watchdog:
    """The thread that lets go of calls that get nowhere.

    Args:
        limits: How long calls may take.
        arrivals: Those that wait for their first message.
    """

    def __init__(self, limits: Limits, arrivals: Arrivals) -> None:
        self._limits = limits
        self._arrivals = arrivals
        self._calls: set[Progress] = set()
        self._changed = Condition()
        self._closed = False

    def start(self) -> None:
        """Start the thread."""
        Thread(target=self._look, name="watchdog", daemon=True).start()

    def close(self) -> None:
        """End the thread."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def watch(self, transport: grpc.ServicerContext, *, lasts: bool = False) -> Progress:
        """Watch a call until its status is sent.

        Args:
            transport: gRPC's context of it.
            lasts: Whether it may take as long as its caller wants.
        """
        progress = Progress(self._limits._replace(longest=math.inf) if lasts else self._limits, transport)
        with self._changed:
            self._calls.add(progress)
        if not transport.add_callback(lambda: self._forget(progress)):
            self._forget(progress)
        return progress

    def _forget(self, progress: Progress) -> None:
        with self._changed:
            self._calls.discard(progress)

    def _look(self) -> None:
        seconds = 0.0
        while not self._is_over_within(seconds):
            seconds = max(self._look_once() - time.monotonic(), FEWEST_SECONDS_BETWEEN)

    def _look_once(self) -> float:
        """Let go of what is overdue; when to look again."""
        now = time.monotonic()
        # What begins to wait meanwhile is not overdue before that.
        following = [now + min(self._limits.idle / LOOKS, SECONDS_BETWEEN)]
        # Whatever goes wrong with one call, the others are watched on.
        for progress in self._watched():
            with suppress(Exception):
                following.append(progress.end_if_overdue(now))
        with suppress(Exception):
            following.append(self._arrivals.end_overdue())
        return min(following)

    def _watched(self) -> list[Progress]:
        with self._changed:
            return list(self._calls)

    def _is_over_within(self, seconds: float) -> bool:
        with self._changed:
            return self._changed.wait_for(lambda: self._closed, seconds)
