"""Settings by name or pattern: which regularizer, which step size is whose."""

from __future__ import annotations

from collections.abc import Container, Iterable, Mapping
from typing import TypeVar

from regularization.patterns import EVERYTHING, WILDCARDS, Patterns
from regularization.suggestions import did_you_mean

from .._errors import ArgumentError

T = TypeVar("T")


def resolve(
    rules: Mapping[str, T],
    names: Iterable[str],
    what: str,
    *,
    hint: str = "add a last '*' for everything that is left",
    optional: Container[str] = (),
    all_used: bool = True,
) -> dict[str, T]:
    """Return the setting of each name.

    A name's own rule comes first, then the first pattern, in the order of the rules, that it matches. A rule
    that no name is left for is an error, and so is a name without a rule: that is how a typing mistake shows.
    Only the pattern "*" may come to nothing.

    Args:
        rules: Settings by name or by ``fnmatch`` pattern.
        names: The names to find settings for.
        what: What is being set, for messages.
        hint: What to do about a name without a rule, for messages.
        optional: Names that need no rule, and may be left out of what is returned.
        all_used: Whether every rule must be left a name.

    Raises:
        ArgumentError: If a rule is for no name, or a name has no rule.
    """
    known, patterns, keys = dict.fromkeys(names), Patterns(rules), tuple(rules)
    own = {name: patterns.first(name) for name in known}
    used: Container[int | None] = set(own.values()) if all_used else range(len(keys))
    unused = [place for place, rule in enumerate(keys) if place not in used and rule != EVERYTHING]
    for place in unused:
        rule = keys[place]
        if not patterns.match(place, known):
            near = did_you_mean(rule, known) if not set(rule) & WILDCARDS else ""
            raise ArgumentError(f"{what}: {rule!r} matches none of {_listed(known)}{near}")
    resolved = {}
    for name, found in own.items():
        if found is not None:
            resolved[name] = rules[keys[found]]
        elif name not in optional:
            raise ArgumentError(f"{what}: nothing matches {name!r}; {hint}", segment=name)
    if unused:
        raise ArgumentError(
            f"{what}: {keys[unused[0]]!r} matches nothing that the rules before it leave of {_listed(known)}"
        )
    return resolved


def _listed(names: Iterable[str]) -> str:
    shown = list(names)
    more = f" and {len(shown) - 8} more" if len(shown) > 8 else ""
    return ", ".join(map(repr, shown[:8])) + more if shown else "no names at all"
