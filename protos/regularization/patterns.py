"""Names and patterns of names, as plans and clients mean them: whose setting is which."""

from __future__ import annotations

import re
from collections.abc import Iterable
from fnmatch import translate

EVERYTHING = "*"
"""The pattern that matches all names."""

WILDCARDS = frozenset("*?[")
"""What makes a pattern of a name."""


class Patterns:
    """Names and ``fnmatch`` patterns, in order.

    Args:
        patterns: Each once.
    """

    def __init__(self, patterns: Iterable[str]) -> None:
        self._patterns = tuple(patterns)
        self._places = {pattern: place for place, pattern in enumerate(self._patterns)}
        self._matching = [
            (place, re.compile(translate(pattern)).match)
            for place, pattern in enumerate(self._patterns)
            if WILDCARDS & set(pattern)
        ]

    def first(self, name: str) -> int | None:
        """Place of what a name takes: its own, or else the first pattern that it matches; None for none."""
        own = self._places.get(name)
        if own is not None:
            return own
        return next((place for place, matches in self._matching if matches(name)), None)

    def match(self, place: int, names: Iterable[str]) -> bool:
        """Whether the pattern at this place matches any of these names, whatever comes before it."""
        pattern = self._patterns[place]
        matches = re.compile(translate(pattern)).match
        return any(name == pattern or matches(name) for name in names)
