"""Whose rule is which: a name's own entry, or else the first pattern that the standard library matches."""

from __future__ import annotations

from fnmatch import fnmatchcase

from hypothesis import given
from hypothesis import strategies as st
from regularization.patterns import Patterns

texts = st.text(alphabet="aAb.*?[]!-\\^\n", max_size=6)


@given(st.lists(texts, unique=True, max_size=6), texts)
def test_the_first_that_fits(patterns: list[str], name: str) -> None:
    """Exact names come before patterns, wherever they stand."""
    fitting = [place for place, pattern in enumerate(patterns) if fnmatchcase(name, pattern)]
    expected = patterns.index(name) if name in patterns else next(iter(fitting), None)
    assert Patterns(patterns).first(name) == expected


@given(texts, st.lists(texts, max_size=4))
def test_whether_any_name_fits(pattern: str, names: list[str]) -> None:
    """Whatever comes before the pattern."""
    expected = any(name == pattern or fnmatchcase(name, pattern) for name in names)
    assert Patterns(["x", pattern] if pattern != "x" else ["y", pattern]).match(1, names) is expected


def test_no_pattern_goes_back_and_forth_for_ever() -> None:
    """A search that tried every way to divide a name among stars would not end."""
    name = "a" * 256
    assert Patterns(["*a" * 127 + "b", "*a?" * 85, "*"]).first(name) == 1
    assert Patterns(["[!b]*" * 51 + "b", "*[!a]*" * 42]).first(name) is None
