"""Operands of the same elements, and modifiers of a segment."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from ..layouts import L1, LOSSES, METHODS, POINT, call, layout, segment, snake
from ..numbers import FLOAT32, FLOAT64
from ..vector import Vector, vector

REFERENCE = [0.5, -0.25, 0.625, 0.125, -1, 0, 0.375, -0.5, 1.75, 0.25, 0.25, -1]
WEIGHTS = [1, 2, 0.5, 0, 0.25, 4, 1, 1.5, 0, 3, 0.75, 1]
SCALES = [0.5, 1, 2, 0, 0.25, 1, 1.5, 0.75, 1, 3, 0.125, 1]
OF_ELEMENTS: dict[str, dict[str, Any]] = {
    "l1_norm": {"strength": 0.1},
    "squared_l2_norm": {"strength": 0.3},
    "mcp": {"strength": 0.3, "concavity": 9},
    "huber": {"strength": 0.3, "delta": 0.4},
}
DIFFERENCES: dict[str, dict[str, Any]] = {
    "total_variation": {"strength": 0.375},
    "fused_lasso": {"l1_strength": 0.125, "tv_strength": 0.375},
}
TIED = [0.5, 0.5, 0.5, -0.25, -0.25, -0.25, 0, 0, 0, 0, 1.5, 1.5]
"""Lines with runs of equal elements."""
GROUPS = {"group_lasso": {"strength": 0.3, "groups": {"size": "1"}}}
BOXED: dict[str, dict[str, Any]] = {
    "l1_norm": {"strength": 0.1},
    "squared_l2_norm": {"strength": 0.3},
    "elastic_net": {"l1_strength": 0.1, "l2_strength": 0.7},
}
INSIDE = [max(min(value, 0.75), -0.5) for value in POINT]


def vectors() -> Iterator[Vector]:
    """All of them."""
    yield from _operands()
    yield from _modifiers()


def _operands() -> Iterator[Vector]:
    for name, parameters in OF_ELEMENTS.items():
        of = layout(segment("theta", [12], {name: parameters}))
        each: dict[str, tuple[dict[str, Any], tuple[str, ...]]] = {
            "loss_gradients": ({"loss_gradients": LOSSES}, METHODS[1:]),
            "reference": ({"reference": REFERENCE}, METHODS),
            "weights": ({"weights": WEIGHTS}, METHODS),
            "step_scales": ({"step_scales": SCALES, "loss_gradients": LOSSES}, METHODS[2:]),
            "all": (
                {"step_scales": SCALES, "loss_gradients": LOSSES, "reference": REFERENCE, "weights": WEIGHTS},
                METHODS[2:],
            ),
        }
        for what, (operands, methods) in each.items():
            for method in methods:
                about = f"{method} of {name} with {what.replace('_', ' ')}."
                yield vector(
                    f"operands/{name}/{what}_{snake(method)}", about, call(method, of, POINT, **operands), [5]
                )
    exempt = layout(segment("theta", [12]))
    for method, operands in (
        ("Penalty", {"reference": REFERENCE, "weights": WEIGHTS}),
        ("Gradient", {"loss_gradients": LOSSES, "reference": REFERENCE}),
        ("ProximalStep", {"loss_gradients": LOSSES, "step_scales": SCALES, "reference": REFERENCE}),
    ):
        about = f"{method} of an exempt segment: reference and weights have no effect."
        yield vector(f"operands/exempt/{snake(method)}", about, call(method, exempt, POINT, **operands))
    groups = layout(segment("theta", [12], GROUPS))
    about = "ProximalStep of groups with a reference and loss gradients."
    yield vector(
        "operands/group_lasso/all",
        about,
        call("ProximalStep", groups, POINT, reference=REFERENCE, loss_gradients=LOSSES),
    )
    unequal = [scale or 0.375 for scale in SCALES]
    held = [0 if index in (3, 8, 11) else scale for index, scale in enumerate(SCALES)]
    for name, shape, parameters, scales, about in (
        ("rows", [12], {}, unequal, "weighted by one over the step sizes"),
        ("columns", [6, 2], {"axis": 0}, unequal, "along another axis"),
        ("decreasing", [2, 6], {"decreasing": True}, SCALES, "none of which rises"),
        ("held", [12], {}, held, "with elements of step size 0 that are out of order"),
    ):
        yield vector(
            f"operands/isotonic/step_scales_{name}",
            f"ProximalStep of lines in order with step scales, {about}.",
            call(
                "ProximalStep",
                layout(segment("theta", shape, {"isotonic": parameters})),
                POINT,
                step_scales=scales,
                loss_gradients=LOSSES,
            ),
            [5],
        )
    yield from _weighted_differences()
    own = layout(segment("theta", [6], L1, step_size=0.25), segment("other", [6], L1))
    yield vector(
        "operands/step_size_of_a_segment",
        "A segment with a step size of its own.",
        call("ProximalStep", own, POINT, loss_gradients=LOSSES),
    )
    zero = layout(segment("theta", [6], {"box": {"lower": 0, "upper": 0.5}}), segment("other", [6], L1))
    yield vector(
        "operands/step_size_0",
        "At step size 0 the step is the projection onto the domain.",
        call("ProximalStep", zero, POINT, step_size=0),
    )


def _weighted_differences() -> Iterator[Vector]:
    """Weights that belong to differences of neighbours, not to elements."""
    for name, parameters in DIFFERENCES.items():
        for where, shape, axis in (("rows", [2, 6], {}), ("columns", [6, 2], {"axis": 0})):
            of = layout(segment("theta", shape, {name: {**parameters, **axis}}))
            for method in METHODS:
                yield vector(
                    f"operands/{name}/weights_{where}_{snake(method)}",
                    f"{method} of {name} whose differences have weights, some of them 0; of {where}.",
                    call(method, of, TIED, weights=WEIGHTS),
                    [5],
                )
        of = layout(segment("theta", [12], {name: parameters}))
        yield vector(
            f"operands/{name}/weights_all",
            f"ProximalStep of {name} with weights, a reference and loss gradients.",
            call("ProximalStep", of, POINT, weights=WEIGHTS, reference=REFERENCE, loss_gradients=LOSSES),
        )
        smooth = layout(segment("theta", [12], {name: parameters}, smoothing=0.25))
        yield vector(
            f"operands/{name}/weights_smoothed",
            f"Gradient of the envelope of {name} with weights.",
            call("Gradient", smooth, POINT, weights=WEIGHTS),
        )


def _modifiers() -> Iterator[Vector]:
    for name, parameters in BOXED.items():
        of = layout(segment("theta", [12], {name: parameters}, box={"lower": -0.5, "upper": 0.75}))
        for method in METHODS:
            point = POINT if method != "Gradient" else INSIDE
            yield vector(
                f"modifiers/box_{name}_{snake(method)}",
                f"{method} of {name} in a box.",
                call(method, of, point),
            )
    for box in ({"lower": 0}, {"upper": 0}):
        of = layout(segment("theta", [12], GROUPS, box=box))
        (bound,) = box
        yield vector(
            f"modifiers/box_group_lasso_{bound}",
            "ProximalStep of groups of one sign.",
            call("ProximalStep", of, POINT),
        )
    alone = layout(segment("theta", [12], box={"lower": -0.3, "upper": 0.7}))
    for method in METHODS:
        point = POINT if method != "Gradient" else [max(min(value, 0.5), -0.25) for value in POINT]
        yield vector(
            f"modifiers/box_alone_{snake(method)}",
            f"{method} of a box without a regularizer.",
            call(method, alone, point),
        )
    for name, kind in (
        ("l1_norm", {"l1_norm": {"strength": 0.5}}),
        ("squared_l2_norm", {"squared_l2_norm": {"strength": 3}}),
        ("box", {"box": {"lower": -0.25, "upper": 0.5}}),
        ("total_variation", {"total_variation": {"strength": 0.25}}),
    ):
        for data_type in (FLOAT32, FLOAT64):
            of = layout(segment("theta", [12], kind, smoothing=0.25), data_type=data_type)
            for method in METHODS:
                suffix = f"{name}_{snake(method)}_{data_type.name.lower()}"
                yield vector(
                    f"modifiers/smoothing_{suffix}", f"{method} of {name}, smoothed.", call(method, of, POINT)
                )
    both = layout(
        segment(
            "theta", [12], {"l1_norm": {"strength": 0.5}}, smoothing=0.25, box={"lower": -0.5, "upper": 0.75}
        )
    )
    for method in METHODS:
        yield vector(
            f"modifiers/smoothing_and_box_{snake(method)}",
            f"{method} of l1_norm in a box, smoothed.",
            call(method, both, POINT),
        )
    sparse = [0 if index % 3 else value for index, value in enumerate(POINT)]
    kept = layout(segment("theta", [6], L1, keeps_zeros=True), segment("exempt", [6], keeps_zeros=True))
    for method in METHODS[1:]:
        about = f"{method} where elements that are 0 stay 0 whatever their loss gradient."
        yield vector(
            f"modifiers/keeps_zeros_{snake(method)}", about, call(method, kept, sparse, loss_gradients=LOSSES)
        )
