"""Parameters of the rest of the catalogue that break a rule, alone or with the shape of their segment."""

from __future__ import annotations

from typing import Any

from regularization.v1 import regularizers_pb2 as v1
from regularization.v1.regularizers_pb2 import (
    Groups,
    GroupSizes,
    GroupWeights,
    LevelList,
    Levels,
    Oscar,
    Regularizer,
    SlopeStrengths,
)

from tests.support.bad_input.rows import INFINITY, NAN, REGULARIZER, Row, with_regularizer

RANGE, MISSING, LAYOUT, GROUPS = "FIELD_OUT_OF_RANGE", "FIELD_MISSING", "LAYOUT_INVALID", "GROUPS_INVALID"
PAIRS = Groups(size=2)
TERNARY = Levels(explicit=LevelList(values=[-1, 0, 1]))
SHAPE = "header.layout.segments[0].shape"

GOOD: dict[str, dict[str, Any]] = {
    "huber": {"strength": 1.0, "delta": 1.0},
    "l0_norm": {"strength": 1.0},
    "l_half": {"strength": 1.0},
    "l_two_thirds": {"strength": 1.0},
    "grid": {"levels": TERNARY},
    "quantization": {"strength": 1.0, "levels": TERNARY},
    "mcp": {"strength": 1.0, "concavity": 3.0},
    "scad": {"strength": 1.0, "concavity": 3.7},
    "log_sum": {"strength": 1.0, "epsilon": 1.0},
    "hinge": {"strength": 1.0},
    "negative_entropy": {"strength": 1.0},
    "sparse_group_lasso": {"l1_strength": 1.0, "group_strength": 1.0, "groups": PAIRS},
    "tree_group_lasso": {"strength": 1.0, "nested_groups": [PAIRS]},
    "exclusive_lasso": {"strength": 1.0, "groups": PAIRS},
    "group_linf": {"strength": 1.0, "groups": PAIRS},
    "group_mcp": {"strength": 1.0, "concavity": 3.0, "groups": PAIRS},
    "group_scad": {"strength": 1.0, "concavity": 3.7, "groups": PAIRS},
    "max_norm": {"radius": 1.0, "groups": PAIRS},
    "unit_norm": {"groups": PAIRS},
    "min_max_norm": {"lower": 0.5, "upper": 1.0, "groups": PAIRS},
    "l2_norm": {"strength": 1.0},
    "linf_norm": {"strength": 1.0},
    "l1_ball": {"radius": 1.0},
    "l2_ball": {"radius": 1.0},
    "simplex": {"radius": 1.0},
    "total_variation": {"strength": 1.0},
    "total_variation_2d": {"strength": 1.0},
    "fused_lasso": {"l1_strength": 1.0, "tv_strength": 1.0},
    "trend_filter": {"strength": 1.0, "order": 1},
    "spectral_norm": {"strength": 1.0},
    "spectral_ball": {"radius": 1.0},
    "nuclear_ball": {"radius": 1.0},
    "spectral_normalization": {"target": 1.0},
    "orthogonality": {"strength": 1.0},
    "dropout": {"rate": 0.5, "seed": 7},
}
"""Parameters that are right, of every row with numbers, on six elements or six by one."""

BY_GROUPS: dict[str, dict[str, Any]] = {
    **{name: GOOD[name] for name in ("l1_ball", "l2_ball", "simplex")},
    "top_k": {"count": 1},
}
"""Parameters that are right, of rows of a whole segment that take groups."""

ONE_WEIGHT, BAD_WEIGHT = GroupWeights(values=[1.0]), GroupWeights(values=[-1.0])
EMPTY_RUN = GroupSizes(values=[6, 0])

POSITIVE = {"delta", "concavity", "epsilon", "target"}
"""The numbers that must be above 0."""

METHODS = dict.fromkeys(("spectral_normalization", "dropout"), ("proximal_step",))
"""Of maps; the other methods reject it whatever its parameters are."""


def message(name: str, **parameters: Any) -> Regularizer:
    """The regularizer of a name."""
    kind = Regularizer.DESCRIPTOR.fields_by_name[name].message_type.name
    return Regularizer(**{name: getattr(v1, kind)(**parameters)})


def row(label: str, name: str, parameters: dict[str, Any], fault: tuple[str, str], *shape: int) -> Row:
    """A row of the table: the fault is a reason and a path in the regularizer's message, or a whole path."""
    reason, path = fault
    at = path if path.startswith("header") else ".".join(filter(None, (REGULARIZER, name, path)))
    stream = with_regularizer(message(name, **parameters), *shape)
    methods = METHODS.get(name)
    return Row(label, stream, reason, at, **({} if methods is None else {"methods": methods}))


