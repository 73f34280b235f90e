"""What becomes of results: rounding, sparse chunks, signs of zero, and numbers that are not finite."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from regularization.v1 import regularization_service_pb2 as service
from regularization.v1.summary_pb2 import ExactSum, Figures, SegmentSummary, Summary

from ..layouts import L1, POINT, call, layout, segment, snake
from ..numbers import BFLOAT16, DATA_TYPES, FLOAT16, FLOAT32, Q7, Q15, DataType
from ..vector import Vector, vector

NAN, INFINITY = math.nan, math.inf
HALF: dict[str, Any] = {"l1_norm": {"strength": 0.5}}

NEAREST: list[tuple[DataType, str, list[float], list[float]]] = [
    (
        FLOAT16,
        "ties go to the even number",
        [1, 1, 2, 2048, 0.5],
        [2**-12, 3 * 2**-12, -(2**-10), -1, 2**-13],
    ),
    (FLOAT16, "beyond the largest number is infinity", [65504, 65504, -65504], [-15, -16, 16]),
    (FLOAT16, "subnormal numbers", [2**-24, 2**-23, 2**-14], [2**-24, 2**-24, 2**-24]),
    (BFLOAT16, "ties go to the even number", [1, 1, 256, 0.5], [2**-9, 3 * 2**-9, -1, 2**-10]),
    (FLOAT32, "ties go to the even number", [1, 1, 2**24, 0.5], [2**-25, 3 * 2**-25, -1, 2**-26]),
    (Q7, "too large saturates", [0.9921875, -1, 0.5, -0.5], [-1, 0.9921875, -0.5, 0.5]),
    (Q15, "too large saturates", [0.75, -0.75, 0.5], [-0.75, 0.75, 0.5]),
]


def vectors() -> Iterator[Vector]:
    """All of them."""
    yield from _rounding()
    yield from _sparse()
    for each in [*ZEROS, *NOT_FINITE]:
        yield each.vector()


def _rounding() -> Iterator[Vector]:
    for data_type, about, parameters, gradients in NEAREST:
        of = layout(segment("theta", [len(parameters)]), data_type=data_type)
        name = f"rounding/nearest_{data_type.name.lower()}_{about.replace(' ', '_')}"
        step = call("ProximalStep", of, parameters, loss_gradients=gradients, step_size=1)
        yield vector(name, f"Rounding to nearest in {data_type.name.lower()}: {about}.", step)
    halves = call(
        "ProximalStep",
        layout(segment("theta", [4], {"squared_l2_norm": {"strength": 1}}), data_type=Q7),
        [1 / 128, 3 / 128, -5 / 128, 7 / 128],
        step_size=1,
    )
    yield vector("rounding/nearest_q7_ties", "Halves of the smallest number go to the even one.", halves)
    for data_type in DATA_TYPES:
        point = (
            [round(value * 32) / 128 for value in POINT]
            if data_type is Q7
            else [value / 4 for value in POINT]
        )
        for seed in (7, 2**63 + 1025):  # no double, and beyond signed integers
            of = layout(
                segment("first", [5], L1),
                segment("second", [7], {"squared_l2_norm": {"strength": 0.37}}),
                data_type=data_type,
            )
            for method in ("Gradient", "ProximalStep"):
                name = f"rounding/stochastic_{data_type.name.lower()}_{snake(method)}_{seed}"
                about = f"Stochastic rounding of {method} in {data_type.name.lower()}, by the index."
                yield vector(name, about, call(method, of, point, rounding={"mode": 2, "seed": seed}), [4])


def _sparse() -> Iterator[Vector]:
    many = [POINT[index % 12] / 4 for index in range(192)]
    for name, strength, about in (
        ("few_nonzeros", 0.5, "few elements are left: sparse"),
        ("all_nonzeros", 0.001, "no chunk is smaller so: dense"),
        ("no_nonzeros", 4.0, "a bitmap alone"),
    ):
        point = [value or 0.125 for value in many] if name == "all_nonzeros" else many
        of = layout(segment("theta", [192], {"l1_norm": {"strength": strength}}))
        step = call("ProximalStep", of, point, accept_sparse_results=True)
        yield vector(f"sparse/{name}", f"A caller takes sparse results: {about}.", step)
        if name == "few_nonzeros":
            yield vector("sparse/in_chunks", "Sparse chunks of their own offsets.", step, [80])
            dense = call("ProximalStep", of, point)
            yield vector("sparse/not_accepted", "The same for a caller that does not take them.", dense)
    fixed = layout(segment("theta", [192], {"l1_norm": {"strength": 0.25}}), data_type=Q15)
    yield vector(
        "sparse/q15",
        "Sparse results in fixed point.",
        call("ProximalStep", fixed, many, accept_sparse_results=True),
    )
    gradient = layout(segment("theta", [192], {"top_k": {"count": "192"}}))
    yield vector(
        "sparse/gradient",
        "A gradient of zeros is a bitmap alone.",
        call("Gradient", gradient, many, accept_sparse_results=True),
    )


@dataclass(frozen=True)
class Written:
    """An answer by hand, of one segment.

    Attributes:
        name: Of the vector.
        about: What it shows.
        method: Gradient, ProximalStep or Penalty.
        kind: The regularizer.
        parameters: The elements.
        values: The results.
        penalty: The penalty.
        distance: The squared distance of a step.
        operands: Beside the elements.
        shape: Of the segment; None for a vector.
        data_type: The elements'.
        header: Further fields of the header.
        convex: As the summary says it.
    """

    name: str
    about: str
    method: str
    kind: dict[str, Any] | None
    parameters: list[float]
    values: list[float]
    penalty: float = 0.0
    distance: float = 0.0
    operands: Any = None
    data_type: DataType = FLOAT32
    header: Any = None
    convex: bool = True

    def vector(self) -> Vector:
        """Its vector."""
        of = layout(segment("theta", [len(self.parameters)], self.kind), data_type=self.data_type)
        asked = call(self.method, of, self.parameters, **(self.operands or {}), **(self.header or {}))
        point = self.values if self.method == "ProximalStep" else self.parameters
        figures = Figures(
            elements=len(point), penalty=one_double(self.penalty), nonzeros=sum(x != 0 for x in point)
        )
        if self.method == "ProximalStep":
            figures.squared_distance.CopyFrom(one_double(self.distance))
        entry = SegmentSummary(name="theta", figures=figures, convex=self.convex)
        summary = Summary(total=figures, segments=[entry])
        response = getattr(service, f"{self.method}Response")(summary=summary)
        if self.method != "Penalty":
            response.chunk.values = self.data_type.encode(self.values)
        return Vector(self.name, self.about, self.method, asked.requests(), [response])


def one_double(value: float) -> ExactSum:
    """A sum that one double holds."""
    return ExactSum(value=value, expansion=[value] if value else [])


STEP = "ProximalStep"
ONE: Any = {"step_size": 1.0}
TINY = 2.0**-149
PROPAGATE: Any = {"non_finite_policy": service.NON_FINITE_POLICY_PROPAGATE}
STEP_ON: Any = {**PROPAGATE, **ONE}
ZEROS = [
    Written(
        "zeros/threshold",
        "What a threshold sets to 0 is +0.",
        STEP,
        HALF,
        [-0.25, -0.0, 0.25, -1],
        [0, 0, 0, -0.5],
        0.25,
        0.375,
        header=ONE,
    ),
    Written(
        "zeros/scaled",
        "A -0 that is only scaled stays -0.",
        STEP,
        {"squared_l2_norm": {"strength": 1}},
        [-0.0, 0, -1],
        [-0.0, 0, -0.5],
        0.125,
        0.25,
        header=ONE,
    ),
    Written(
        "zeros/exempt_step",
        "A -0 stays -0 in the step of an exempt segment.",
        STEP,
        None,
        [-0.0, 0, 1],
        [-0.0, 0, 1],
        header=ONE,
    ),
    Written(
        "zeros/exempt_gradient",
        "The gradient of an exempt segment is +0.",
        "Gradient",
        None,
        [-0.0, 0, -1],
        [0, 0, 0],
    ),
    Written(
        "zeros/loss_gradient",
        "A -0 of the loss gradient becomes +0.",
        "Gradient",
        None,
        [1, -1],
        [0, 0.5],
        operands={"loss_gradients": [-0.0, 0.5]},
    ),
    Written(
        "zeros/gradient_at_zero",
        "The gradient at -0 is +0.",
        "Gradient",
        HALF,
        [-0.0, 0, -2],
        [0, 0, -0.5],
        1.0,
    ),
    Written(
        "zeros/underflow",
        "A negative number that is too small becomes -0.",
        STEP,
        {"squared_l2_norm": {"strength": 3}},
        [-TINY, TINY],
        [-0.0, 0],
        0.0,
        2 * TINY * TINY,
        header=ONE,
    ),
    Written(
        "zeros/huber",
        "A -0 that is only scaled stays -0.",
        STEP,
        {"huber": {"strength": 1, "delta": 1}},
        [-0.0, 0, -1],
        [-0.0, 0, -0.5],
        0.125,
        0.25,
        header=ONE,
    ),
    Written(
        "zeros/box_inside",
        "A -0 inside a box becomes +0.",
        STEP,
        {"box": {"lower": -1, "upper": 1}},
        [-0.0, -2],
        [0, -1],
        0.0,
        1.0,
        header=ONE,
    ),
    Written(
        "zeros/group_scaled",
        "A -0 in a group that stays becomes +0.",
        STEP,
        {"group_lasso": {"strength": 2.5, "groups": {"size": "3"}}},
        [-0.0, 3, 4],
        [0, 1.5, 2],
        6.25,
        6.25,
        header=ONE,
    ),
    Written(
        "zeros/norm_inside",
        "A -0 in a group inside its set becomes +0.",
        STEP,
        {"max_norm": {"radius": 9, "groups": {"size": "3"}}},
        [-0.0, 3, 4],
        [0, 3, 4],
        header=ONE,
    ),
    Written(
        "zeros/runs",
        "A -0 that is one of those that stay in its run stays -0.",
        STEP,
        {"n_of_m": {"n": "1", "m": "2"}},
        [-0.0, -0.0, -0.0, 1, -0.0, 0],
        [-0.0, 0, 0, 1, -0.0, 0],
        header=ONE,
        convex=False,
    ),
    Written(
        "zeros/box_at_0",
        "What a box sets to 0 is +0.",
        STEP,
        {"box": {"lower": 0}},
        [-1, 1],
        [0, 1],
        0.0,
        1.0,
        header=ONE,
    ),
    Written(
        "zeros/counted",
        "What a count sets to 0 is +0.",
        STEP,
        {"top_k": {"count": "1"}},
        [-1, 2],
        [0, 2],
        0.0,
        1.0,
        header=ONE,
        convex=False,
    ),
]
NOT_FINITE = [
    Written(
        "non_finite/l1_step",
        "An element is computed by its formula, and no other is touched.",
        STEP,
        HALF,
        [INFINITY, -INFINITY, NAN, 1],
        [INFINITY, -INFINITY, NAN, 0.5],
        NAN,
        NAN,
        header=STEP_ON,
    ),
    Written(
        "non_finite/l1_gradient",
        "Likewise a gradient.",
        "Gradient",
        HALF,
        [INFINITY, -INFINITY, 0, -1],
        [0.5, -0.5, 0, -0.5],
        INFINITY,
        header=PROPAGATE,
    ),
    Written(
        "non_finite/l1_penalty",
        "The penalty of an infinity is infinite.",
        "Penalty",
        HALF,
        [INFINITY, 1],
        [],
        INFINITY,
        header=PROPAGATE,
    ),
    Written(
        "non_finite/box_step",
        "A box makes a bound of an infinity.",
        STEP,
        {"box": {"lower": -1, "upper": 1}},
        [INFINITY, -2, 0.5],
        [1, -1, 0.5],
        0.0,
        INFINITY,
        header=STEP_ON,
    ),
    Written(
        "non_finite/group",
        "NaN makes NaN of its group, and of no other.",
        STEP,
        {"group_lasso": {"strength": 2.5, "groups": {"size": "2"}}},
        [NAN, 1, 3, 4],
        [NAN, NAN, 1.5, 2],
        NAN,
        NAN,
        header=STEP_ON,
    ),
    Written(
        "non_finite/inside_a_set",
        "A segment inside its set stays as it is, infinities and all.",
        STEP,
        {"top_k": {"count": "1"}},
        [0, -INFINITY],
        [0, -INFINITY],
        0.0,
        NAN,
        header=STEP_ON,
        convex=False,
    ),
    Written(
        "non_finite/whole_segment",
        "NaN makes NaN of a whole segment.",
        STEP,
        {"top_k": {"count": "1"}},
        [1, NAN, 2],
        [NAN, NAN, NAN],
        NAN,
        NAN,
        header=STEP_ON,
        convex=False,
    ),
]
