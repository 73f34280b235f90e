"""Which cases of a test are tried every day, and which in their turn, or by those who try all."""

from __future__ import annotations

import zlib
from collections import defaultdict
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

MANY = 8
"""Cases of a test, up to which all are tried."""


def chosen(tests: Iterable[str], share: int, turn: int = 0) -> set[str]:
    """Choose about one of ``share`` cases of each test that has many.

    The choice hangs on the names and the turn alone, so that it is the same in every process, and a new case
    changes nothing about the others. ``share`` turns one after the other try all.

    Args:
        tests: What pytest calls them: a test's name, and that of a case in brackets.
        share: 1 for all.
        turn: Which of so many.
    """
    cases: defaultdict[str, list[str]] = defaultdict(list)
    for each in tests:
        cases[each.partition("[")[0]].append(each)
    return {name for names in cases.values() for name in _chosen_of_one(names, share, turn)}


def _chosen_of_one(names: list[str], share: int, turn: int) -> list[str]:
    """The chosen cases of one test, never none."""
    if len(names) <= MANY:
        return names
    return [each for each in names if (zlib.crc32(each.encode()) + turn) % share == 0] or names[:1]
