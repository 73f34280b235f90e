"""Buffers that are used again and again: fresh pages would cost more than the arithmetic."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from ..arrays import FLOAT64
from ..buffers import fresh
from ..summation import BLOCK

if TYPE_CHECKING:
    from ..arrays import Float64Array

PIECE = BLOCK
"""Elements that are computed at once where the regularizer lets them be: few enough for the cache, so many
that NumPy's fixed cost per operation is small against the work, and a block, whose lanes are then added
in one go."""


class Workspace:
    """Arrays for one thread's work, by name; each lasts until its name is asked for again."""

    def __init__(self) -> None:
        self._buffers: dict[str, npt.NDArray[Any]] = {}
        self._uncut: Float64Array = np.empty(0)

    def array(self, name: str, size: int, data_type: npt.DTypeLike = np.float64) -> npt.NDArray[Any]:
        """An array of one axis whose contents are arbitrary.

        What is larger than a piece is made anew and not kept, so that memory goes back as soon as it is
        accounted for no more.
        """
        if size > PIECE:
            return np.empty(size, data_type)
        buffer = self._buffers.get(name)
        if buffer is None or buffer.size < size:
            room = PIECE if size > PIECE // 4 else size  # what is long grows no more, and lies beside others
            buffer = self._buffers[name] = self._new(room, np.dtype(data_type))
        return buffer[:size]

    def _new(self, size: int, data_type: np.dtype[Any]) -> npt.NDArray[Any]:
        """An array in memory that nothing else has."""
        numbers = -(-size * data_type.itemsize // FLOAT64.itemsize)
        if numbers > self._uncut.size:
            self._uncut = fresh(numbers)
        cut, self._uncut = self._uncut[:numbers], self._uncut[numbers:]
        return cut.view(data_type)[:size]


_idle: list[Workspace] = []
_MOST_IDLE = os.cpu_count() or 1


class borrowed_workspace:  # noqa: N801 - it reads as a function
    """A workspace for the time of a chunk: so many exist as threads compute, not as calls are open."""

    __slots__ = ("_workspace",)

    def __enter__(self) -> Workspace:
        try:
            self._workspace = _idle.pop()
        except IndexError:
            self._workspace = Workspace()
        return self._workspace

    def __exit__(self, *_: object) -> None:
        if len(_idle) < _MOST_IDLE:
            _idle.append(self._workspace)
