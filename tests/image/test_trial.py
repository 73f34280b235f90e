"""What the build tries of the image before it is one."""

from __future__ import annotations

from pathlib import Path
from runpy import run_path

import pytest

from tests.support.sources import ROOT

FOLDER = ROOT / "docker" / "image"


def test_what_is_compiled_can_be_read_by_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Root's loops are read by whoever the container runs as; where none are named, the folder is there."""
    monkeypatch.syspath_prepend(FOLDER)
    warm = run_path(str(FOLDER / "trial.py"))["warm"]
    warm("", tmp_path / "none")
    assert not list((tmp_path / "none").iterdir())
    loop = tmp_path / "some" / "a.loop"
    loop.parent.mkdir(0o700)
    loop.touch(0o600)
    warm("", loop.parent)
    assert [path.stat().st_mode & 0o777 for path in (loop.parent, loop)] == [0o755, 0o644]
