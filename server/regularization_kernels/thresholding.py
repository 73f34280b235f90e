"""Soft thresholding S(x, t) = sign(x)·max(|x| − t, 0), the step that many regularizers share."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from .regularizer import FloatArray, StepSize


def soft_threshold(x: FloatArray, threshold: StepSize, out: FloatArray) -> None:
    """Write S(x, threshold), within one unit in the last place of its exact value.

    ``threshold`` is one number >= 0, or a float64 array of one for each element; ``out`` may be x.
    """
    if isinstance(threshold, np.ndarray):
        wide = x.astype(np.float64)
        out[...] = wide - np.clip(wide, -threshold, threshold)
        return
    coarse = round_down(threshold, x.dtype.type)
    rest = x.dtype.type(threshold - float(coarse))
    clipped = np.clip(x, -coarse, coarse)
    if rest == 0:
        np.subtract(x, clipped, out=out)
        return
    # S(x, a + b) = S(S(x, a), b): what float32 cannot hold of the threshold is taken off in a
    # second step, for it would be much of the result where |x| is just above the threshold.
    nearly = np.subtract(x, clipped, out=clipped)
    np.clip(nearly, -rest, rest, out=out)
    np.subtract(nearly, out, out=out)


def round_down(value: float, to: type[np.floating]) -> np.floating:
    """The largest number of the type that is at most ``value`` (finite at most: no infinity)."""
    nearest = to(min(value, float(np.finfo(to).max)))
    return nearest if float(nearest) <= value else np.nextafter(nearest, to(-np.inf))
