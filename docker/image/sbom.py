"""Writes down what the image contains, as a CycloneDX document that goes into it.

Run by the image's build as ``sbom.py DOCUMENT ROOT ENVIRONMENT ...``, with the Python that the image gets, on
what the image is put together of: ROOT is what root.py has made, with the records of Debian's packages, and
each ENVIRONMENT has distributions of Python. What wheels say that they have in them stands beneath theirs
(https://peps.python.org/pep-0770). Without serial number and time: the same image has the same document.
"""

from __future__ import annotations

import json
import platform
import re
import sys
from collections.abc import Iterable, Iterator
from email import message_from_string
from email.message import Message
from importlib.metadata import Distribution, distributions
from pathlib import Path
from typing import Any

from cyclonedx.contrib.license.factories import LicenseFactory
from cyclonedx.contrib.this.builders import this_component
from cyclonedx.model import ExternalReference, ExternalReferenceType, XsUri
from cyclonedx.model.bom import Bom, BomMetaData
from cyclonedx.model.component import Component, ComponentType
from cyclonedx.model.license import DisjunctiveLicense, License
from cyclonedx.output.json import JsonV1Dot6
from cyclonedx.spdx import fixup_id
from packageurl import PackageURL
from root import packages_of

NAME = "regularization-service"
GNU = re.compile(r"(A?GPL|LGPL)-(\d)(\.\d)?(\+?)")
"""How Debian's copyright files call the licences of GNU, and SPDX does not."""


def licence(name: str) -> DisjunctiveLicense:
    """A licence by SPDX's name, where there is one for what Debian or a distribution calls it."""
    if gnu := GNU.fullmatch(name):
        family, major, minor, later = gnu.groups()
        name = f"{family}-{major}{minor or '.0'}-{'or-later' if later else 'only'}"
    known = fixup_id("MIT" if name == "Expat" else name)
    return DisjunctiveLicense(id=known) if known else DisjunctiveLicense(name=name)


def debian_licences(copyright_file: str) -> set[License]:
    """What a copyright file names, where a machine can read it: the licences of all of a package's sources.

    Source: https://www.debian.org/doc/packaging-manuals/copyright-format/1.0/
    """
    if not copyright_file.startswith("Format:"):
        return set()
    return {licence(name) for name in re.findall(r"(?m)^License:[ \t]*(\S.*?)[ \t]*$", copyright_file)}


def debian_package(record: Message, system: dict[str, str], copyright_file: Path, place: str) -> Component:
    """A package of Debian.

    Args:
        record: Its paragraph in dpkg's status.
        system: What ``/etc/os-release`` says.
        copyright_file: Its copyright file.
        place: Where that is in the image.
    """
    name, version = record["Package"], record["Version"]
    # Vulnerabilities are told of source packages: "glibc", or "bzip2 (1.0.8-5)" where versions differ.
    source, _, source_version = (record["Source"] or "").partition(" ")
    upstream = {"upstream": "@".join(filter(None, (source, source_version.strip("()"))))} if source else {}
    distro = f"{system['ID']}-{system['VERSION_ID']}"
    purl = PackageURL(
        "deb", system["ID"], name, version, {"arch": record["Architecture"], "distro": distro, **upstream}
    )
    return Component(
        name=name,
        version=version,
        purl=purl,
        bom_ref=str(purl),
        licenses=debian_licences(copyright_file.read_text(encoding="utf-8")),
        external_references=[
            ExternalReference(type=ExternalReferenceType.LICENSE, url=XsUri(f"file://{place}"))
        ],
    )


def debian(root: Path) -> Iterator[Component]:
    """Debian itself, and the packages of it of which the image has files."""
    release = (root / "etc" / "os-release").read_text(encoding="utf-8")
    system = dict(re.findall(r'(?m)^(\w+)="?(.*?)"?$', release))
    system.setdefault(
        "VERSION_ID", system.get("VERSION_CODENAME", "unknown")
    )  # a release to come has no number
    kind = ComponentType.OPERATING_SYSTEM
    yield Component(name=system["ID"], version=system["VERSION_ID"], type=kind, bom_ref=kind.value)
    for path in sorted((root / "var" / "lib" / "dpkg" / "status.d").iterdir()):
        place = f"/usr/share/doc/{path.name}/copyright"
        record = message_from_string(path.read_text(encoding="utf-8"))
        yield debian_package(record, system, root / place.lstrip("/"), place)


