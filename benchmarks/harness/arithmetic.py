"""The arithmetic of the servers that ours is compared with: L1 on one message, in the cache.

Two NumPy operations into memory that is used again, no checks and no figures: on one mebibyte that is at
least as fast as the project's compiled loops, so none of these servers is slowed down by its arithmetic.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

STRENGTH = 0.5
STEP_SIZE = 1.0
THRESHOLD = np.float32(STRENGTH * STEP_SIZE)
"""A float32 number, so that float32 arithmetic gives the bits of the service."""

Vector = npt.NDArray[np.float32]


def soft_threshold(values: Vector, out: Vector) -> Vector:
    """The proximal step of L1, into an array of the same length."""
    np.clip(values, -THRESHOLD, THRESHOLD, out=out)
    return np.subtract(values, out, out=out)


class Arithmetic:
    """What one stream needs; messages come one after the other."""

    def __init__(self) -> None:
        self._buffer: Vector = np.empty(0, np.float32)
        self.penalty = 0.0
        """Of all messages given to `add`."""

    def step(self, values: Vector) -> Vector:
        """The proximal step on one message, valid until the next."""
        return soft_threshold(values, self._room(values.size))

    def add(self, values: Vector) -> None:
        """Add a message to the penalty."""
        magnitudes = np.abs(values, out=self._room(values.size))
        self.penalty += STRENGTH * float(magnitudes.sum())

    def _room(self, size: int) -> Vector:
        if self._buffer.size < size:
            self._buffer = np.empty(size, np.float32)
        return self._buffer[:size]
