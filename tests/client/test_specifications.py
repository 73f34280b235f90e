"""Regularizers and step sizes as they are typed."""

from __future__ import annotations

import click
import pytest
from google.protobuf.message import Message
from regularization_client import (
    Box,
    ElasticNet,
    GroupLasso,
    Groups,
    GroupSizes,
    GroupWeights,
    L1Norm,
    NuclearNorm,
)
from regularization_client._cli.specifications import RegularizerType, StepSizeType, as_rules

L1 = L1Norm(strength=1e-4)

RIGHT: dict[str, tuple[str, Message | None]] = {
    "l1_norm:strength=1e-4": ("*", L1),
    "l1_norm": ("*", L1Norm()),
    "none": ("*", None),
    "elastic_net:l1_strength=1, l2_strength=2": ("*", ElasticNet(l1_strength=1, l2_strength=2)),
    "box:lower=-0.5": ("*", Box(lower=-0.5)),
    "nuclear_norm:strength=inf": ("*", NuclearNorm(strength=float("inf"))),
    "group_lasso:strength=0.1,groups.size=4": ("*", GroupLasso(strength=0.1, groups=Groups(size=4))),
    "group_lasso:groups.axis=1,groups.sqrt_size=true": (
        "*",
        GroupLasso(groups=Groups(axis=1, sqrt_size=True)),
    ),
    "group_lasso:groups.sizes=[2, 3],groups.weights.values=[1,0.5]": (
        "*",
        GroupLasso(groups=Groups(sizes=GroupSizes(values=[2, 3]), weights=GroupWeights(values=[1, 0.5]))),
    ),
    "fc*.weight=l1_norm:strength=1e-4": ("fc*.weight", L1),
    "*.bias=none": ("*.bias", None),
    "dense/kernel:0=l1_norm:strength=1e-4": ("dense/kernel:0", L1),
    "group_lasso:groups.sizes=[]": ("*", GroupLasso(groups=Groups(sizes=GroupSizes()))),
    "a=b=l1_norm:strength=1e-4": ("a=b", L1),
    "l1_norm.weight=none": ("l1_norm.weight", None),
}


@pytest.mark.parametrize(("text", "expected"), RIGHT.items(), ids=RIGHT)
def test_regularizers(text: str, expected: tuple[str, Message | None]) -> None:
    """Any of the schema's, by its own names, with or without a pattern."""
    assert RegularizerType().convert(text, None, None) == expected


WRONG = {
    "lasso:strength=1": "'lasso' is no regularizer; did you mean 'group_lasso' or 'fused_lasso'\\?$",
    "fc=lasso:strength=1": "'lasso' is no regularizer; did you mean 'group_lasso' or 'fused_lasso'\\?$",
    "l1norm:strength=1": "'l1norm' is no regularizer; did you mean 'l1_norm'\\?$",
    "none:strength=1": "none has no fields, got 'strength=1'",
    "nnoe": "'nnoe' is no regularizer; did you mean 'none'\\?$",
    "": "'' is no regularizer: there are l1_norm, .*, none$",
    "l1_norm:strengt=1": "'strengt' is no field; did you mean 'strength'\\?$",
    "l1_norm:lambda=1": "'lambda' is no field: there are strength$",
    "group_lasso:groups.axes=1": "'axes' is no field; did you mean 'axis'\\?$",
    "l1_norm:strength=1,strength=2": "strength is given twice",
    "group_lasso:groups.size=2,groups.axis=0": "axis and size exclude each other",
    "group_lasso:groups.size=99999999999999999999": "size is out of its type's range, got 9+$",
    "group_lasso:groups.sizes=[1,99999999999999999999]": r"values is out of its type's range, got \[1,9",
    "l1_norm:strength": "'strength' must be FIELD=VALUE",
    "l1_norm:strength=much": "strength must be a number, got 'much'",
    "l1_norm:strength.x=1": "strength has no fields",
    "group_lasso:groups=4": "groups has fields of its own: groups.size=",
    "tree_group_lasso:nested_groups.size=4": r"nested_groups is a list of tables, which a plan file .*--plan",
    "group_lasso:groups.size=4.5": "size must be a whole number, got '4.5'",
    "group_lasso:groups.sizes=4": r"values must be a list, \[1,2,3\], got '4'",
    "group_lasso:groups.sqrt_size=yes": "sqrt_size must be true or false, got 'yes'",
}


@pytest.mark.parametrize(("text", "reason"), WRONG.items(), ids=WRONG)
def test_what_is_no_regularizer_is_refused(text: str, reason: str) -> None:
    """With what was typed, what is wrong with it, and what it may be."""
    with pytest.raises(click.BadParameter, match=reason):
        RegularizerType().convert(text, None, None)


def test_numbers_out_of_a_field_s_range_are_refused() -> None:
    """As other values that are not of the field's type."""
    with pytest.raises(click.BadParameter):
        RegularizerType().convert(f"group_lasso:groups.axis={2**40}", None, None)


@pytest.mark.parametrize(
    ("text", "expected"), [("0.1", ("*", 0.1)), ("fc*=1e-3", ("fc*", 1e-3)), ("a=b=2", ("a=b", 2.0))]
)
def test_step_sizes(text: str, expected: tuple[str, float]) -> None:
    """With or without a pattern."""
    assert StepSizeType().convert(text, None, None) == expected


def test_what_is_no_step_size_is_refused() -> None:
    """The error says what was typed."""
    with pytest.raises(click.BadParameter, match="must end in a number, got 'much'"):
        StepSizeType().convert("fc=much", None, None)
    for number in ("-1", "inf", "nan"):
        with pytest.raises(click.BadParameter, match=f"must be finite and >= 0, got {number}"):
            StepSizeType().convert(f"fc={number}", None, None)


def test_the_setting_for_everything_comes_last() -> None:
    """Wherever it was typed, so that it leaves the others something to match."""
    assert list(as_rules([("*", 1), ("a", 2), ("b*", 3)], "-s")) == ["a", "b*", "*"]


def test_two_settings_for_the_same_are_refused() -> None:
    """One of them would be dropped without a word."""
    with pytest.raises(click.UsageError, match="-s is given twice for 'a'"):
        as_rules([("a", 1), ("a", 2)], "-s")
    with pytest.raises(click.UsageError, match="-s is given twice for everything"):
        as_rules([("*", 1), ("*", 2)], "-s")
