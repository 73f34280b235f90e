"""Arrays for elements that come one after the other: they take memory as they are written, not before."""

from __future__ import annotations

import mmap
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import numpy.typing as npt

LARGE = 4 << 20
"""Bytes of an array from which on it has a mapping of its own, and the first of it that small pages hold."""

SMALL_PAGE, HUGE_PAGE = 4 << 10, 2 << 20
"""Bytes of the system's pages: a byte that is written takes one of them."""

_MAPS_ANONYMOUS_MEMORY = hasattr(mmap, "MAP_ANONYMOUS") and hasattr(mmap, "MADV_HUGEPAGE")


def unfilled(size: int, data_type: npt.DTypeLike) -> npt.NDArray[Any]:
    """An array of one axis whose elements are arbitrary, to be written from its beginning on.

    NumPy would have a long one begin on a huge page, so that the first byte took two MiB.

    Raises:
        MemoryError: If the system does not map so much.
    """
    wanted = np.dtype(data_type)
    length = size * wanted.itemsize
    if length < LARGE or not _MAPS_ANONYMOUS_MEMORY:
        return np.empty(size, wanted)
    try:
        # Nothing is set aside: what is written is accounted for, and what is not may never come.
        flags = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | getattr(mmap, "MAP_NORESERVE", 0)
        memory = mmap.mmap(-1, length, flags=flags)
    except (OSError, OverflowError, ValueError) as error:
        raise MemoryError(f"no mapping of {length} bytes") from error
    _advise(memory, mmap.MADV_NOHUGEPAGE, 0, LARGE)
    _advise(memory, mmap.MADV_HUGEPAGE, LARGE, length - LARGE)
    return np.frombuffer(memory, wanted, size)


def filled_bytes(written: int, length: int) -> int:
    """Bytes that the first ``written`` of an array of ``length`` take, in whole pages."""
    page = SMALL_PAGE if written <= LARGE else HUGE_PAGE
    return min(-(-written // page) * page, length)


def _advise(memory: mmap.mmap, advice: int, begin: int, length: int) -> None:
    """Tell the system what pages to take; one that has no huge pages takes small ones."""
    if length:
        try:
            memory.madvise(advice, begin, length)
        except OSError:
            return