def python_licences(metadata: Any) -> set[License]:
    """What a distribution says of its licence: an expression, or else a line, or else classifiers."""
    said = metadata["License-Expression"] or metadata["License"] or ""
    if said and "\n" not in said and said != "UNKNOWN":
        return {LicenseFactory().make_from_string(said)}
    classifiers = metadata.get_all("Classifier", [])
    return {licence(each.split(" :: ")[-1]) for each in classifiers if each.startswith("License :: ")}


def python_distribution(distribution: Distribution) -> Component:
    """A distribution of Python, with what its wheel has in it."""
    name = re.sub(r"[-_.]+", "-", distribution.metadata["Name"]).lower()
    purl = PackageURL("pypi", None, name, distribution.version)
    return Component(
        name=name,
        version=distribution.version,
        purl=purl,
        bom_ref=str(purl),
        licenses=python_licences(distribution.metadata),
        components=within(distribution, str(purl)),
    )


def within(distribution: Distribution, outer: str) -> Iterator[Component]:
    """What a wheel says that is in it: libraries, and crates of which its machine code is made."""
    seen = {outer}
    for file in sorted(distribution.files or ()):
        if file.parent.name != "sboms" or file.suffix != ".json":
            continue
        said = json.loads(Path(distribution.locate_file(file)).read_text(encoding="utf-8"))
        for each in said.get("components", ()) if said.get("bomFormat") == "CycloneDX" else ():
            purl = PackageURL.from_string(each["purl"]) if "purl" in each else None
            plain = str(purl._replace(qualifiers={}, subpath=None)) if purl else each["name"]
            if plain.replace("_", "-") in seen:
                continue
            seen.add(plain)
            kept = {key: each[key] for key in ("type", "name", "version", "purl", "licenses") if key in each}
            yield Component.from_json({**kept, "bom-ref": f"{outer} {plain}"})


def python() -> Component:
    """The Python that runs this, where it is no package's."""
    version = platform.python_version()
    return Component(
        name="python",
        version=version,
        type=ComponentType.PLATFORM,
        purl=PackageURL("generic", None, "python", version),
        cpe=f"cpe:2.3:a:python:python:{version}:*:*:*:*:*:*:*",
        bom_ref=f"pkg:generic/python@{version}",
        licenses=[DisjunctiveLicense(id="PSF-2.0")],
    )


def document(root: Path, environments: Iterable[Path], of_debian: bool) -> str:
    """The image's document, of CycloneDX 1.6.

    Args:
        root: The image's root, without the environments.
        environments: Environments of Python that go into it.
        of_debian: Whether Python itself is among Debian's packages.
    """
    folders = [
        str(each) for environment in environments for each in environment.glob("lib/python*/site-packages")
    ]
    ours = {each.name: each for each in map(python_distribution, distributions(path=folders))}
    image = Component(
        name=NAME,
        version=ours[NAME].version,
        type=ComponentType.CONTAINER,
        bom_ref=NAME,
        licenses=ours[NAME].licenses,
    )
    components = [*debian(root), *([] if of_debian else [python()]), *ours.values()]
    bom = Bom(components=components, metadata=BomMetaData(component=image))
    bom.metadata.tools.components.add(this_component())
    bom.register_dependency(image, components)
    bom.serial_number = bom.metadata.timestamp = None
    return JsonV1Dot6(bom).output_as_string(indent=1) + "\n"


def main() -> None:
    """Write the document."""
    place, root, *environments = map(Path, sys.argv[1:])
    place.parent.mkdir(parents=True, exist_ok=True)
    of_debian = bool(packages_of([Path(sys.executable).resolve()]))
    place.write_text(document(root, environments, of_debian), encoding="utf-8")


if __name__ == "__main__":
    main()
