"""The distribution as it is built: the same bytes every time, and in it what it is for."""

from __future__ import annotations

import hashlib
import importlib.util
import re
import subprocess
import sys
import tarfile
import zipfile
from email.parser import Parser
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.support.sources import ROOT

if TYPE_CHECKING:
    from collections.abc import Mapping

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("hatchling") is None, reason="hatchling is not installed (the extra: test)"
)
PACKAGES = {"regularization", "regularization_kernels", "regularization_server", "regularization_client"}
CLIENT = {"click", "googleapis-common-protos", "grpcio", "grpcio-status", "numpy", "protobuf"}
"""What the client alone depends on."""


def built(kind: str, source: Path, folder: Path, epoch: str | None = None) -> Path:
    """A distribution, built from a folder of sources."""
    environment: Mapping[str, str] = {"SOURCE_DATE_EPOCH": epoch} if epoch else {}
    command = [sys.executable, "-m", "hatchling", "build", "--target", kind, "--directory", str(folder)]
    subprocess.run(command, cwd=source, env={"PATH": "/usr/bin:/bin", **environment}, check=True, timeout=60)
    (made,) = folder.glob("*.whl" if kind == "wheel" else "*.tar.gz")
    return made


def digest(path: Path) -> str:
    """What tells two files apart."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.fixture(scope="module")
def sdist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The sdist of these sources."""
    return built("sdist", ROOT, tmp_path_factory.mktemp("sdist"), "1700000000")


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel of these sources."""
    return built("wheel", ROOT, tmp_path_factory.mktemp("wheel"), "1700000000")


def test_two_builds_have_the_same_bytes(wheel: Path, sdist: Path, tmp_path: Path) -> None:
    """Also from the sdist's own sources, which lie elsewhere and are of another time."""
    with tarfile.open(sdist) as archive:
        archive.extractall(tmp_path / "sources", filter="data")
    (sources,) = (tmp_path / "sources").iterdir()
    assert digest(built("wheel", sources, tmp_path / "again", "1700000000")) == digest(wheel)
    assert digest(built("sdist", ROOT, tmp_path / "sdist", "1700000000")) == digest(sdist)


def test_the_wheel_has_the_packages_and_the_schema(wheel: Path) -> None:
    """And nothing else: no tests, no benchmarks; types, protos and compiled descriptors are there."""
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
    assert {name.partition("/")[0] for name in names if ".dist-info/" not in name} == PACKAGES
    assert {f"{package}/py.typed" for package in PACKAGES} <= names
    assert {"regularization/v1/regularization_service.proto", "regularization/v1/errors.proto"} <= names


def test_the_client_alone_has_few_dependencies(wheel: Path) -> None:
    """Those that every client of gRPC and NumPy needs; all others are in extras."""
    with zipfile.ZipFile(wheel) as archive:
        (path,) = (name for name in archive.namelist() if name.endswith(".dist-info/METADATA"))
        metadata = Parser().parsestr(archive.read(path).decode())
    needed = [each for each in metadata.get_all("Requires-Dist") or [] if "extra ==" not in each]
    assert {match[0] for each in needed if (match := re.match(r"[\w-]+", each))} == CLIENT
