"""Settings by name or pattern."""

from __future__ import annotations

import pytest
from regularization_client import ArgumentError
from regularization_client._request.names import resolve

NAMES = ("fc1.weight", "fc1.bias", "fc2.weight", "fc2.bias")


def test_exact_names_come_first_and_then_patterns_in_order() -> None:
    """Wherever in the mapping the exact name is."""
    rules = {"*.bias": 1, "fc1.*": 2, "*": 3, "fc2.bias": 4}
    assert resolve(rules, NAMES, "r") == {"fc1.weight": 2, "fc1.bias": 1, "fc2.weight": 3, "fc2.bias": 4}


def test_a_name_with_a_bracket_is_matched_exactly() -> None:
    """Though as a pattern it would not match itself."""
    assert resolve({"layers[0]": 1}, ["layers[0]"], "r") == {"layers[0]": 1}


@pytest.mark.parametrize("rule", ["fc3.weight", "fc3.*", "FC1.*"])
def test_a_rule_that_matches_nothing_is_an_error(rule: str) -> None:
    """It names the rule and what there is."""
    with pytest.raises(ArgumentError, match=r"matches none of 'fc1\.weight', 'fc1\.bias'") as caught:
        resolve({rule: 1, "*": 2}, NAMES, "regularizer")
    assert repr(rule) in str(caught.value)


def test_a_rule_that_is_left_nothing_is_an_error() -> None:
    """An earlier pattern took it all."""
    with pytest.raises(ArgumentError, match=r"'fc1\.\*' matches nothing that the rules before it leave"):
        resolve({"*": 1, "fc1.*": 2}, NAMES, "regularizer")


def test_the_pattern_for_what_is_left_may_come_to_nothing() -> None:
    """It is there to be on the safe side."""
    assert set(resolve({"*.weight": 1, "*.bias": 2, "*": 3}, NAMES, "r").values()) == {1, 2}


def test_a_name_without_a_rule_is_an_error() -> None:
    """Nothing is exempt by oversight."""
    with pytest.raises(ArgumentError, match=r"nothing matches 'fc1\.bias'") as caught:
        resolve({"*.weight": 1}, NAMES, "regularizer")
    assert caught.value.segment == "fc1.bias"


def test_a_long_list_of_names_is_cut_short() -> None:
    """A message stays readable."""
    with pytest.raises(ArgumentError, match="and 92 more"):
        resolve({"x": 1, "*": 2}, [f"layer{number}" for number in range(100)], "regularizer")
