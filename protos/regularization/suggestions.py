"""What somebody may have meant who typed a name that is not there."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import SequenceMatcher, get_close_matches

_MARGIN = 0.1
"""How much less alike than the best another name may be to be named beside it."""


def did_you_mean(name: object, known: Iterable[str], prefix: str = "") -> str:
    """Return "; did you mean 'x'?" for the known names that are most alike; nothing where none is.

    Args:
        name: What was typed.
        known: What may be typed.
        prefix: What stands before any of them, and says nothing about how much they are alike.
    """
    if not isinstance(name, str):
        return ""
    alike = {each: SequenceMatcher(None, each, name).ratio() for each in get_close_matches(name, list(known))}
    best = max(alike.values(), default=0.0)
    near = [repr(prefix + each) for each, ratio in alike.items() if ratio >= best - _MARGIN]
    return f"; did you mean {' or '.join(near)}?" if near else ""


def unknown(name: object, known: Iterable[str], kind: str, prefix: str = "") -> str:
    """Return "'y' is no <kind>", with the known names that are most alike, or else with all of them.

    Args:
        name: What was typed.
        known: What may be typed.
        kind: What it would be.
        prefix: See ``did_you_mean``.
    """
    names = list(known)
    whole = f"{prefix}{name}" if prefix else name
    choice = did_you_mean(name, names, prefix) or f": there are {', '.join(names)}"
    return f"{whole!r} is no {kind}{choice}"
