"""Long computations that nobody waits for: where they ask, and where they wait for their turn.

Whoever runs a call hands its check to the engine, which sets it for the thread that computes, and for that
time alone. What takes long calls ``go_on`` between its steps; what the check raises ends it. So regularizers
know nothing of callers, and none of their methods has an argument for one. A check may have an attribute
``whose``, which tells callers apart that wait for the same.
"""

from __future__ import annotations

import os
import time
from contextlib import contextmanager
from threading import Event, Lock, local
from typing import TYPE_CHECKING, NamedTuple

from .fair_queue import FairQueue

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Iterator

STRETCH = 1 << 14
"""Elements that a loop over single ones goes through before it asks: hundredths of a second in Python, less
than a thousandth where it is compiled."""

SECONDS_BETWEEN = 0.1
"""How often one who waits for a turn asks."""


class _Current(local):
    check: Callable[[], None] | None = None


_current = _Current()


class interruptible:  # noqa: N801 - it reads as a function
    """Let ``go_on`` ask this check meanwhile, in this thread; None for nobody to ask."""

    __slots__ = ("_before", "_check")

    def __init__(self, check: Callable[[], None] | None) -> None:
        self._check = check

    def __enter__(self) -> None:
        self._before, _current.check = _current.check, self._check

    def __exit__(self, *_: object) -> None:
        _current.check = self._before


def go_on() -> None:
    """Go on only where somebody waits for the result.

    Raises:
        Exception: What the check raises, where nobody does.
    """
    if _current.check is not None:
        _current.check()


def current_check() -> Callable[[], None] | None:
    """What ``go_on`` asks in this thread."""
    return _current.check


class _Wish(NamedTuple):
    """Some turns at once, who wants them, since when they are waited for, and whether they are there."""

    needed: int
    whose: Hashable
    begun: float
    granted: Event


class Turns:
    """Turns at what cannot be stopped: so few run at once. Callers have them in turn, each in its order.

    One that is given up while it waits leaves at once. So of those that nobody waits for, no more go on than
    there are turns.

    Args:
        count: How many, >= 1.
    """

    def __init__(self, count: int) -> None:
        self._count = self._free = count
        self._waiting: FairQueue[_Wish] = FairQueue()
        self._waited = 0.0
        self._lock = Lock()

    @property
    def seconds_waited(self) -> float:
        """Seconds that all have waited so far, together; those who still do, too."""
        with self._lock:
            now = time.monotonic()
            return self._waited + sum(now - wish.begun for wish in self._waiting)

    @contextmanager
    def taken(self, count: int = 1) -> Iterator[None]:
        """Wait for turns, and have them meanwhile. A thread must not ask for others in them.

        Args:
            count: How many are taken at once; all where there are fewer.

        Raises:
            Exception: What the thread's check raises.
        """
        whose = getattr(_current.check, "whose", None)
        mine = _Wish(min(count, self._count), whose, time.monotonic(), Event())
        with self._lock:
            self._waiting.put(whose, mine)
            self._grant()
        try:
            while not mine.granted.wait(SECONDS_BETWEEN):
                go_on()
            go_on()
            yield
        finally:
            self._give_back(mine)

    def _give_back(self, mine: _Wish) -> None:
        with self._lock:
            if mine.granted.is_set():
                self._free += mine.needed
            else:
                self._waiting.remove(mine.whose, mine)
                self._waited += time.monotonic() - mine.begun
            self._grant()

    def _grant(self) -> None:
        """Let those go on who are next, as far as turns are free."""
        while self._waiting and self._waiting.first().needed <= self._free:
            following = self._waiting.take()
            self._free -= following.needed
            self._waited += time.monotonic() - following.begun
            following.granted.set()


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


_turns = Turns(_cores())


def seconds_waited() -> float:
    """Seconds that long computations of this process have waited for their turns, together."""
    return _turns.seconds_waited


@contextmanager
def turn(long: bool, threads: int = 1) -> Iterator[None]:
    """Some of the process's turns, as many as it may use cores, for what takes long and cannot be stopped.

    What does not take long begins at once. Like ``go_on``, neither begins where nobody waits for the result.

    Args:
        long: Whether it takes more than a few hundredths of a second.
        threads: How many compute it: so many turns it takes.

    Raises:
        Exception: What the thread's check raises.
    """
    if not long:
        go_on()
        yield
        return
    with _turns.taken(threads):
        yield
