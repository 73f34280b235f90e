"""What others compute the same rows with: projections by sorting, and libraries where they are installed."""

from __future__ import annotations

from collections.abc import Callable
from importlib.util import find_spec
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]
Step = Callable[[Array], Array]

EXACT_METHODS = ("classictautstring", "hybridtautstring", "linearizedtautstring", "condat", "dp")
"""Of proxTV."""


def projection_onto_l1_ball(x: Array, radius: float) -> Array:
    """The projection as textbooks have it (Duchi et al. 2008): sort everything, find the threshold."""
    magnitudes = np.abs(x)
    if magnitudes.sum() <= radius:
        return x.copy()
    return np.sign(x) * np.maximum(magnitudes - _threshold(magnitudes, radius), 0.0)


def projection_onto_simplex(x: Array, radius: float) -> Array:
    """The same for nonnegative elements that add up to radius."""
    return np.maximum(x - _threshold(x, radius), 0.0)


def _threshold(numbers: Array, radius: float) -> float:
    descending = np.sort(numbers)[::-1]
    excess = (np.cumsum(descending) - radius) / np.arange(1, descending.size + 1)
    return float(excess[np.flatnonzero(descending > excess)[-1]])


def largest_by_sorting(x: npt.NDArray[np.float32], count: int) -> npt.NDArray[np.float32]:
    """The largest magnitudes, found by sorting all; of equal ones it may keep more."""
    magnitudes = np.abs(x)
    return np.where(magnitudes >= np.sort(magnitudes)[-count], x, np.float32(0))


def largest_by_argsort(x: npt.NDArray[np.float32], count: int) -> npt.NDArray[np.float32]:
    """The largest magnitudes, of equal ones the first, found by putting all in order."""
    kept = np.zeros_like(x)
    order = np.argsort(-np.abs(x), kind="stable")[:count]
    kept[order] = x[order]
    return kept


def slope_of_skglm(strengths: Array) -> Step | None:
    """SLOPE's proximal step by skglm; None where it is not installed."""
    if find_spec("skglm") is None:
        return None
    from skglm.penalties import SLOPE

    penalty: Any = SLOPE(strengths)
    return lambda x: penalty.prox_vec(x, 1.0)


def total_variation_of_prox_tv(threshold: float) -> dict[str, Step]:
    """Total variation's proximal step by exact methods of proxTV, by name; none where it is missing."""
    if find_spec("prox_tv") is None:
        return {}
    import prox_tv

    def step(method: str) -> Step:
        return lambda x: prox_tv.tv1_1d(x, threshold, method=method)

    return {f"proxTV, {method}": step(method) for method in EXACT_METHODS}
