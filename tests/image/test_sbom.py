"""The list of what the image contains, which its build makes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from runpy import run_path
from typing import Any

import pytest
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator

from tests.support.dockerfile import PROJECT, STAGES
from tests.support.sources import ROOT

FOLDER = ROOT / "docker" / "image"
RELEASE = 'PRETTY_NAME="Debian GNU/Linux 12 (bookworm)"\nVERSION_ID="12"\nID=debian\n'
RECORD = "Package: {}\nStatus: install ok installed\nArchitecture: amd64\n{}Version: {}\nDescription: a\n b\n"
PACKAGES = {
    "libc6": (
        "Source: glibc\n",
        "2.36-9+deb12u14",
        "This is the Debian version of the GNU C Library.\n\nGPL\n",
    ),
    "libbz2-1.0": (
        "Source: bzip2 (1.0.8-5)\n",
        "1.0.8-5+b1",
        "Format: 1.0\n\nLicense: GPL-2\n\nLicense: own\n",
    ),
    "zlib1g": (
        "",
        "1:1.2.13",
        "Format: 1.0\n\nLicense: Zlib\nLicense: Expat\nLicense: LGPL-2.1+\nLicense:\n",
    ),
}
CRATES = {
    "bomFormat": "CycloneDX",
    "specVersion": "1.5",
    "components": [
        {
            "type": "library",
            "name": "openssl",
            "version": "4.0.3",
            "purl": "pkg:generic/openssl@4.0.3?from=there",
        },
        {
            "type": "library",
            "name": "made_of",
            "version": "2",
            "purl": "pkg:pypi/made_of@2?file_name=made_of.whl",
        },
        {
            "type": "library",
            "name": "unnamed",
            "bom-ref": "/home/somebody",
            "licenses": [{"license": {"id": "MIT"}}],
        },
    ],
}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A root with packages of Debian."""
    root = tmp_path / "root"
    for name, (source, version, licence) in PACKAGES.items():
        write(root / "var/lib/dpkg/status.d" / name, RECORD.format(name, source, version))
        write(root / "usr/share/doc" / name / "copyright", licence)
    write(root / "etc/os-release", RELEASE)
    return root


@pytest.fixture
def environment(tmp_path: Path) -> Path:
    """An environment with the project and a distribution whose wheel says what is in it."""
    folder = tmp_path / "environment" / "lib" / "python3.13" / "site-packages"
    for name, version, more in (
        ("regularization_service", "0.1.0", "License-Expression: MIT\n"),
        (
            "made_of",
            "2",
            "License: A long\n        text\nClassifier: License :: OSI Approved :: BSD License\n",
        ),
        ("Old.Style", "3", "License: Apache-2.0\n"),
    ):
        about = folder / f"{name}-{version}.dist-info"
        write(about / "METADATA", f"Metadata-Version: 2.4\nName: {name}\nVersion: {version}\n{more}")
        write(about / "RECORD", "")
    inner = "made_of-2.dist-info/sboms/crates.json"
    write(folder / inner, json.dumps(CRATES))
    write(folder / "made_of-2.dist-info/sboms/other.json", '{"spdxVersion": "SPDX-2.3"}')
    write(folder / "made_of-2.dist-info/RECORD", f"{inner},,\n{inner.replace('crates', 'other')},,\n")
    return tmp_path / "environment"


def write(path: Path, text: str) -> None:
    """A file with its folders."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def made(root: Path, environment: Path, monkeypatch: pytest.MonkeyPatch, of_debian: bool) -> str:
    """The document of an image of these."""
    monkeypatch.syspath_prepend(FOLDER)
    text: str = run_path(str(FOLDER / "sbom.py"))["document"](root, [environment], of_debian)
    return text


def components(text: str) -> dict[str, Any]:
    """Those of the document, by their names."""
    return {each["name"]: each for each in json.loads(text)["components"]}


def licences(component: dict[str, Any]) -> set[str]:
    """Expressions, SPDX's names and others."""
    return {
        each.get("expression") or each["license"].get("id") or each["license"]["name"]
        for each in component.get("licenses", [])
    }


