"""Several servers that take turns, and how one is found out that has stopped without a word.

A server that is stopped, or whose machine is cut off, closes no connection: a call to it would wait for its
deadline. A call on which nothing moves may also be a long computation. What tells them apart is the health
service, which a busy server answers and a stopped one does not: so it is asked, over the same connection.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from itertools import count
from typing import Protocol

import grpc

_QUIET, _ANSWERING, _TICK = 0.4, 0.4, 0.1
"""Of the longest silence: when the server is asked, how long it may take, and how exactly that is kept."""

_SILENT = (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED, grpc.StatusCode.CANCELLED)
_NOT_SERVING = b"\x08\x02"
"""The bytes of a HealthCheckResponse that says so."""

_SECONDS_TO_PROBE = 2.0
_SECONDS_OF_DOUBT = 5.0
_IDLE_ROUNDS = 20
_PAUSE = 1.0


class Call(Protocol):
    """A call under way."""

    def cancel(self) -> object:
        """End it."""


Ask = Callable[[float], "grpc.Future[bytes]"]
"""Asks a server's health service, given the seconds that it has."""


class Replica:
    """One of several servers.

    Args:
        ask: Asks its health service, given the seconds that it has.
    """

    def __init__(self, ask: Ask) -> None:
        self._ask = ask
        self._doubted: float | None = None
        self._probe_due = 0.0

    @property
    def doubted(self) -> float | None:
        """When it last failed to answer; None where nothing is known against it."""
        return self._doubted

    def doubt(self) -> None:
        """Turn to the others first, until it answers again."""
        self._doubted = time.monotonic()
        self._probe_due = self._doubted + _SECONDS_OF_DOUBT

    def trust(self) -> None:
        """Let it take its turn."""
        self._doubted = None

    def probe_if_due(self) -> None:
        """Find out, without waiting, whether one that is in doubt answers again."""
        now = time.monotonic()
        if self._doubted is not None and now >= self._probe_due:
            self._probe_due = now + _SECONDS_OF_DOUBT
            self.probe()

    def probe(self) -> None:
        """Find out, without waiting, whether it answers."""
        self._ask(_SECONDS_TO_PROBE).add_done_callback(self._learn)

    def _learn(self, answer: grpc.Future[bytes]) -> None:
        if answered(answer) and not (_code(answer) is grpc.StatusCode.OK and answer.result() == _NOT_SERVING):
            self.trust()
        elif _code(answer) is not grpc.StatusCode.CANCELLED:
            self.doubt()


class Turns:
    """Whose turn it is.

    Args:
        replicas: All of them.
    """

    def __init__(self, replicas: Sequence[Replica]) -> None:
        self.replicas = replicas
        self._turn = count()
        for replica in replicas:
            replica.probe()

    def next(self) -> int:
        """Return the index of the next in turn that is not in doubt; if all are, of that longest in doubt."""
        first, number = next(self._turn), len(self.replicas)
        order = [(first + each) % number for each in range(number)]
        doubts = {index: self.replicas[index].doubted or 0.0 for index in order}
        # Of equals, the first in turn.
        chosen = min(order, key=doubts.__getitem__)
        for index in order:
            if index != chosen:
                self.replicas[index].probe_if_due()
        return chosen


def answered(answer: grpc.Future[bytes]) -> bool:
    """Whether whoever was asked is there: any status of its own is an answer."""
    return _code(answer) not in _SILENT


def _code(answer: grpc.Future[bytes]) -> grpc.StatusCode:
    if answer.cancelled():
        return grpc.StatusCode.CANCELLED
    error = answer.exception()
    return error.code() if isinstance(error, grpc.Call) else grpc.StatusCode.OK


class Watched:
    """A call that is watched."""

    def __init__(self, replica: Replica, ask: Ask, call: Call, patience: float) -> None:
        self.silent = False
        """Whether it was ended because its server gave no sign of life."""
        self.patience = patience
        """Seconds without such a sign after which it is."""
        self._replica = replica
        self._ask = ask
        self._call = call
        self._heard = time.monotonic()
        self._question: grpc.Future[bytes] | None = None

    def moved(self) -> None:
        """Note that bytes came or went."""
        self._heard = time.monotonic()

    def look(self) -> None:
        """Ask after the server where nothing has moved for some time; end the call if it does not answer."""
        now = time.monotonic()
        if self._question is None:
            if now - self._heard >= self.patience * _QUIET:
                self._question = self._ask(self.patience * _ANSWERING)
        elif self._question.done():
            if answered(self._question):
                self._heard = now
            elif now - self._heard >= self.patience * _QUIET:
                self.silent = True
                self._replica.doubt()
                self._call.cancel()
            self._question = None

    def leave(self) -> None:
        """Ask no more."""
        if self._question is not None:
            self._question.cancel()


class Watch:
    """Watches calls, in a thread that is there while there are some.

    Args:
        longest_silence: Seconds without a sign of life after which a server counts as stopped; None for no
            limit.
    """

    def __init__(self, longest_silence: float | None) -> None:
        self._longest_silence = longest_silence
        self._changed = threading.Condition()
        self._calls: set[Watched] = set()
        self._thread: threading.Thread | None = None
        self._tick = _PAUSE

    @contextmanager
    def over(self, replica: Replica, ask: Ask, call: Call, timeout: float | None) -> Iterator[Watched]:
        """Watch a call; of one that has less time, half of it is left for another server.

        Args:
            replica: Whom it is to.
            ask: Asks it whether it is there, on the connection of the call.
            call: What to end.
            timeout: Seconds that the call has; None for no limit.
        """
        limits = [self._longest_silence, None if timeout is None else timeout / 2]
        patience = min(limit for limit in (*limits, float("inf")) if limit is not None)
        watched = Watched(replica, ask, call, patience)
        if self._longest_silence is None:
            yield watched
            return
        with self._changed:
            self._calls.add(watched)
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="replicas", daemon=True)
                self._thread.start()
            elif patience * _TICK < self._tick:
                self._changed.notify()
        try:
            yield watched
        finally:
            with self._changed:
                self._calls.discard(watched)
            watched.leave()

    def _run(self) -> None:
        idle = 0
        while True:
            with self._changed:
                idle = 0 if self._calls else idle + 1
                if idle > _IDLE_ROUNDS:
                    self._thread = None
                    return
                self._tick = min((each.patience * _TICK for each in self._calls), default=_PAUSE)
                self._changed.wait(self._tick)
                calls = list(self._calls)
            for call in calls:
                # Of a channel that is being closed nothing can be asked; its calls end by themselves.
                with suppress(ValueError):
                    call.look()
