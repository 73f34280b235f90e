"""How the digest of the image's base is renewed."""

from __future__ import annotations

import subprocess
import sys
from hashlib import sha256
from pathlib import Path

import pytest

from tests.support.sources import ROOT

TAGGED = "docker.io/library/python:3.13-slim-bookworm"
BEFORE = (
    f"# No ARG BASE_IMAGE=here\nARG BASE_IMAGE={TAGGED}@sha256:{'0' * 64}\n\nFROM ${{BASE_IMAGE}} AS build\n"
)
INDEX = b'{"schemaVersion": 2, "manifests": []}\n'
"""As a registry may serve one: with an end of line, which belongs to what is hashed."""
NEW = sha256(INDEX).hexdigest()


def renew(
    folder: Path, served: bytes, *options: str, code: int = 0, skopeo: bool = True, **env: str
) -> tuple[subprocess.CompletedProcess[str], str]:
    """Run the script by a skopeo that is served this; what it says, and the Dockerfile then."""
    (folder / "base.py").write_bytes((ROOT / "docker" / "base.py").read_bytes())
    (folder / "Dockerfile").write_text(BEFORE)
    (folder / "served").write_bytes(served)
    if skopeo:
        tool = folder / "skopeo"
        tool.write_text(f'#!/bin/sh\necho "$@" > {folder}/asked\n/bin/cat {folder}/served\nexit {code}\n')
        tool.chmod(0o755)
    done = subprocess.run(
        [sys.executable, folder / "base.py", *options],
        env={"PATH": str(folder), **env},
        capture_output=True,
        text=True,
        check=False,
    )
    return done, (folder / "Dockerfile").read_text()


def test_the_digest_is_that_of_what_the_registry_has(tmp_path: Path) -> None:
    """Of the tag's index, as it is served; nothing else in the Dockerfile is touched."""
    done, after = renew(tmp_path, INDEX, "--tls-verify=false")
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "asked").read_text() == f"inspect --raw --tls-verify=false docker://{TAGGED}\n"
    assert after == BEFORE.replace("0" * 64, NEW)
    assert done.stdout == f"{TAGGED}@sha256:{NEW}\n"


def test_another_base_takes_its_place(tmp_path: Path) -> None:
    """BASE is another tag, also of a registry with a port."""
    _, after = renew(tmp_path, INDEX, BASE="localhost:5000/python:3.14-slim")
    assert f"\nARG BASE_IMAGE=localhost:5000/python:3.14-slim@sha256:{NEW}\n" in after


def test_an_image_for_one_processor_is_told(tmp_path: Path) -> None:
    """It is taken, for many a mirror has no other, but not in silence."""
    done, after = renew(tmp_path, b'{"schemaVersion": 2, "layers": []}')
    assert "for one kind of processor alone" in done.stdout
    assert NEW not in after
    assert "0" * 64 not in after


@pytest.mark.parametrize("base", ["python", "docker.io/library/python", f"{TAGGED}@sha256:{NEW}", "a/b:c d"])
def test_what_is_no_tag_is_refused(tmp_path: Path, base: str) -> None:
    """By name, before a registry is asked."""
    done, after = renew(tmp_path, INDEX, BASE=base)
    assert done.returncode == 1
    assert done.stderr.endswith(f"got {base}\n")
    assert after == BEFORE
    assert not (tmp_path / "asked").exists()


def test_without_an_answer_all_stays(tmp_path: Path) -> None:
    """Where the registry does not answer, or skopeo is not there, the old base stays."""
    bare = tmp_path / "bare"
    bare.mkdir()
    for case, missing in ((renew(tmp_path, b"", code=2), False), (renew(bare, b"", skopeo=False), True)):
        done, after = case
        assert done.returncode == 1
        assert ("needs skopeo" in done.stderr) == missing
        assert after == BEFORE
