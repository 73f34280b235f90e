"""The memory that the process may use, where it runs in a container, and the budgets that follow from it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from ..units import GIB

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ..settings import Settings

MEMORY_BUDGET = GIB
"""The memory budget where nothing limits it."""

SHARED_MEMORY_BUDGET = 4 * GIB
"""That of shared memory, likewise."""

PARTS = 4
"""Each budget is at most one of so many equal parts of the limit. Two are for the libraries and their machine
code, what threads work in, and what malloc keeps."""

_CONTROL_GROUPS = Path("/sys/fs/cgroup")
_OWN_GROUPS = Path("/proc/self/cgroup")


def with_budgets(settings: Settings) -> Settings:
    """The settings with both memory budgets, where they are unset."""
    if settings.memory_budget is not None and settings.shared_memory_budget is not None:
        return settings
    limit = memory_limit()
    return replace(
        settings,
        memory_budget=settings.memory_budget or _part(limit, MEMORY_BUDGET),
        shared_memory_budget=settings.shared_memory_budget or _part(limit, SHARED_MEMORY_BUDGET),
    )


def memory_limit(own_groups: Path = _OWN_GROUPS, control_groups: Path = _CONTROL_GROUPS) -> int | None:
    """The bytes that the process's control groups let it have, the least of all of them; None for no limit.

    Args:
        own_groups: The file that names the groups, as proc(5) has it.
        control_groups: Where they are mounted, of version 1 or 2.
    """
    try:
        lines = own_groups.read_text(encoding="utf-8").splitlines()
    except OSError:
        return None
    limits: list[int] = []
    for line in lines:
        number, controllers, path = line.split(":", 2)
        if number == "0" and not controllers:
            limits += _limits(control_groups, path, "memory.max")
        elif "memory" in controllers.split(","):
            limits += _limits(control_groups / "memory", path, "memory.limit_in_bytes")
    return min(limits, default=None)


def _limits(mounted: Path, path: str, name: str) -> Iterator[int]:
    """The limits of a group and of those around it. In a container its own may be what is mounted."""
    group = PurePosixPath("/", path)
    for each in (group, *group.parents):
        try:
            text = (mounted / each.relative_to("/") / name).read_text(encoding="ascii").strip()
        except (OSError, UnicodeDecodeError):
            continue
        # Version 2 says "max" for none, version 1 the largest number that is a multiple of pages.
        if text.isdecimal() and int(text) < 1 << 62:
            yield int(text)


def _part(limit: int | None, most: int) -> int:
    return most if limit is None else max(min(limit // PARTS, most), 1)
