"""Regularizers whose parameters break a rule, alone or with the shape of their segment."""

from __future__ import annotations

from collections.abc import Callable

from regularization.v1.regularizers_pb2 import (
    Box,
    ElasticNet,
    GroupLasso,
    Groups,
    GroupSizes,
    GroupWeights,
    L1Norm,
    NuclearNorm,
    Regularizer,
    SquaredL2Norm,
)

from tests.support.bad_input.rows import INFINITY, NAN, REGULARIZER, Row, Stream, with_regularizer
from tests.support.messages import header, request


def unknown_kind(method: str) -> list[bytes]:
    """A header as a newer client would send it, with a regularizer that this server does not know."""
    message = request(method, header=header(method))
    message.header.layout.segments[0].regularizer.Clear()
    # Field 1000, length-delimited, empty: an unknown member of the oneof.
    message.header.layout.segments[0].regularizer.MergeFromString(b"\xc2\x3e\x00")
    return [message.SerializeToString()]


def out_of_range(regularizer: Callable[[float], Regularizer], path: str) -> list[Row]:
    """Rows for a parameter that must be finite and >= 0."""
    return [
        Row(
            f"{path}_{value}",
            with_regularizer(regularizer(value)),
            "FIELD_OUT_OF_RANGE",
            f"{REGULARIZER}.{path}",
        )
        for value in (-0.5, NAN, INFINITY, -INFINITY)
    ]


REGULARIZERS = [
    Row(
        "no_regularizer_kind",
        with_regularizer(Regularizer()),
        "REGULARIZER_UNKNOWN",
        REGULARIZER,
        {"segment": "w"},
    ),
    Row("regularizer_kind_unknown", unknown_kind, "REGULARIZER_UNKNOWN", REGULARIZER, {"segment": "weight"}),
    *out_of_range(lambda value: Regularizer(l1_norm=L1Norm(strength=value)), "l1_norm.strength"),
    *out_of_range(
        lambda value: Regularizer(squared_l2_norm=SquaredL2Norm(strength=value)), "squared_l2_norm.strength"
    ),
    *out_of_range(
        lambda value: Regularizer(elastic_net=ElasticNet(l1_strength=value, l2_strength=1)),
        "elastic_net.l1_strength",
    ),
    *out_of_range(
        lambda value: Regularizer(elastic_net=ElasticNet(l1_strength=1, l2_strength=value)),
        "elastic_net.l2_strength",
    ),
    *out_of_range(
        lambda value: Regularizer(group_lasso=GroupLasso(strength=value, groups=Groups(size=2))),
        "group_lasso.strength",
    ),
    *out_of_range(
        lambda value: Regularizer(nuclear_norm=NuclearNorm(strength=value)), "nuclear_norm.strength"
    ),
    *(
        Row(
            f"{path}_missing",
            with_regularizer(regularizer),
            "FIELD_MISSING",
            f"{REGULARIZER}.{path}",
            {"segment": "w"},
        )
        for path, regularizer in (
            ("l1_norm.strength", Regularizer(l1_norm=L1Norm())),
            ("squared_l2_norm.strength", Regularizer(squared_l2_norm=SquaredL2Norm())),
            ("elastic_net.l1_strength", Regularizer(elastic_net=ElasticNet(l2_strength=1))),
            ("elastic_net.l2_strength", Regularizer(elastic_net=ElasticNet(l1_strength=1))),
            ("box", Regularizer(box=Box())),
            ("group_lasso.strength", Regularizer(group_lasso=GroupLasso(groups=Groups(size=2)))),
            ("group_lasso.groups", Regularizer(group_lasso=GroupLasso(strength=1))),
            ("nuclear_norm.strength", Regularizer(nuclear_norm=NuclearNorm())),
        )
    ),
    *(
        Row(
            f"box_{box.lower}_{box.upper}",
            with_regularizer(Regularizer(box=box)),
            "FIELD_OUT_OF_RANGE",
            f"{REGULARIZER}.box.{at_fault}",
        )
        for box, at_fault in (
            (Box(lower=2, upper=1), "lower"),
            (Box(lower=NAN), "lower"),
            (Box(lower=0, upper=NAN), "upper"),
            (Box(lower=-INFINITY, upper=1), "lower"),
            (Box(lower=1, upper=INFINITY), "upper"),
        )
    ),
]

NO_PARTITION = Regularizer(group_lasso=GroupLasso(strength=1, groups=Groups(sqrt_size=True)))

REGULARIZERS.append(
    Row(
        "group_partition_missing",
        with_regularizer(NO_PARTITION),
        "FIELD_MISSING",
        f"{REGULARIZER}.group_lasso.groups",
    )
)


def with_groups(groups: Groups) -> Stream:
    """A stream of one segment of shape (2, 3) with a group lasso."""
    return with_regularizer(Regularizer(group_lasso=GroupLasso(strength=1, groups=groups)), 2, 3)


GROUPS = [
    Row(name, with_groups(groups), reason, f"{REGULARIZER}.group_lasso.groups.{at_fault}", {"segment": "w"})
    for name, groups, reason, at_fault in (
        ("group_size_0", Groups(size=0), "GROUPS_INVALID", "size"),
        ("group_size_does_not_divide", Groups(size=4), "GROUPS_INVALID", "size"),
        ("group_sizes_too_few", Groups(sizes=GroupSizes(values=[2, 3])), "GROUPS_INVALID", "sizes"),
        ("group_sizes_too_many", Groups(sizes=GroupSizes(values=[2, 3, 4])), "GROUPS_INVALID", "sizes"),
        ("group_sizes_none", Groups(sizes=GroupSizes()), "GROUPS_INVALID", "sizes"),
        (
            "group_sizes_around_int64",
            Groups(sizes=GroupSizes(values=[2**63 - 1, 2**63 - 1, 8])),
            "GROUPS_INVALID",
            "sizes",
        ),
        ("group_sizes_0", Groups(sizes=GroupSizes(values=[6, 0])), "GROUPS_INVALID", "sizes.values[1]"),
        ("group_axis_beyond", Groups(axis=2), "GROUPS_INVALID", "axis"),
        ("group_axis_negative", Groups(axis=-1), "FIELD_OUT_OF_RANGE", "axis"),
        (
            "group_weights_too_few",
            Groups(size=2, weights=GroupWeights(values=[1, 2])),
            "GROUPS_INVALID",
            "weights",
        ),
        ("group_weights_none", Groups(size=2, weights=GroupWeights()), "GROUPS_INVALID", "weights"),
        (
            "group_weight_negative",
            Groups(size=2, weights=GroupWeights(values=[1, -2, 3])),
            "FIELD_OUT_OF_RANGE",
            "weights.values[1]",
        ),
        (
            "group_weight_nan",
            Groups(size=2, weights=GroupWeights(values=[1, 2, NAN])),
            "FIELD_OUT_OF_RANGE",
            "weights.values[2]",
        ),
    )
]
