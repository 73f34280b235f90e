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
    source = x
    parts = _parts(threshold, x.dtype.type)
    for index, part in enumerate(parts):
        clipped = np.clip(source, -part, part)
        source = np.subtract(source, clipped, out=out if index == len(parts) - 1 else clipped)


def _parts(threshold: float, to: type[np.floating]) -> list[np.floating]:
    """Numbers of the type, all >= 0, that add up to the threshold.

    S(x, a + b) = S(S(x, a), b): what float32 cannot hold of a threshold is taken off in a second
    step, for it would be much of the result where |x| is just above the threshold. In turn,
    what the second number cannot hold matters only where that one exceeds half a unit in the last place of
    the first: else no result is as small as it is.
    """
    first = _round_down(threshold, to)
    rest = threshold - float(first)
    second = _round_down(rest, to)
    if second == 0:
        return [first]
    if second <= 0.5 * float(np.spacing(first)):
        return [first, second]
    third = to(rest - float(second))
    return [first, second, third] if third else [first, second]


def _round_down(value: float, to: type[np.floating]) -> np.floating:
    """The largest finite number of the type that is at most ``value``."""
    nearest = to(min(value, float(np.finfo(to).max)))
    return nearest if float(nearest) <= value else np.nextafter(nearest, to(-np.inf))
