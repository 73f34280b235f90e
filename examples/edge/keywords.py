"""The keyword spotter that devices hold, and its step by the plan, computed here."""

from __future__ import annotations

import math

import numpy as np

BLOCK = {"depthwise.weight": (64, 1, 3, 3), "depthwise.bias": (64,), "pointwise.weight": (64, 64, 1, 1)}
LAYERS: dict[str, tuple[int, ...]] = {
    "first.weight": (64, 1, 10, 4),
    "first.bias": (64,),
    **{
        f"block{n}.{name}": shape
        for n in range(1, 5)
        for name, shape in (BLOCK | {"pointwise.bias": (64,)}).items()
    },
    "last.weight": (12, 64),
    "last.bias": (12,),
}
"""Names and shapes, as in examples/clients/c/model.h."""
STEP, STEP_SIZE, THRESHOLD = 10, 1.0, 0.1
"""A step of training after which the plan's strength no longer grows, and what weights lose by it."""


def length() -> int:
    """How many numbers the model has."""
    return sum(math.prod(shape) for shape in LAYERS.values())


def stepped(weights: np.ndarray) -> np.ndarray:
    """What the gateway must answer for weights in Q15, to the bit: those that are not exempt, thresholded."""
    result = weights.copy()
    begin = 0
    for name, shape in LAYERS.items():
        end = begin + math.prod(shape)
        if name.endswith(".weight") and not name.endswith(".depthwise.weight"):
            numbers = weights[begin:end] / 2.0**15
            shrunk = np.sign(numbers) * np.maximum(np.abs(numbers) - STEP_SIZE * THRESHOLD, 0.0)
            result[begin:end] = np.rint(shrunk * 2.0**15)
        begin = end
    return result
