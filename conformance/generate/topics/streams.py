"""How a vector travels: chunks, element ranges, and streams too long for a file."""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Iterator

from regularization.v1.layout_pb2 import ElementRange
from regularization.v1.summary_pb2 import Figures, SegmentSummary, Summary

from ...runner.streams import elements
from ..calls import REQUESTS
from ..layouts import L1, LOSSES, METHODS, POINT, call, header, layout, segment, snake
from ..numbers import FLOAT32, FLOAT64, DataType
from ..sums import Sum, Terms, exact_sum
from ..vector import Vector, vector

GROUPS = {"group_lasso": {"strength": 0.3, "groups": {"size": "3"}}}
WHERE = layout(
    segment("weight", [4], L1),
    segment("groups", [2, 3], GROUPS),
    segment("bias", [2]),
)
"""Twelve elements: a sum over elements, two groups, and an exempt segment."""
CUTS: dict[str, list[int]] = {
    "one_chunk": [],
    "between_segments": [4, 10],
    "inside_segments": [3, 5, 11],
    "inside_groups": [5, 8],
    "element_by_element": list(range(1, 12)),
    "with_empty_chunks": [0, 4, 4, 12],
}
POINTS = [*POINT[:4], 0.375, -0.5, 0, 0.25, 0.75, 0, 1.5, -0.75]
"""Groups whose squares are added without rounding."""


def vectors() -> Iterator[Vector]:
    """All of them."""
    yield from _chunking()
    yield from _ranges()
    yield _long("ProximalStep", FLOAT32, 2**18 + 70_001, 100_000)
    yield _long("Penalty", FLOAT64, 2**18 + 77, 130_000)


def _chunking() -> Iterator[Vector]:
    for name, cuts in CUTS.items():
        for method in METHODS:
            gradients = {} if method == "Penalty" else {"loss_gradients": LOSSES}
            of = call(method, WHERE, POINTS, **gradients)
            about = f"{method} of the same elements: {name.replace('_', ' ')}."
            yield vector(f"chunking/{name}/{snake(method)}", about, of, cuts)
    alone = call("ProximalStep", WHERE, POINTS)
    yield vector("chunking/header_alone", "A first message without a chunk.", alone, [4], header_alone=True)


def _ranges() -> Iterator[Vector]:
    for begin, end, what in (
        (1, 3, "inside a sum over elements"),
        (2, 7, "from there to the end of a group"),
        (7, 11, "from a group's begin into an exempt segment"),
        (4, 10, "one segment"),
        (4, 4, "nothing"),
        (12, 12, "nothing, at the end"),
    ):
        for method in METHODS:
            of = call(method, WHERE, POINTS[begin:end], element_range=ElementRange(begin=begin, end=end))
            about = f"{method} of a range: {what}."
            yield vector(f"element_ranges/from_{begin}_to_{end}/{snake(method)}", about, of)


def _long(method: str, data_type: DataType, count: int, chunk_elements: int) -> Vector:
    """The squared norm's or the L1 norm's answer over several blocks, in Python's floats: binary64."""
    seed, strength, step_size = 2026, 0.1, 0.75
    values = elements(seed, count)
    kind = L1 if method == "ProximalStep" else {"squared_l2_norm": {"strength": strength}}
    of = layout(segment("theta", [count], kind), data_type=data_type)
    first = REQUESTS[method][0](
        header=header(method, of, **({"step_size": step_size} if method == "ProximalStep" else {}))
    )
    more = {
        "kind": "long_stream",
        "stream": {"seed": str(seed), "elements": count, "chunk_elements": chunk_elements},
    }
    if method == "ProximalStep":
        t = step_size * strength
        stepped = struct.pack(f"<{count}f", *(x - min(max(x, -t), t) for x in values))
        more["values_sha256"] = hashlib.sha256(stepped).hexdigest()
        point = struct.unpack(f"<{count}f", stepped)
        penalty = exact_sum([Terms(strength, [abs(y) for y in point])])
        distance = exact_sum([Terms(1.0, [(y - x) * (y - x) for y, x in zip(point, values, strict=True)])])
        figures = _figures(count, penalty, sum(map(bool, point)), distance)
    else:
        penalty = exact_sum([Terms(strength, [0.5 * (x * x) for x in values])])
        figures = _figures(count, penalty, sum(map(bool, values)), None)
    summary = Summary(total=figures, segments=[SegmentSummary(name="theta", figures=figures, convex=True)])
    about = f"{method} of {count} elements made of a seed: several blocks of lanes."
    name = f"long_streams/{snake(method)}_{data_type.name.lower()}"
    last = REQUESTS[method][2](summary=summary)
    return Vector(name, about, method, [first], [last], more=more)


def _figures(count: int, penalty: Sum, nonzeros: int, distance: Sum | None) -> Figures:
    figures = Figures(elements=count, penalty=penalty.message, nonzeros=nonzeros)
    if distance is not None:
        figures.squared_distance.CopyFrom(distance.message)
    return figures
