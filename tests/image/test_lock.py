"""The releases that go into the image, against what pyproject.toml allows."""

from __future__ import annotations

import re

import pytest
from packaging.requirements import Requirement

from tests.support.dockerfile import PROJECT
from tests.support.sources import ROOT

LOCKS = {path.stem: path.read_text(encoding="utf-8") for path in (ROOT / "docker" / "lock").glob("*.txt")}
HASHES = r"(?:    --hash=sha256:[0-9a-f]{64}(?: \\)?\n?)+"
PIN = re.compile(r"^([\w.-]+)==([\w.]+)(?: ;[^\n]*?)? \\\n" + HASHES, re.MULTILINE)
EXTRAS = PROJECT["project"]["optional-dependencies"]


def normal(name: str) -> str:
    """A distribution's name as indexes compare it."""
    return re.sub(r"[-_.]+", "-", name).lower()


def pinned(lock: str) -> dict[str, set[str]]:
    """The releases of each distribution in a lock: several where Pythons differ."""
    found: dict[str, set[str]] = {}
    for name, version in PIN.findall(LOCKS[lock]):
        found.setdefault(normal(name), set()).add(version)
    return found


@pytest.mark.parametrize("lock", sorted(LOCKS))
def test_every_line_is_a_release_with_its_hashes(lock: str) -> None:
    """Nothing is left to whom an index belongs, nor to where it is."""
    assert PIN.sub("", LOCKS[lock]).strip() == ""


@pytest.mark.parametrize("lock", sorted(LOCKS))
def test_the_releases_are_those_that_are_allowed(lock: str) -> None:
    """All that the project asks for is there, within its range."""
    of_extra = [*PROJECT["project"]["dependencies"], *EXTRAS.get(lock, [])]
    of_build = [*PROJECT["build-system"]["requires"], *EXTRAS["image"]]
    asked = of_build if lock == "build" else of_extra
    there = pinned(lock)
    for text in asked:
        requirement = Requirement(text)
        versions = there[normal(requirement.name)]
        assert all(requirement.specifier.contains(version) for version in versions), text


def test_extras_agree_on_releases() -> None:
    """Several extras go into one environment."""
    agreed: dict[str, set[str]] = {}
    for lock in LOCKS.keys() - {"build"}:
        for name, versions in pinned(lock).items():
            assert agreed.setdefault(name, versions) == versions, name
