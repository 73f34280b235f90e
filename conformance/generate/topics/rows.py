"""Every regularizer: penalty, gradient and proximal step of a small segment, and some in all data types."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from ..layouts import METHODS, POINT, call, layout, segment, snake
from ..numbers import DATA_TYPES, FLOAT64
from ..vector import Vector, vector

BY_THREE = {"size": 3, "sqrtSize": True}
PYTHAGOREAN = [0.375, -0.5, 0, 0, 0, 0, 1.5, 2, 0, -0.3125, 0.75, 0]
"""Groups of three whose norms are 0.625, 0, 2.5 and 0.8125: the roots of terms are exact."""
MATRIX = [1.5, -0.25, 0.5, 0.125, 0.75, -1.25, 0.375, 1, -0.625, 0.25, 0.875, -0.5]


@dataclass(frozen=True)
class Case:
    """A regularizer and where it is computed.

    Attributes:
        kind: The regularizer, as proto3 JSON.
        shape: Of the segment.
        point: Where penalty and step are computed, and the gradient, too.
        inside: Where an indicator has a gradient, and penalty 0.
        suffix: Of the vectors' names, where a regularizer has several cases.
        maps: Whether there is a proximal step alone.
    """

    kind: dict[str, Any]
    shape: list[int] = field(default_factory=lambda: [12])
    point: list[float] = field(default_factory=lambda: POINT)
    inside: list[float] | None = None
    suffix: str = ""
    maps: bool = False

    @property
    def name(self) -> str:
        """The regularizer's name."""
        return next(iter(self.kind))


