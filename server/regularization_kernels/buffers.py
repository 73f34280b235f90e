"""Memory that is used again and again: the system would clear fresh pages first."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from .arrays import Float64Array

ON_HUGE_PAGES = 1 << 19
"""Float64 numbers of an array, 4 MiB, from which on NumPy asks the system for pages of 2 MiB. On those of
4 KiB the processor looks up addresses as long as it adds."""

_NOTHING = np.empty(0)

_idle: list[Float64Array] = []
_MOST_IDLE = 2 * (os.cpu_count() or 1)  # a thread has one for terms, and one for what they are made of


class borrowed:  # noqa: N801 - it reads as a function, as ``contextlib.suppress`` does
    """At least so many numbers for a while, whose values are arbitrary.

    A class, for a small call enters many of these: a generator would take three times as long.
    """

    __slots__ = ("_memory",)

    def __init__(self, size: int) -> None:
        try:
            memory = _idle.pop()
        except IndexError:
            memory = _NOTHING
        self._memory = memory if memory.size >= size else fresh(size)

    def __enter__(self) -> Float64Array:
        return self._memory

    def __exit__(self, *_: object) -> None:
        if len(_idle) < _MOST_IDLE:
            _idle.append(self._memory)


def fresh(size: int) -> Float64Array:
    """At least so many numbers in new memory: more, where that brings many onto huge pages."""
    return np.empty(max(size, ON_HUGE_PAGES) if size >= ON_HUGE_PAGES // 4 else size)
