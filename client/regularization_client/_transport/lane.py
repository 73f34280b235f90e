"""One channel: calls go out on it, and the messages of their answers come in."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import grpc
from regularization.training.v1 import augmentation_pb2, early_stopping_pb2
from regularization.v1 import regularization_service_pb2 as service

from .._errors import (
    ArgumentError,
    ProtocolError,
    RegularizationError,
    TruncatedStreamError,
    UnavailableError,
)
from .._request.method import METHODS, PENALTY
from . import status
from .replicas import Replica, Watch, Watched

Token = str | Callable[[], str]
"""A bearer token, or what returns the current one."""

LIST_REGULARIZERS = "ListRegularizers"
"""The method that gives the catalogue."""

LIST_PLANS = "ListPlans"
"""The method that gives the plans that the server holds."""

MEASURE = PENALTY.measuring().name
"""The method that gives the statistics of elements."""

COMBINE = "Combine"
"""The method that combines statistics."""

CHECK = "Check"
"""The method that says when to stop training."""

AUGMENT = "Augment"
"""The method that gives other samples."""

_SERVICE = f"/{service.DESCRIPTOR.services_by_name['RegularizationService'].full_name}/"
_OF_TRAINING = {
    CHECK: f"/{early_stopping_pb2.DESCRIPTOR.services_by_name['EarlyStoppingService'].full_name}/{CHECK}",
    AUGMENT: f"/{augmentation_pb2.DESCRIPTOR.services_by_name['AugmentationService'].full_name}/{AUGMENT}",
}
_HEALTH = "/grpc.health.v1.Health/Check"


class Lane:
    """A channel, and what must be sent along with every call on it.

    Args:
        channel: Where calls go.
        token: See ``Connection``.
        watch: Looks after its calls, where it leads to one of several servers.
    """

    def __init__(self, channel: grpc.Channel, token: Token | None, watch: Watch) -> None:
        self._token = token
        self._watch = watch
        self.replica: Replica | None = None
        """Which of several servers it leads to; None where there is one."""
        # Messages are bytes already. Penalty answers with one, which on the wire is a stream of one.
        self._streams: dict[str, grpc.StreamStreamMultiCallable[bytes, bytes]] = {}
        self._sends: dict[str, grpc.UnaryStreamMultiCallable[bytes, bytes]] = {}
        self._asks: dict[str, grpc.UnaryUnaryMultiCallable[bytes, bytes]] = {}
        names = [*(method.name for method in METHODS), MEASURE, COMBINE]
        for name in names:
            self._streams[name] = channel.stream_stream(_SERVICE + name)
        # What answers may be anything, so what it answers is read where errors are made of it.
        for name in (*names, LIST_REGULARIZERS, LIST_PLANS):
            self._sends[name] = channel.unary_stream(_SERVICE + name)
            self._asks[name] = channel.unary_unary(_SERVICE + name)
        for name, path in _OF_TRAINING.items():
            self._streams[name] = channel.stream_stream(path)
            self._sends[name] = channel.unary_stream(path)
            self._asks[name] = channel.unary_unary(path)
        self._health: grpc.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary(_HEALTH)

    def stream(self, method: str, requests: Iterator[bytes], timeout: float | None) -> Any:
        """Call a method with a stream of messages; return the call, whose answer is to be received."""
        return self._streams[method](requests, timeout=timeout, metadata=self._metadata())

    def send(self, method: str, request: bytes, timeout: float | None) -> Any:
        """Call a method with a stream of one message, without a thread to send it: a third less latency."""
        return self._sends[method](request, timeout=timeout, metadata=self._metadata())

    def ask(self, method: str, request: bytes, timeout: float | None) -> bytes:
        """Call a method with one message, and return the one that the contract has for an answer.

        Raises:
            RegularizationError: If the call fails.
        """
        if self.replica is None:
            # The cheapest form. None is what gRPC gives where a server ended the call in order without any.
            try:
                answer = self._asks[method](request, timeout=timeout, metadata=self._metadata())
            except grpc.RpcError as error:
                raise _failure_of(error) from error
            answers = [] if answer is None else [answer]
        else:
            answers = []
            self.receive(self.send(method, request, timeout), timeout, answers.append)
        if not answers:
            raise TruncatedStreamError("the answer ended without a message")
        if len(answers) > 1:
            raise ProtocolError(f"the answer has {len(answers)} messages, where one is due")
        return answers[0]

    def receive(
        self,
        answer: Any,
        timeout: float | None,
        take: Callable[[bytes], None],
        started: Callable[[Watched], None] = lambda watched: None,
    ) -> None:
        """Take every message of an answer, as long as its server gives a sign of life.

        Args:
            answer: The call.
            timeout: Seconds that it has; None for no limit.
            take: Takes a message.
            started: Told who watches the call, if anybody does.

        Raises:
            RegularizationError: If the call fails.
        """
        if self.replica is None:
            try:
                for message in answer:
                    take(message)
            except grpc.RpcError as error:
                raise _failure_of(error) from error
            return
        with self._watch.over(self.replica, self.ask_health, answer, timeout) as watched:
            started(watched)
            try:
                for message in answer:
                    watched.moved()
                    take(message)
            except grpc.RpcError as error:
                if watched.silent:
                    text = f"the server gave no sign of life for {watched.patience:.3g} s"
                    error.__traceback__ = None
                    raise UnavailableError(text, code=grpc.StatusCode.UNAVAILABLE) from error
                raise _failure_of(error) from error

    def ask_health(self, timeout: float) -> grpc.Future[bytes]:
        """Ask the standard health service, which needs no token; the answer comes later."""
        return self._health.future(b"", timeout=timeout)

    def _metadata(self) -> tuple[tuple[str, str], ...]:
        if self._token is None:
            return ()
        token = self._token if isinstance(self._token, str) else self._token()
        if not (token.isascii() and token.isprintable()):
            raise ArgumentError("a token must be printable ASCII, without a line's end")
        return (("authorization", f"Bearer {token}"),)


def _failure_of(error: grpc.RpcError) -> RegularizationError:
    """Return what a call's error is for callers."""
    # It is the call itself, and its traceback knows frames that know it: all of this would stay, the caller's
    # arrays with it, until a search for cycles.
    error.__traceback__ = None
    return status.from_call(error)