ELEMENTS = [
    Case({"l1_norm": {"strength": 0.1}}),
    Case({"squared_l2_norm": {"strength": 0.3}}),
    Case({"elastic_net": {"l1_strength": 0.1, "l2_strength": 0.7}}),
    Case({"box": {"lower": -0.3, "upper": 0.7}}, inside=[0.125, -0.25] * 6),
    Case({"box": {"lower": 0}}, inside=[0.125, 0] * 6, suffix="_lower"),
    Case({"huber": {"strength": 0.3, "delta": 0.4}}),
    Case({"l0_norm": {"strength": 0.1}}),
    Case({"l_half": {"strength": 0.2}}),
    Case({"l_two_thirds": {"strength": 0.2}}),
    Case({"mcp": {"strength": 0.3, "concavity": 3}}),
    Case({"mcp": {"strength": 0.5, "concavity": 0.5}}, suffix="_beyond"),
    Case({"scad": {"strength": 0.3, "concavity": 3.7}}),
    Case({"scad": {"strength": 0.3, "concavity": 2.125}}, suffix="_flat"),
    Case({"log_sum": {"strength": 0.1, "epsilon": 0.2}}),
    Case({"hinge": {"strength": 0.3}}),
    Case({"negative_entropy": {"strength": 0.3}}, point=[abs(value) + 0.0625 for value in POINT]),
    Case({"grid": {"levels": {"explicit": {"values": [-1, -0.25, 0, 0.5, 2]}}}}, inside=[-1, 0, 0.5, 2] * 3),
    Case({"grid": {"levels": {"step": 0.375}}}, inside=[0, 0.375, -0.75, 1.125] * 3, suffix="_even"),
    Case({"quantization": {"strength": 0.1, "levels": {"step": 0.5, "offset": 0.125}}}),
    Case(
        {"quantization": {"strength": 0.1, "levels": {"explicit": {"values": [-1, 0, 1]}}}},
        suffix="_explicit",
    ),
    Case({"dropout": {"rate": 0.5, "seed": "7"}}, maps=True),
    Case(
        {"dropout": {"rate": 0.3, "seed": "18446744073709551615", "step": "9", "rescale": False}},
        suffix="_kept",
        maps=True,
    ),
]
GROUPS = [
    Case({"group_lasso": {"strength": 0.3, "groups": BY_THREE}}, point=PYTHAGOREAN),
    Case({"group_lasso": {"strength": 0.3, "groups": {"axis": 1}}}, [4, 3], suffix="_columns"),
    Case(
        {
            "group_lasso": {
                "strength": 0.3,
                "groups": {"sizes": {"values": ["2", "4", "1", "5"]}, "weights": {"values": [1, 0.5, 2, 0]}},
            }
        },
        suffix="_sizes",
    ),
    Case(
        {"sparse_group_lasso": {"l1_strength": 0.1, "group_strength": 0.3, "groups": BY_THREE}},
        point=PYTHAGOREAN,
    ),
    Case(
        {"sparse_group_lasso": {"l1_strength": 0.1, "group_strength": 0.3, "groups": {"axis": 1}}},
        [4, 3],
        suffix="_columns",
    ),
    Case({"exclusive_lasso": {"strength": 0.3, "groups": {"size": "4"}}}),
    Case({"group_linf": {"strength": 0.3, "groups": BY_THREE}}),
    Case({"n_of_m": {"n": "2", "m": "4"}}, inside=[1, 0, 2, 0] * 3),
    Case({"n_of_m": {"n": "1", "m": "2", "axis": 0}}, [4, 3], inside=[1, 0, 2, 0, 3, 0] * 2, suffix="_axis"),
    Case({"max_norm": {"radius": 0.7, "groups": BY_THREE}}, inside=[0.25, 0, 0.125] * 4),
    Case({"group_mcp": {"strength": 0.3, "concavity": 3, "groups": BY_THREE}}, point=PYTHAGOREAN),
    Case({"group_scad": {"strength": 0.3, "concavity": 3.7, "groups": BY_THREE}}, point=PYTHAGOREAN),
    Case(
        {"unit_norm": {"groups": {"size": "3"}}},
        point=[*POINT[:6], 0, 0, 0, *POINT[9:]],
        inside=[1, 0, 0, 0, -1, 0] * 2,
    ),
    Case(
        {"min_max_norm": {"lower": 0.5, "upper": 1, "groups": {"size": "3"}}},
        point=[*POINT[:6], 0, 0, 0, *POINT[9:]],
        inside=[0.75, 0, 0] * 4,
    ),
    Case({"top_k_groups": {"count": "2", "groups": {"size": "3"}}}, inside=[0, 0, 0, 1, 2, 3] * 2),
    Case(
        {"top_k_groups": {"fraction": 0.5, "groups": {"axis": 1}}},
        [4, 3],
        inside=[0, 1, 2] * 4,
        suffix="_columns",
    ),
    Case(
        {"transposable_sparsity": {"n": "2"}},
        [4, 4],
        point=[*POINT, 0.25, -0.875, 1.0625, 0.4375],
        inside=[1, 2, 0, 0, 0, 0, 3, 4] * 2,
    ),
    Case(
        {
            "tree_group_lasso": {
                "strength": 0.2,
                "nestedGroups": [
                    {"size": "3"},
                    {"size": "6", "sqrtSize": True},
                    {"size": "12", "weights": {"values": [0.5]}},
                ],
            }
        },
        point=PYTHAGOREAN,
    ),
    Case(
        {"block_sparsity": {"count": "2", "rows": "2", "columns": "1"}},
        [4, 3],
        inside=[1, 0, 0, 2, 0, 0, 0, 0, 3, 0, 0, 4],
    ),
]
VECTORS = [
    Case({"l2_norm": {"strength": 0.3}}, point=[0.375, -0.5, 0, 1, -1, 2, 0, 0, 0.625, 1, 1, -1]),
    Case({"linf_norm": {"strength": 1.3}}),
    Case({"l1_ball": {"radius": 3.1}}, inside=[0.125, -0.25] * 6),
    Case({"l1_ball": {"radius": 0.7, "groups": BY_THREE}}, inside=[0.125, -0.25] * 6, suffix="_groups"),
    Case({"l2_ball": {"radius": 1.1}}, inside=[0.125, -0.25] * 6),
    Case({"simplex": {"radius": 1.5}}, inside=[0.125] * 12),
    Case({"simplex": {"radius": 1, "groups": {"size": "4"}}}, inside=[0.25] * 12, suffix="_groups"),
    Case({"top_k": {"count": "4"}}, inside=[1, 2, 0, 0, 0, 0] * 2),
    Case({"top_k": {"fraction": 0.375}}, inside=[1, 2, 0, 0, 0, 0] * 2, suffix="_fraction"),
    Case({"slope": {"strengths": {"values": [1, 0.9, 0.5, 0.5, 0.4, 0.3, 0.3, 0.2, 0.1, 0, 0, 0]}}}),
    Case(
        {"slope": {"oscar": {"l1_strength": 0.1, "pairwise_strength": 0.05}}},
        point=[0.5, -0.5, 0.25, 0] * 3,
        suffix="_oscar",
    ),
]
SEQUENCES = [
    Case({"total_variation": {"strength": 0.3}}),
    Case(
        {"total_variation": {"strength": 0.3, "axis": 0}},
        [4, 3],
        point=[*POINT[:3], *POINT[:3], *POINT[6:]],
        suffix="_axis",
    ),
    Case({"fused_lasso": {"l1_strength": 0.1, "tv_strength": 0.2}}),
    Case({"trend_filter": {"strength": 0.3, "order": 1}}),
    Case({"isotonic": {}}, inside=[float(index) for index in range(12)]),
    Case(
        {"isotonic": {"decreasing": True, "axis": 0}},
        [4, 3],
        inside=[float(-index) for index in range(12)],
        suffix="_axis",
    ),
    Case({"total_variation_2d": {"strength": 0.25}}, [4, 3]),
]
MATRICES = [
    Case({"nuclear_norm": {"strength": 0.3}}, [4, 3], MATRIX),
    Case({"nuclear_norm": {"strength": 0.3, "axis": 1}}, [2, 3, 2], MATRIX, suffix="_axis"),
    Case({"spectral_norm": {"strength": 0.3}}, [4, 3], MATRIX),
    Case({"spectral_ball": {"radius": 1.25}}, [4, 3], MATRIX, [0.125, -0.25, 0] * 4),
    Case({"nuclear_ball": {"radius": 2}}, [4, 3], MATRIX, [0.125, -0.25, 0] * 4),
    Case({"rank_ball": {"rank": "1"}}, [4, 3], MATRIX, [1, 0, 0, 2, 0, 0] * 2),
    Case({"stiefel": {}}, [4, 3], MATRIX, [0, 1, 0, 1, 0, 0, 0, 0, -1, 0, 0, 0]),
    Case({"positive_semidefinite": {}}, [3, 3], MATRIX[:9], [2, 0, 0, 0, 1, 0, 0, 0, 0]),
    Case({"orthogonality": {"strength": 0.3}}, [4, 3], MATRIX),
    Case({"spectral_normalization": {"target": 1}}, [4, 3], MATRIX, maps=True),
]
CASES = [*ELEMENTS, *GROUPS, *VECTORS, *SEQUENCES, *MATRICES]
IN_ALL_TYPES = [
    Case({"l1_norm": {"strength": 0.1}}),
    Case({"squared_l2_norm": {"strength": 0.37}}),
    Case({"huber": {"strength": 0.3, "delta": 0.4}}),
    Case({"box": {"lower": -0.3, "upper": 0.7}}),
    Case({"group_lasso": {"strength": 0.3, "groups": {"size": "3"}}}, point=PYTHAGOREAN),
    Case({"top_k": {"count": "4"}}),
]
SHORT = [
    Case({"l1_norm": {"strength": 0.125}}),
    Case({"elastic_net": {"l1_strength": 0.125, "l2_strength": 4}}),
    Case({"huber": {"strength": 0.5, "delta": 0.625}}),
    Case({"scad": {"strength": 0.25, "concavity": 3}}),
    Case({"sparse_group_lasso": {"l1_strength": 0.125, "group_strength": 0.25, "groups": {"size": "1"}}}),
    Case({"group_linf": {"strength": 0.25, "groups": {"size": "2"}}}),
    Case({"fused_lasso": {"l1_strength": 0.125, "tv_strength": 0.25}}),
]
"""Rows whose answers have few bits, so that they are exact in float64 in any order of operations."""
DOUBLED = [
    "l1_norm",
    "l0_norm",
    "mcp",
    "group_lasso",
    "l2_norm",
    "total_variation",
    "isotonic",
    "slope",
    "nuclear_norm",
]


