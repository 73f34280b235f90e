"""Layouts of all shapes, and summaries with fewer figures."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

from ..layouts import L1, LOSSES, METHODS, POINT, call, layout, segment, snake
from ..numbers import FLOAT64
from ..vector import Vector, vector

GROUPS: dict[str, Any] = {"group_lasso": {"strength": 0.3, "groups": {"size": "2"}}}
SHAPES = {
    "empty_layout": ("A layout without segments.", layout()),
    "empty_segment": ("A segment without elements.", layout(segment("theta", [0], L1))),
    "empty_between": (
        "An empty segment between others.",
        layout(segment("first", [3], L1), segment("empty", [4, 0], GROUPS), segment("last", [2])),
    ),
    "scalar": ("No shape is a scalar.", layout(segment("theta", [], L1))),
    "exempt": ("A segment without a regularizer.", layout(segment("bias", [5]))),
    "many_axes": ("Many axes of length 1.", layout(segment("theta", [1] * 30 + [2, 3], L1))),
    "names": ("Names may be any text, also none.", layout(segment("", [2], L1), segment("Ω/θ\n", [2], L1))),
    "float64": (
        "A layout of float64.",
        layout(segment("theta", [4], {"l1_norm": {"strength": 0.25}}), data_type=FLOAT64),
    ),
}
FIGURES: dict[str, dict[str, bool]] = {
    "all": {},
    "total_alone": {"segments": False},
    "no_penalty": {"penalty": False},
    "no_nonzeros": {"nonzeros": False},
    "no_distance": {"squared_distance": False},
    "none": {"penalty": False, "nonzeros": False, "squared_distance": False, "segments": False},
}


def vectors() -> Iterator[Vector]:
    """All of them."""
    for name, (about, of) in SHAPES.items():
        count = sum(math.prod(each.shape) for each in of.segments)
        for method in METHODS:
            yield vector(f"shapes/{name}_{snake(method)}", about, call(method, of, POINT[:count]))
    of = layout(segment("weight", [6], L1), segment("groups", [4], GROUPS), segment("bias", [2]))
    point = [*POINT[:6], 0.375, -0.5, 0, 0, *POINT[10:]]
    for name, figures in FIGURES.items():
        for method in METHODS:
            gradients = {} if method == "Penalty" else {"loss_gradients": [value / 16 for value in LOSSES]}
            asked = call(method, of, point, figures=figures, **gradients)
            yield vector(
                f"figures/{name}_{snake(method)}", f"{method} with figures: {name.replace('_', ' ')}.", asked
            )