def of_levels(label: str, fault: tuple[str, str], **levels: Any) -> Row:
    """A grid of such levels."""
    return row(f"levels_{label}", "grid", {"levels": Levels(**levels)}, fault, 6)


def explicit(*values: float) -> dict[str, LevelList]:
    """Explicit levels."""
    return {"explicit": LevelList(values=values)}


def numbers() -> list[Row]:
    """Every number of every row: unset, out of range, not finite."""
    rows = []
    for name, good in GOOD.items():
        for field, value in good.items():
            rest = {other: given for other, given in good.items() if other != field}
            rows.append(row(f"{name}_{field}_missing", name, rest, (MISSING, field), 6, 1))
            if not isinstance(value, float):
                continue
            lowest = (0.0,) if field in POSITIVE else ()
            for bad in (-0.5, NAN, INFINITY, -INFINITY, *lowest):
                label = f"{name}_{field}_{bad}"
                rows.append(row(label, name, {**rest, field: bad}, (RANGE, field), 6, 1))
    return rows


MATRICES = ("spectral_norm", "spectral_ball", "nuclear_ball", "orthogonality")

CATALOGUE = [
    *numbers(),
    row("dropout_rate_1", "dropout", {"rate": 1.0, "seed": 7}, (RANGE, "rate")),
    row("scad_concavity_2", "scad", {"strength": 1.0, "concavity": 2.0}, (RANGE, "concavity")),
    row("n_above_m", "n_of_m", {"n": 3, "m": 2}, (RANGE, "n")),
    row("n_negative", "n_of_m", {"n": -1, "m": 2}, (RANGE, "n")),
    row("m_zero", "n_of_m", {"n": 0, "m": 0}, (RANGE, "m")),
    row("m_does_not_divide", "n_of_m", {"n": 2, "m": 4}, (GROUPS, "m")),
    row("m_divides_the_length_and_no_row", "n_of_m", {"n": 1, "m": 2}, (GROUPS, "m"), 2, 3),
    row("m_does_not_divide_the_axis", "n_of_m", {"n": 1, "m": 3, "axis": 0}, (GROUPS, "m"), 2, 3),
    row("n_of_m_axis_negative", "n_of_m", {"n": 1, "m": 2, "axis": -1}, (RANGE, "axis"), 2, 3),
    row("n_of_m_axis_too_large", "n_of_m", {"n": 1, "m": 2, "axis": 2}, (GROUPS, "axis"), 2, 3),
    of_levels("unset", (MISSING, "levels")),
    of_levels("offset_alone", (MISSING, "levels"), offset=1.0),
    *(of_levels(f"step_{step}", (RANGE, "levels.step"), step=step) for step in (0.0, -1.0, NAN, INFINITY)),
    *(
        of_levels(f"offset_{offset}", (RANGE, "levels.offset"), step=1.0, offset=offset)
        for offset in (NAN, INFINITY, -INFINITY)
    ),
    of_levels("offset_beside_explicit", (RANGE, "levels.offset"), **explicit(0), offset=1.0),
    of_levels("none", (RANGE, "levels.explicit"), **explicit()),
    of_levels("too_many", (RANGE, "levels.explicit"), **explicit(*range(257))),
    of_levels("falling", (RANGE, "levels.explicit.values[1]"), **explicit(1, 0)),
    of_levels("twice", (RANGE, "levels.explicit.values[2]"), **explicit(0, 1, 1)),
    of_levels("not_finite", (RANGE, "levels.explicit.values[0]"), **explicit(-INFINITY, 0)),
    row("top_k_of_nothing", "top_k", {}, (MISSING, "")),
    row("top_k_of_both", "top_k", {"count": 1, "fraction": 0.5}, (RANGE, "fraction")),
    *(
        row(f"top_k_fraction_{value}", "top_k", {"fraction": value}, (RANGE, "fraction"))
        for value in (-0.1, 1.5, NAN, INFINITY)
    ),
    *(
        row(f"blocks_{label}", "block_sparsity", parameters, fault, *shape)
        for label, parameters, fault, shape in (
            ("without_rows", {"count": 1, "columns": 2}, (MISSING, "rows"), (4, 4)),
            ("without_columns", {"count": 1, "rows": 2}, (MISSING, "columns"), (4, 4)),
            ("without_a_count", {"rows": 2, "columns": 2}, (MISSING, ""), (4, 4)),
            ("with_a_negative_count", {"count": -1, "rows": 2, "columns": 2}, (RANGE, "count"), (4, 4)),
            ("of_which_more_stay", {"count": 5, "rows": 2, "columns": 2}, (RANGE, "count"), (4, 4)),
            ("with_fraction_nan", {"fraction": NAN, "rows": 2, "columns": 2}, (RANGE, "fraction"), (4, 4)),
            ("with_no_rows", {"count": 1, "rows": 0, "columns": 2}, (RANGE, "rows"), (4, 4)),
            ("with_no_columns", {"count": 1, "rows": 2, "columns": -(2**63)}, (RANGE, "columns"), (4, 4)),
            ("that_do_not_fill", {"count": 1, "rows": 2, "columns": 3}, (LAYOUT, SHAPE), (4, 4)),
            ("that_are_huge", {"count": 1, "rows": 2**63 - 1, "columns": 1}, (LAYOUT, SHAPE), (4, 4)),
            ("of_a_vector", {"count": 1, "rows": 1, "columns": 1}, (LAYOUT, SHAPE), (6,)),
        )
    ),
    row("tiles_without_n", "transposable_sparsity", {}, (MISSING, "n"), 4, 4),
    row("tiles_with_n_negative", "transposable_sparsity", {"n": -1}, (RANGE, "n"), 4, 4),
    row("tiles_with_n_above_4", "transposable_sparsity", {"n": 5}, (RANGE, "n"), 4, 4),
    row("tiles_of_a_vector", "transposable_sparsity", {"n": 2}, (LAYOUT, SHAPE), 6),
    row("tiles_that_do_not_fill", "transposable_sparsity", {"n": 2}, (LAYOUT, SHAPE), 4, 6),
    row("top_k_groups_of_nothing", "top_k_groups", {"groups": PAIRS}, (MISSING, "")),
    row("top_k_groups_without_groups", "top_k_groups", {"count": 1}, (MISSING, "groups")),
    row(
        "top_k_groups_of_both",
        "top_k_groups",
        {"count": 1, "fraction": 0.5, "groups": PAIRS},
        (RANGE, "fraction"),
    ),
    *(
        row(
            f"top_k_groups_fraction_{value}",
            "top_k_groups",
            {"fraction": value, "groups": PAIRS},
            (RANGE, "fraction"),
        )
        for value in (-0.1, 1.5, NAN, INFINITY)
    ),
    row("top_k_groups_negative", "top_k_groups", {"count": -1, "groups": PAIRS}, (RANGE, "count")),
    row("top_k_groups_above_their_number", "top_k_groups", {"count": 4, "groups": PAIRS}, (RANGE, "count")),
    row(
        "top_k_groups_weighted",
        "top_k_groups",
        {"count": 1, "groups": Groups(size=2, sqrt_size=True)},
        (GROUPS, "groups.sqrt_size"),
    ),
    row("top_k_negative", "top_k", {"count": -1}, (RANGE, "count")),
    row("top_k_above_the_length", "top_k", {"count": 7}, (RANGE, "count")),
    row("slope_without_strengths", "slope", {}, (MISSING, "")),
    row(
        "slope_rising", "slope", {"strengths": SlopeStrengths(values=[1, 2])}, (RANGE, "strengths.values[1]")
    ),
    row(
        "slope_negative", "slope", {"strengths": SlopeStrengths(values=[-1])}, (RANGE, "strengths.values[0]")
    ),
    row("slope_too_short", "slope", {"strengths": SlopeStrengths(values=[2, 1])}, (LAYOUT, "strengths")),
    row("oscar_missing", "slope", {"oscar": Oscar(l1_strength=1)}, (MISSING, "oscar.pairwise_strength")),
    row(
        "oscar_negative",
        "slope",
        {"oscar": Oscar(l1_strength=-1, pairwise_strength=1)},
        (RANGE, "oscar.l1_strength"),
    ),
    row("order_negative", "trend_filter", {"strength": 1.0, "order": -1}, (RANGE, "order")),
    row("order_too_high", "trend_filter", {"strength": 1.0, "order": 6}, (RANGE, "order")),
    row("norms_in_disorder", "min_max_norm", {"lower": 2.0, "upper": 1.0, "groups": PAIRS}, (RANGE, "lower")),
    row("norms_of_nothing", "unit_norm", {"groups": Groups(axis=0)}, (LAYOUT, SHAPE), 3, 0),
    row("groups_do_not_fill", "max_norm", {"radius": 1.0, "groups": Groups(size=4)}, (GROUPS, "groups.size")),
    *(row(f"{name}_on_a_vector", name, GOOD[name], (LAYOUT, SHAPE), 6) for name in MATRICES),
    *(
        row(f"{name}_rows_along_axis_{axis}", name, {**GOOD[name], "axis": axis}, (RANGE, "axis"), 2, 3, 1)
        for name in MATRICES
        for axis in (-1, -(2**31), 3, 2**31 - 1)
    ),
    row("stiefel_on_a_vector", "stiefel", {}, (LAYOUT, SHAPE), 6),
    row("stiefel_wider_than_tall", "stiefel", {}, (LAYOUT, SHAPE), 2, 3),
    *(
        row(
            f"positive_semidefinite_on_{len(shape)}_axes_of_{shape[-1]}",
            "positive_semidefinite",
            {},
            (LAYOUT, SHAPE),
            *shape,
        )
        for shape in ((4,), (2, 3), (2, 2, 1))
    ),
    *(
        row(f"{name}_along_axis_{axis}", name, {**GOOD.get(name, {}), "axis": axis}, (RANGE, "axis"), 2, 3)
        for name in ("total_variation", "fused_lasso", "isotonic")
        for axis in (-1, 2, 2**31 - 1)
    ),
    row("total_variation_2d_on_a_vector", "total_variation_2d", {"strength": 1.0}, (LAYOUT, SHAPE), 6),
    row("stiefel_of_a_wide_kernel", "stiefel", {}, (LAYOUT, SHAPE), 2, 3, 1),
    row("stiefel_along_no_axis", "stiefel", {"axis": 2}, (RANGE, "axis"), 3, 2),
    row("rank_along_no_axis", "rank_ball", {"rank": 1, "axis": 2}, (RANGE, "axis"), 2, 3),
    row("rank_above_a_kernel_s_shorter_side", "rank_ball", {"rank": 3}, (RANGE, "rank"), 2, 3, 3),
    row(
        "normalization_along_no_axis",
        "spectral_normalization",
        {"target": 1.0, "axis": 2},
        (RANGE, "axis"),
        3,
        2,
    ),
    row("rank_missing", "rank_ball", {}, (MISSING, "rank"), 2, 3),
    row("rank_negative", "rank_ball", {"rank": -1}, (RANGE, "rank"), 2, 3),
    row("rank_above_the_shorter_side", "rank_ball", {"rank": 3}, (RANGE, "rank"), 2, 3),
    row("normalization_of_a_vector", "spectral_normalization", {"target": 1.0}, (LAYOUT, SHAPE), 6),
    *(
        row(f"tree_{label}", "tree_group_lasso", {"strength": 1.0, "nested_groups": levels}, (reason, at), 6)
        for label, levels, reason, at in (
            ("of_nothing", [Groups()], MISSING, "nested_groups[0]"),
            ("of_no_size", [PAIRS, Groups(size=0)], GROUPS, "nested_groups[1].size"),
            ("that_does_not_fill", [PAIRS, Groups(size=4)], GROUPS, "nested_groups[1].size"),
            ("that_is_not_nested", [PAIRS, Groups(size=3)], GROUPS, "nested_groups[1]"),
            ("upside_down", [Groups(size=6), PAIRS], GROUPS, "nested_groups[1]"),
            ("along_an_axis", [Groups(axis=1)], GROUPS, "nested_groups[0].axis"),
            ("along_a_negative_axis", [Groups(axis=-1)], RANGE, "nested_groups[0].axis"),
            (
                "of_a_bad_size",
                [Groups(sizes=EMPTY_RUN)],
                GROUPS,
                "nested_groups[0].sizes.values[1]",
            ),
            (
                "with_a_bad_weight",
                [Groups(size=6, weights=BAD_WEIGHT)],
                RANGE,
                "nested_groups[0].weights.values[0]",
            ),
            ("too_deep", [PAIRS] * 33, RANGE, "nested_groups"),
        )
    ),
    row("simplex_of_nothing", "simplex", {"radius": 1.0}, (LAYOUT, SHAPE), 0),
    row("simplices_of_nothing", "simplex", {"radius": 1.0, "groups": Groups(axis=0)}, (LAYOUT, SHAPE), 3, 0),
    *(
        row(f"{name}_{label}", name, {**BY_GROUPS[name], "groups": groups}, fault, 6)
        for name in BY_GROUPS
        for label, groups, fault in (
            ("groups_do_not_fill", Groups(size=4), (GROUPS, "groups.size")),
            ("groups_unset", Groups(), (MISSING, "groups")),
            ("groups_of_no_size", Groups(size=0), (GROUPS, "groups.size")),
            ("groups_along_no_axis", Groups(axis=1), (GROUPS, "groups.axis")),
            ("groups_with_too_few_weights", Groups(size=2, weights=ONE_WEIGHT), (GROUPS, "groups.weights")),
        )
    ),
    row(
        "top_k_of_weighted_groups",
        "top_k",
        {"count": 1, "groups": Groups(size=2, sqrt_size=True)},
        (GROUPS, "groups.sqrt_size"),
    ),
    row("top_k_above_a_group_s_size", "top_k", {"count": 3, "groups": PAIRS}, (RANGE, "count")),
]
