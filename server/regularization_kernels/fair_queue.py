"""A queue in which callers take turns, however many things one of them has put in."""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Hashable, Iterator
from itertools import chain
from typing import Generic, TypeVar

T = TypeVar("T")


class FairQueue(Generic[T]):
    """Things of several callers: first those whose caller was served longest ago, of one caller in order.

    It is not safe to use from many threads at once.
    """

    def __init__(self) -> None:
        self._of_callers: OrderedDict[Hashable, deque[T]] = OrderedDict()

    def __bool__(self) -> bool:
        return bool(self._of_callers)

    def __len__(self) -> int:
        return sum(map(len, self._of_callers.values()))

    def __iter__(self) -> Iterator[T]:
        return chain.from_iterable(self._of_callers.values())

    def put(self, caller: Hashable, thing: T) -> None:
        """Add something of a caller's behind what he has; who has nothing else comes behind all others."""
        self._of_callers.setdefault(caller, deque()).append(thing)

    def first(self) -> T:
        """Look at what is next; there is something."""
        return next(iter(self))

    def take(self) -> T:
        """Take what is next.

        Raises:
            KeyError: If there is nothing.
        """
        caller, things = self._of_callers.popitem(last=False)
        thing = things.popleft()
        if things:
            self._of_callers[caller] = things
        return thing

    def remove(self, caller: Hashable, thing: T) -> None:
        """Take something of a caller's out that is there, wherever it stands."""
        things = self._of_callers[caller]
        things.remove(thing)
        if not things:
            del self._of_callers[caller]

    def clear(self) -> None:
        """Drop everything."""
        self._of_callers.clear()
