"""Groups of one size as the rows of a matrix, so that NumPy takes all of them at once."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from ...interruption import go_on
from .partitions import Partition

Places = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Alike:
    """The groups of one size, among elements that come one group after the other.

    Args:
        members: Which groups these are.
        size: Elements of each, >= 1.
        places: Where their elements are, in rows; None where all elements are theirs, in order.
    """

    members: Places
    size: int
    places: Places | None

    def rows(self, gathered: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """Their elements, ``(groups, size)``; it may be the input's memory."""
        return gathered.reshape(-1, self.size) if self.places is None else gathered[self.places]

    def write(self, rows: npt.NDArray[Any], gathered: npt.NDArray[Any]) -> None:
        """Write rows to where the elements are."""
        if self.places is None:
            gathered.reshape(-1, self.size)[...] = rows
        else:
            gathered[self.places] = rows


def alike(partition: Partition) -> Iterator[Alike]:
    """The groups that have elements, those of one size together, where somebody waits."""
    sizes = partition.sizes()
    different = np.unique(sizes[sizes > 0])
    if different.size == 1 and sizes.all():
        go_on()
        yield Alike(np.arange(sizes.size), int(different[0]), None)
        return
    starts = np.cumsum(sizes) - sizes
    for size in different.tolist():
        go_on()
        members = np.flatnonzero(sizes == size)
        yield Alike(members, size, starts[members, np.newaxis] + np.arange(size))
