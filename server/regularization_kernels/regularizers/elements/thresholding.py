"""Soft thresholding S(x, t) = sign(x)·max(|x| − t, 0), a step that many regularizers share, and hard."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from ...arrays import Float64Array, StepSize


def soft_threshold(x: Float64Array, threshold: StepSize, out: Float64Array) -> None:
    """Write S(x, threshold); ``threshold`` is one number >= 0, or one for each element."""
    if not isinstance(threshold, np.ndarray) and threshold == 0:
        np.copyto(out, x)  # x - x would lose the sign of a zero, or not, as the processor has it
        return
    clipped = np.clip(x, -threshold, threshold, out=None if np.may_share_memory(x, out) else out)
    np.subtract(x, clipped, out=out)


def hard_threshold(x: Float64Array, threshold: float, out: Float64Array) -> None:
    """Write x where its magnitude is above the threshold, else 0; NaN stays."""
    if threshold == 0:
        np.copyto(out, x)
        return
    np.multiply(x, np.abs(x) > threshold, out=out)  # several times as fast as to choose
    out += 0.0  # no negative zeros
