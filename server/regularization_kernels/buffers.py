"""Memory that is used again and again: the system would clear fresh pages first."""

from __future__ import annotations

import os
from contextlib import contextmanager
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterator

    from .arrays import Float64Array

ON_HUGE_PAGES = 1 << 19
"""Float64 numbers of an array, 4 MiB, from which on NumPy asks the system for pages of 2 MiB. On those of
4 KiB the processor looks up addresses as long as it adds."""

_idle: list[Float64Array] = []
_MOST_IDLE = 2 * (os.cpu_count() or 1)  # a thread has one for terms, and one for what they are made of


@contextmanager
def borrowed(size: int) -> Iterator[Float64Array]:
    """At least so many numbers, whose values are arbitrary."""
    try:
        memory = _idle.pop()
    except IndexError:
        memory = np.empty(0)
    if memory.size < size:
        memory = fresh(size)
    try:
        yield memory
    finally:
        if len(_idle) < _MOST_IDLE:
            _idle.append(memory)


def fresh(size: int) -> Float64Array:
    """At least so many numbers in new memory: more, where that brings many onto huge pages."""
    return np.empty(max(size, ON_HUGE_PAGES) if size >= ON_HUGE_PAGES // 4 else size)
