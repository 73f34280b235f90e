"""The threat model is what tests hold."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "SECURITY.md").read_text(encoding="utf-8")
ROWS = re.findall(r"^\| (?!attack|--)(.+) \| (.+) \| (.+) \|$", PAGE, re.MULTILINE)


def test_every_defence_has_its_tests() -> None:
    """Each row names at least one, and every one that is named is there."""
    assert len(ROWS) > 10
    for attack, _, tests in ROWS:
        named = re.findall(r"`(tests/[a-z_/]+\.py)::(test_[a-z0-9_]+)`", tests)
        assert named, attack
        for path, name in named:
            assert f"def {name}(" in (ROOT / path).read_text(encoding="utf-8"), name
