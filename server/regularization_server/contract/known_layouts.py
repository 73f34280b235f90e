"""Layouts of the last headers, ready to be computed with: a trainer sends the same one at every step."""

from __future__ import annotations

from collections import OrderedDict
from threading import Lock
from typing import TYPE_CHECKING

from ..units import KIB, MIB

if TYPE_CHECKING:
    from regularization_kernels.engine import Layout

MOST = 64
"""Layouts that are kept."""

LARGEST = 256 * KIB
"""Bytes of a header's layout that is looked for."""

MEMORY = 16 * MIB
"""Bytes that all of them may take."""

# More than there are: a segment with its regularizer, and what becomes of a byte of a name or of a list.
_SEGMENT_BYTES, _BYTE_BYTES = 1024, 64


class KnownLayouts:
    """The layouts of the last headers by their bytes. Safe to use from many threads.

    A layout is a value, so calls can share one. What it may take is bounded by what its bytes say, as the
    memory of all that are kept is.

    Args:
        memory: Bytes that all of them may take.
    """

    def __init__(self, memory: int = MEMORY) -> None:
        self._memory = memory
        self._layouts: OrderedDict[bytes, Layout] = OrderedDict()
        self._used = 0
        self._lock = Lock()

    @property
    def used(self) -> int:
        """Bytes that those which are kept may take."""
        return self._used

    def find(self, raw: bytes) -> Layout | None:
        """The layout that these bytes are, if it is kept."""
        with self._lock:
            found = self._layouts.get(raw)
            if found is not None:
                self._layouts.move_to_end(raw)
            return found

    def keep(self, raw: bytes, layout: Layout) -> None:
        """Keep a layout, and let those go that were not asked for the longest."""
        size = size_of(raw, layout)
        if size > self._memory:
            return
        with self._lock:
            if raw in self._layouts:
                return
            self._layouts[raw] = layout
            self._used += size
            while self._used > self._memory or len(self._layouts) > MOST:
                self._used -= size_of(*self._layouts.popitem(last=False))


def size_of(raw: bytes, layout: Layout) -> int:
    """Bytes that a layout may take, by those that it was made of."""
    return _SEGMENT_BYTES * (len(layout.segments) + len(layout.joints)) + _BYTE_BYTES * len(raw)
