"""The one place that knows how gRPC's server works inside: a call takes a thread with its first message.

gRPC's own server gives a call a thread when its headers come, so that whoever sends nothing but headers holds
threads; and it waits for messages without an end. Nothing that is public changes either. Should the names
below be gone in another version, ``waiting_call`` finds no call: threads are then taken as gRPC does it, and
whoever lets a call wait for too long is cancelled. A test holds that the installed version has them.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NoReturn, Self

if TYPE_CHECKING:
    import grpc

try:
    from grpc._cython.cygrpc import ReceiveMessageOperation
    from grpc._server import (
        _CANCELLED,
        _RECEIVE_MESSAGE_TOKEN,
        _Context,
        _is_rpc_state_active,
        _receive_message,
        _stream_response_in_pool,
        _unary_response_in_pool,
    )
except ImportError:
    KNOWN = False
else:
    KNOWN = True

_LONGEST = 1e6
"""Seconds to wait at once; some systems take no more."""


class ClientGone(Exception):
    """Nobody waits for the call's answer any more: it was cancelled, or its time is over."""


class Requests:
    """The request messages of a call, as they come; each can be waited for with an end.

    Args:
        state: What gRPC knows of the call.
        call: gRPC's call.
        deserializer: What makes a message of its bytes; None for the bytes themselves.
    """

    def __init__(self, state: Any, call: Any, deserializer: Callable[[bytes], Any] | None) -> None:
        self._state = state
        self._call = call
        self._deserializer = deserializer
        self._asked = False
        self._refusal: Exception | None = None

    @property
    def is_cancelled(self) -> bool:
        """Whether nobody waits for the call any more."""
        return self._state.client is _CANCELLED

    @property
    def has_message(self) -> bool:
        """Whether a message is there that nobody has taken yet."""
        return self._state.request is not None

    def refuse(self, error: Exception) -> None:
        """Let the next message be this error."""
        self._refusal = error

    def ask(self, then: Callable[[], None] | None = None) -> None:
        """Ask for the next message, with gRPC's lock of the call held.

        Args:
            then: Called in gRPC's own thread when it is there, or is known not to come.
        """
        receive = received = _receive_message(self._state, self._call, self._deserializer)
        if then is not None:

            def receive(event: Any) -> Any:
                finished = received(event)
                then()
                return finished

        self._state.due.add(_RECEIVE_MESSAGE_TOKEN)
        self._call.start_server_batch((ReceiveMessageOperation(0),), receive)
        self._asked = True

    def next_within(self, seconds: float) -> Any:
        """Wait for the next message.

        Raises:
            StopIteration: If there is none.
            ClientGone: If nobody waits for the call any more.
            TimeoutError: If it does not come in time; it can be waited for again.
        """
        if self._refusal is not None:
            self._raise_refusal()
        end = time.monotonic() + seconds
        with self._state.condition:
            if not self._asked:
                self._check_open()
                self.ask()
            try:
                while (message := self._look()) is None:
                    if not self._state.condition.wait(min(end - time.monotonic(), _LONGEST)):
                        raise TimeoutError
            except StopIteration:
                # Whoever asks once more asks gRPC: by then it knows whether the stream was cancelled.
                self._asked = False
                raise
            self._asked = False
            return message

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> Any:
        return self.next_within(math.inf)

    def _raise_refusal(self) -> NoReturn:
        refusal, self._refusal = self._refusal, None
        assert refusal is not None  # noqa: S101 - who calls has seen it
        try:
            raise refusal
        finally:
            # The error knows this frame, and all that the call has: neither may know the error.
            del refusal

    def _check_open(self) -> None:
        if self._state.client is _CANCELLED:
            raise ClientGone
        if not _is_rpc_state_active(self._state):
            raise StopIteration

    def _look(self) -> Any:
        if self._state.client is _CANCELLED:
            raise ClientGone
        if self._state.request is None and _RECEIVE_MESSAGE_TOKEN not in self._state.due:
            raise StopIteration
        message, self._state.request = self._state.request, None
        return message


class WaitingCall:
    """A call that gRPC wants a thread for, and what it wants to be run there.

    Args:
        run: What runs a function in the call's context.
        arguments: The function, and what it is given.

    Attributes:
        transport: Another of gRPC's contexts of the call, for what it says of the caller.
    """

    def __init__(self, run: Callable[..., Any], arguments: tuple[Any, ...]) -> None:
        serve, event, state, behaviour, _, deserializer, serializer = arguments
        self.requests = Requests(state, event.call, deserializer)
        self._run = run
        self.transport: grpc.ServicerContext = _Context(event, state, deserializer)
        self._arguments: tuple[Any, ...] = (
            serve,
            event,
            state,
            behaviour,
            self._messages,
            deserializer,
            serializer,
        )

    def serve(self) -> None:
        """Serve the call, unless nobody waits for it any more."""
        arguments = self._arguments
        self.drop()
        if not self.requests.is_cancelled:
            self._run(*arguments)

    def drop(self) -> None:
        """Forget what is to be run, which knows this: both would stay."""
        self._arguments = ()

    def _messages(self) -> Requests:
        return self.requests


def waiting_call(run: Callable[..., Any], arguments: tuple[Any, ...]) -> WaitingCall | None:
    """The call that gRPC wants a thread for, with its lock of the call held; None where it is not known.

    Its method must be one that takes a stream of messages, as all do here.
    """
    serving = (
        KNOWN and len(arguments) == 7 and arguments[0] in (_unary_response_in_pool, _stream_response_in_pool)
    )
    return WaitingCall(run, arguments) if serving else None


def cancel(transport: grpc.ServicerContext, code: grpc.StatusCode, text: str) -> None:
    """End a call whose client takes no messages: with a code and a text, which need no room of it.

    Where gRPC cannot do so, the client finds CANCELLED.
    """
    try:
        transport._rpc_event.call.cancel(code.value[0], text)  # type: ignore[attr-defined] # private
    except (AttributeError, TypeError):
        transport.cancel()