def vectors() -> Iterator[Vector]:
    """All of them."""
    for case in CASES:
        where = layout(segment("theta", case.shape, case.kind))
        for method in METHODS if not case.maps else ("ProximalStep",):
            at = case.inside if method == "Gradient" and case.inside else case.point
            name = f"rows/{case.name}{case.suffix}/{snake(method)}"
            yield vector(name, f"{method} of {case.name} in float32.", call(method, where, at))
        if case.inside:
            name = f"rows/{case.name}{case.suffix}/penalty_inside"
            yield vector(name, f"Penalty of {case.name} in its set.", call("Penalty", where, case.inside))
        if case.name in DOUBLED:
            of = layout(segment("theta", case.shape, case.kind), data_type=FLOAT64)
            for method in METHODS:
                at = case.inside if method == "Gradient" and case.inside else case.point
                name = f"rows/{case.name}{case.suffix}/{snake(method)}_float64"
                yield vector(name, f"{method} of {case.name} in float64.", call(method, of, at))
    for case in SHORT:
        of = layout(segment("theta", case.shape, case.kind), data_type=FLOAT64)
        for method in METHODS:
            name = f"data_types/{case.name}_exact_{snake(method)}"
            yield vector(
                name,
                f"{method} of {case.name} in float64.",
                call(method, of, case.point, step_size=1)
                if method == "ProximalStep"
                else call(method, of, case.point),
            )
    for case in IN_ALL_TYPES:
        for data_type in DATA_TYPES:
            # Fixed point has numbers from -1 to 1; the others have the same, so that answers can be compared.
            point = [value / 4 for value in case.point]
            if data_type.width == 1:
                point = [round(value * 128) / 128 for value in point]
            of = layout(segment("theta", case.shape, case.kind), data_type=data_type)
            suffix = data_type.name.lower()
            name = f"data_types/{case.name}_{suffix}"
            about = f"ProximalStep of {case.name} in {suffix}."
            yield vector(name, about, call("ProximalStep", of, point, step_size=0.25))
            if case.name in {"l1_norm", "squared_l2_norm"}:
                yield vector(
                    f"{name}_gradient", f"Gradient of {case.name} in {suffix}.", call("Gradient", of, point)
                )
