"""Budgets that follow from the memory that a container may have."""

from __future__ import annotations

from pathlib import Path

import pytest
from regularization_server import Settings
from regularization_server.process import memory_limit as module
from regularization_server.process.memory_limit import memory_limit, with_budgets
from regularization_server.process.supervisor import shares

GIB = 1 << 30
NO_LIMIT = 0x7FFFFFFFFFFFF000
"""What version 1 says where there is none."""


def written(folder: Path, files: dict[str, str]) -> tuple[Path, Path]:
    """Control groups as the system shows them: the process's own, and where they are mounted."""
    for name, text in files.items():
        file = folder / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(f"{text}\n")
    return folder / "own", folder / "mounted"


@pytest.mark.parametrize(
    ("files", "limit"),
    [
        ({"own": "0::/", "mounted/memory.max": str(GIB)}, GIB),
        ({"own": "0::/a/b", "mounted/a/b/memory.max": "max", "mounted/a/memory.max": "4096"}, 4096),
        ({"own": "0::/a/b", "mounted/a/b/memory.max": "7", "mounted/a/memory.max": "4096"}, 7),
        ({"own": "0::/gone", "mounted/memory.max": "123456"}, 123456),
        ({"own": "0::/a", "mounted/a/memory.max": "max"}, None),
        (
            {
                "own": "11:cpu,cpuacct:/d\n7:memory:/d/1\n0::/",
                "mounted/memory/d/1/memory.limit_in_bytes": "5000",
                "mounted/memory/memory.limit_in_bytes": str(NO_LIMIT),
            },
            5000,
        ),
        ({"own": "7:memory:/d", "mounted/memory/memory.limit_in_bytes": "6000"}, 6000),
        ({"own": "7:memory:/", "mounted/memory/memory.limit_in_bytes": str(NO_LIMIT)}, None),
        ({"own": "0::/", "mounted/memory.max": "what"}, None),
        ({"own": "1:name=systemd:/a:b\n0::/a:b", "mounted/a:b/memory.max": "8"}, 8),
        ({}, None),
    ],
)
def test_the_least_limit_of_a_group_and_those_around_it(
    tmp_path: Path, files: dict[str, str], limit: int | None
) -> None:
    """Of both versions; in a container, the group may be what is mounted, under another name."""
    assert memory_limit(*written(tmp_path, files)) == limit


@pytest.mark.parametrize(
    ("limit", "budget", "shared"),
    [(None, GIB, 4 * GIB), (GIB, GIB // 4, GIB // 4), (64 * GIB, GIB, 4 * GIB), (8 * GIB, GIB, 2 * GIB)],
)
def test_budgets_are_parts_of_the_limit(
    monkeypatch: pytest.MonkeyPatch, limit: int | None, budget: int, shared: int
) -> None:
    """A quarter each, but never more than without a limit; what is set stays, and processes divide it."""
    monkeypatch.setattr(module, "memory_limit", lambda: limit)
    usual = with_budgets(Settings())
    assert (usual.memory_budget, usual.shared_memory_budget) == (budget, shared)
    own = with_budgets(Settings(memory_budget=5, shared_memory_budget=6))
    assert (own.memory_budget, own.shared_memory_budget) == (5, 6)
    one, _ = shares(Settings(processes=2))
    assert (one.memory_budget, one.shared_memory_budget) == (budget // 2, shared // 2)
