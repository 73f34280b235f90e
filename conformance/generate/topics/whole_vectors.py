"""Vectors in parts, by Measure and Combine, and regularizers that several segments share."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from regularization.v1 import regularization_service_pb2 as service
from regularization.v1.layout_pb2 import ElementRange, Segment

from ...runner.streams import elements
from ..layouts import LOSSES, METHODS, POINT, call, joint, layout, segment, snake
from ..numbers import FLOAT32, FLOAT64
from ..vector import Vector, vector
from .rows import PYTHAGOREAN

REDUCTIONS: dict[str, dict[str, Any]] = {
    "l2_norm": {"strength": 0.3},
    "linf_norm": {"strength": 1.3},
    "top_k": {"count": "5"},
    "l1_ball": {"radius": 3.1},
    "l2_ball": {"radius": 1.1},
    "simplex": {"radius": 1.5},
    "group_lasso": {"strength": 0.3, "groups": {"axis": 1}},
    "max_norm": {"radius": 0.9, "groups": {"axis": 1}},
}
"""Regularizers of locality REDUCTION."""
PARTS = {"two": [0, 5, 12], "four": [0, 1, 2, 9, 12], "one": [0, 12]}
MANY = 600
BETWEEN = segment("between", [2], {"l1_norm": {"strength": 0.2}})
BETWEEN_TOO = segment("between too", [2])


def vectors() -> Iterator[Vector]:
    """All of them."""
    for name, parameters in REDUCTIONS.items():
        shape = [4, 3] if "groups" in parameters else [12]
        point = PYTHAGOREAN if name == "l2_norm" else POINT
        of = layout(segment("theta", shape, {name: parameters}))
        for how, bounds in PARTS.items():
            about = f"ProximalStep of {name} in parts ({how})."
            more: dict[str, Any] = {"kind": "measured", "parts": bounds}
            step = call("ProximalStep", of, point, loss_gradients=LOSSES)
            yield vector(f"measured/{name}/proximal_step_in_{how}", about, step, **more)
        about = f"Penalty of {name} in parts."
        yield vector(
            f"measured/{name}/penalty",
            about,
            call("Penalty", of, point),
            kind="measured",
            parts=PARTS["four"],
        )
    yield from _many()
    yield from _asked()
    yield from _joints()


def _asked() -> Iterator[Vector]:
    """What a first round asks about, as Combine tells it that has no part yet."""
    largest: dict[str, Any] = {"top_k": {"count": "2"}}
    of = layout(BETWEEN, segment("theta", [12], largest), BETWEEN_TOO, segment("other", [3], largest))
    ranges = [ElementRange(begin=2, end=14), ElementRange(begin=16, end=19)]
    for name, about, asked, missing in (
        ("asked", "Without a part, Combine tells which elements are asked about.", of, ranges),
        ("nothing_asked", "Of a sum over elements nothing is asked.", layout(BETWEEN), []),
    ):
        header = service.CombineHeader(layout=asked, method=service.METHOD_PENALTY)
        answer = service.CombineResponse(complete=not missing, missing=missing, measured=missing)
        yield Vector(
            f"measured/{name}",
            about,
            "Combine",
            [service.CombineRequest(header=header)],
            [answer],
            more={"unspecified": ["statistics", "measurement"]},
        )


def _many() -> Iterator[Vector]:
    """So many elements that what is asked for may take several rounds.

    Without squared distances: a cut inside a block shows in their last bits where a lane has several terms.
    """
    kinds: dict[str, dict[str, Any]] = {
        "l1_ball": {"radius": 20.5},
        "simplex": {"radius": 2.5},
        "top_k": {"count": "77"},
    }
    for name, parameters in kinds.items():
        of = layout(segment("theta", [MANY], {name: parameters}))
        step = call("ProximalStep", of, elements(7, MANY), figures={"squared_distance": False})
        about = f"ProximalStep of {name} in parts, of many elements."
        yield vector(
            f"measured/{name}/many_elements", about, step, kind="measured", parts=[0, 100, 451, MANY]
        )


def _joints() -> Iterator[Vector]:
    for name, kind, data_type in (
        ("top_k", {"top_k": {"fraction": 0.25}}, FLOAT32),
        ("linf_norm", {"linf_norm": {"strength": 1.25}}, FLOAT64),
        ("l1_ball", {"l1_ball": {"radius": 2.5}}, FLOAT32),
        ("simplex", {"simplex": {"radius": 1.5}}, FLOAT32),
        ("l2_ball", {"l2_ball": {"radius": 1.1}}, FLOAT32),
    ):
        of = layout(
            Segment(name="first", shape=[4], joint="all"),
            BETWEEN,
            Segment(name="last", shape=[2, 3], joint="all"),
            data_type=data_type,
            joints=[joint("all", kind)],
        )
        for method in (
            ("Penalty", "ProximalStep") if name in ("top_k", "l1_ball", "simplex", "l2_ball") else METHODS
        ):
            about = f"{method} of {name} over two segments together, with another between them."
            yield vector(f"joints/{name}/{snake(method)}", about, call(method, of, POINT), [2, 7])
    own_size = layout(
        Segment(name="first", shape=[6], joint="all"),
        Segment(name="last", shape=[6], joint="all"),
        joints=[joint("all", {"linf_norm": {"strength": 1.25}}, step_size=0.5)],
    )
    about = "ProximalStep of a joint regularizer with a step size of its own, and loss gradients."
    yield vector("joints/step_size", about, call("ProximalStep", own_size, POINT, loss_gradients=LOSSES))
    two = layout(
        Segment(name="a", shape=[3], joint="one"),
        Segment(name="b", shape=[3], joint="two"),
        Segment(name="c", shape=[3], joint="one"),
        Segment(name="d", shape=[3], joint="two"),
        joints=[joint("one", {"top_k": {"count": "2"}}), joint("two", {"top_k": {"count": "1"}})],
    )
    yield vector(
        "joints/two", "Two joint regularizers whose segments alternate.", call("ProximalStep", two, POINT)
    )
