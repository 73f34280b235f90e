"""The calls of ``training.v1``, again from their start where a server goes away."""

from __future__ import annotations

from collections.abc import Callable
from itertools import chain
from typing import TYPE_CHECKING, Protocol, TypeVar

from .lane import AUGMENT, CHECK
from .replay import replayed

if TYPE_CHECKING:
    from collections.abc import Iterator

    from .base import Conditions
    from .connection import Connection
    from .lane import Lane

AnswerT_co = TypeVar("AnswerT_co", covariant=True)
T = TypeVar("T")


class Stream(Protocol):
    """A request of several messages."""

    def messages(self) -> Iterator[bytes]:
        """The messages, anew for each attempt."""


class Reader(Protocol[AnswerT_co]):
    """Reads an answer of several messages."""

    def take(self, message: bytes) -> None:
        """Take the next message."""

    def answer(self) -> AnswerT_co:
        """Return the answer, once it has ended."""


def check(connection: Connection, conditions: Conditions, request: bytes, read: Callable[[bytes], T]) -> T:
    """Return what early stopping says.

    Raises:
        RegularizationError: If the call fails, at last.
    """

    def attempt(timeout: float | None) -> T:
        return read(connection.in_turn(0, lambda lane: lane.ask(CHECK, request, timeout)))

    return replayed(attempt, conditions, harmless=lambda error: not connection.closed)


def augment(
    connection: Connection, conditions: Conditions, request: Stream, reader: Callable[[], Reader[T]]
) -> T:
    """Return augmented samples.

    Raises:
        RegularizationError: If the call fails, at last.
    """

    def attempt(lane: Lane, timeout: float | None) -> T:
        messages, answer = request.messages(), reader()
        first, second = next(messages), next(messages, None)
        if second is None:
            call = lane.send(AUGMENT, first, timeout)
        else:
            call = lane.stream(AUGMENT, chain((first, second), messages), timeout)
        try:
            lane.receive(call, timeout, answer.take)
        finally:
            call.cancel()
        return answer.answer()

    return replayed(
        lambda timeout: connection.in_turn(0, lambda lane: attempt(lane, timeout)),
        conditions,
        harmless=lambda error: not connection.closed,
    )
