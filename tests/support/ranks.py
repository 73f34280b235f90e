"""Ranks as threads of one process, each with a part of a vector, and the all-gather between them."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

T = TypeVar("T")

_PATIENCE = 60.0


class Ranks:
    """So many threads that do the same at the same time.

    Args:
        count: How many.
    """

    def __init__(self, count: int) -> None:
        self.count = count
        self.sizes: list[int] = []
        """How many bytes were gathered of a rank, one after the other."""
        self._barrier = threading.Barrier(count, timeout=_PATIENCE)
        self._given = [b""] * count
        self._rank = threading.local()

    def gather(self, own: bytes) -> list[bytes]:
        """Return what all ranks gave, in another order for each of them."""
        rank: int = self._rank.number
        self._given[rank] = own
        self.sizes.append(len(own))
        self._barrier.wait()
        given = [*self._given[rank:], *self._given[:rank]]
        self._barrier.wait()
        return given

    def run(self, work: Callable[[int], T]) -> list[T]:
        """Return what the work gives for each rank; an error of one breaks the wait of all others."""

        def of_rank(rank: int) -> T:
            self._rank.number = rank
            try:
                return work(rank)
            except BaseException:
                self._barrier.abort()
                raise

        with ThreadPoolExecutor(self.count) as pool:
            done = [pool.submit(of_rank, rank) for rank in range(self.count)]
        return [each.result() for each in done]
