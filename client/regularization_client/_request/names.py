"""Settings by name or pattern: which regularizer, which step size is whose."""

from __future__ import annotations

from collections.abc import Container, Iterable, Mapping
from fnmatch import fnmatchcase
from typing import TypeVar

from .._errors import ArgumentError
from .._suggestions import did_you_mean

EVERYTHING = "*"
"""The pattern that matches all names."""

_WILDCARDS = set("*?[")

T = TypeVar("T")


def resolve(
    rules: Mapping[str, T],
    names: Iterable[str],
    what: str,
    *,
    hint: str = "add a last '*' for everything that is left",
    optional: Container[str] = (),
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

    Raises:
        ArgumentError: If a rule is for no name, or a name has no rule.
    """
    known = dict.fromkeys(names)
    own = {name: _rule_of(name, rules) for name in known}
    unused = [rule for rule in rules if rule not in own.values() and rule != EVERYTHING]
    for rule in unused:
        if not any(fnmatchcase(name, rule) for name in known):
            near = did_you_mean(rule, known) if not set(rule) & _WILDCARDS else ""
            raise ArgumentError(f"{what}: {rule!r} matches none of {_listed(known)}{near}")
    resolved = {}
    for name, found in own.items():
        if found is not None:
            resolved[name] = rules[found]
        elif name not in optional:
            raise ArgumentError(f"{what}: nothing matches {name!r}; {hint}", segment=name)
    if unused:
        raise ArgumentError(
            f"{what}: {unused[0]!r} matches nothing that the rules before it leave of {_listed(known)}"
        )
    return resolved


def _rule_of(name: str, rules: Mapping[str, object]) -> str | None:
    return name if name in rules else next((rule for rule in rules if fnmatchcase(name, rule)), None)


def _listed(names: Iterable[str]) -> str:
    shown = list(names)
    more = f" and {len(shown) - 8} more" if len(shown) > 8 else ""
    return ", ".join(map(repr, shown[:8])) + more if shown else "no names at all"