def test_it_is_valid(root: Path, environment: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By CycloneDX's own schema, in which no field is unknown, whoever made Python."""
    for of_debian in (False, True):
        text = made(root, environment, monkeypatch, of_debian)
        assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(text) is None
        about = json.loads(text)["metadata"]["component"]
        assert (about["type"], about["name"], about["version"]) == (
            "container",
            "regularization-service",
            "0.1.0",
        )


def test_packages_of_debian_are_told(root: Path, environment: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With their versions, sources, and the licences that a machine can read of."""
    found = components(made(root, environment, monkeypatch, of_debian=False))
    assert {name: found[name].get("purl", "").removeprefix("pkg:deb/debian/") for name in PACKAGES} == {
        "libc6": "libc6@2.36-9%2Bdeb12u14?arch=amd64&distro=debian-12&upstream=glibc",
        "libbz2-1.0": "libbz2-1.0@1.0.8-5%2Bb1?arch=amd64&distro=debian-12&upstream=bzip2%401.0.8-5",
        "zlib1g": "zlib1g@1:1.2.13?arch=amd64&distro=debian-12",
    }
    assert licences(found["libc6"]) == set()
    assert licences(found["libbz2-1.0"]) == {"GPL-2.0-only", "own"}
    assert licences(found["zlib1g"]) == {"Zlib", "MIT", "LGPL-2.1-or-later"}
    for name in PACKAGES:
        (reference,) = found[name]["externalReferences"]
        assert reference == {"type": "license", "url": f"file:///usr/share/doc/{name}/copyright"}
    assert (found["debian"]["type"], found["debian"]["version"]) == ("operating-system", "12")


def test_distributions_are_told(root: Path, environment: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By the names of the index, with an expression, a line or a classifier for the licence."""
    found = components(made(root, environment, monkeypatch, of_debian=False))
    told = {
        name: (each["purl"], licences(each)) for name, each in found.items() if "pypi" in each.get("purl", "")
    }
    assert told == {
        "regularization-service": ("pkg:pypi/regularization-service@0.1.0", {"MIT"}),
        "made-of": ("pkg:pypi/made-of@2", {"BSD License"}),
        "old-style": ("pkg:pypi/old-style@3", {"Apache-2.0"}),
    }


def test_what_wheels_have_in_them_is_told(
    root: Path, environment: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Beneath them, but for the wheel itself, and without where it was built."""
    text = made(root, environment, monkeypatch, of_debian=False)
    inner = {each["name"]: each for each in components(text)["made-of"]["components"]}
    assert set(inner) == {"openssl", "unnamed"}
    assert inner["openssl"]["version"] == "4.0.3"
    assert licences(inner["unnamed"]) == {"MIT"}
    assert "somebody" not in text


def test_python_is_told_once(root: Path, environment: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By itself, or where it is Debian's, by its packages: those have versions of their own."""
    assert "python" not in components(made(root, environment, monkeypatch, of_debian=True))
    python = components(made(root, environment, monkeypatch, of_debian=False))["python"]
    version = ".".join(map(str, sys.version_info[:3]))
    assert python["purl"] == f"pkg:generic/python@{version}"
    assert f":python:{version}:" in python["cpe"]


def test_the_same_image_has_the_same_list(
    root: Path, environment: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No time and no number of its own."""
    first, second = (made(root, environment, monkeypatch, of_debian=False) for _ in range(2))
    assert first == second


def test_it_is_where_it_is_looked_for() -> None:
    """The build writes it into the image's root, and ``docker/sbom`` takes it from there."""
    place = "/usr/share/sbom/regularization-service.cdx.json"
    assert f"document={place}\n" in (ROOT / "docker" / "sbom").read_text()
    assert any(f"image/sbom.py project{place}" in each.rest for each in STAGES[0] if each.keyword == "RUN")
    assert f"/{PROJECT['project']['name']}.cdx.json" in place


@pytest.mark.parametrize("engine", ["podman", "buildah"])
def test_it_is_taken_out_of_an_image(tmp_path: Path, engine: str) -> None:
    """Of the image that is named; and the container that was made for it is removed."""
    tool = tmp_path / engine
    tool.write_text(
        f'#!/bin/sh\necho "$*" >> {tmp_path}/asked\n'
        'case $1 in --version | rm) ;; create | from) echo made ;; run) echo "{}" ;;\n'
        f"cp) echo '{{}}' > {tmp_path}/it && tar -c -C {tmp_path} it ;; esac\n"
    )
    tool.chmod(0o755)
    done = subprocess.run(
        [ROOT / "docker" / "sbom", "some:1"],
        env={"PATH": f"{tmp_path}:{os.defpath}", "ENGINE": engine},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.stdout, done.stderr) == ("{}\n", "")
    asked = (tmp_path / "asked").read_text().splitlines()
    assert asked[0].split()[-1] == "some:1"
    assert asked[-1] == "rm made"


def test_without_an_image_there_is_no_list(tmp_path: Path) -> None:
    """The engine's failure is the script's."""
    tool = tmp_path / "podman"
    tool.write_text("#!/bin/sh\necho none >&2\nexit 125\n")
    tool.chmod(0o755)
    environment = {"PATH": f"{tmp_path}:{os.defpath}", "ENGINE": "podman"}
    done = subprocess.run(
        [ROOT / "docker" / "sbom"], env=environment, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout, done.stderr) == (125, "", "none\n")
