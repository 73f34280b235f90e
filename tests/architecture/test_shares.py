"""Which cases of tests are tried when not all are."""

from __future__ import annotations

from tests.support.shares import MANY, chosen

FEW = [f"test_few[{case}]" for case in range(MANY)]
MANY_CASES = [f"test_many[{case}]" for case in range(300)]


def test_all_is_the_share_of_one() -> None:
    """As where nothing is said."""
    assert chosen(["test_alone", *FEW, *MANY_CASES], 1) == {"test_alone", *FEW, *MANY_CASES}


def test_only_tests_with_many_cases_are_thinned() -> None:
    """To about one of so many, and never to none."""
    tried = chosen(["test_alone", *FEW, *MANY_CASES], 3)
    assert {"test_alone", *FEW} <= tried
    assert 70 < len(tried.intersection(MANY_CASES)) < 130
    assert all(chosen((f"test_{k}[{case}]" for case in range(MANY + 1)), 100) for k in range(50))


def test_turns_one_after_the_other_try_all() -> None:
    """From whichever on."""
    tried = [chosen([*FEW, *MANY_CASES], 3, turn) for turn in (7, 8, 9)]
    assert set().union(*tried) == {*FEW, *MANY_CASES}
    assert tried[0].intersection(tried[1]) == set(FEW)
    assert chosen(MANY_CASES, 3, 10) == tried[0].intersection(MANY_CASES)


def test_a_case_is_tried_whatever_others_there_are() -> None:
    """The choice is by its own name, so that it is the same everywhere."""
    tried = chosen(MANY_CASES, 3)
    assert chosen([*MANY_CASES[:100], *(f"test_many[new-{case}]" for case in range(9))], 3) >= {
        each for each in MANY_CASES[:100] if each in tried
    }
