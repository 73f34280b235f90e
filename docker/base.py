"""Asks a registry which image the base's tag stands for now, and writes its digest into the Dockerfile.

Run as ``python docker/base.py [option of skopeo inspect ...]``, by ``make base``. BASE names another image to
build on from now on, by its tag. The digest is that of the tag's index, which has an image for each kind of
processor; where the registry has a single image in its place, that is said.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Sequence
from hashlib import sha256
from pathlib import Path

DOCKERFILE = Path(__file__).with_name("Dockerfile")
BASE = re.compile(r"(?m)^ARG BASE_IMAGE=(?P<tagged>\S+?)(@sha256:[0-9a-f]{64})?$")
TAGGED = re.compile(r"[\w.-]+(:\d+)?(/[\w.-]+)+:[\w.-]+")
"""A registry, a repository and a tag, which stands for one image until somebody moves it."""


def asked(image: str, options: Sequence[str]) -> bytes:
    """What the registry has under this name, byte for byte, for it is named by their hash."""
    inspect = ["skopeo", "inspect", "--raw", *options, f"docker://{image}"]
    try:
        return subprocess.run(inspect, stdout=subprocess.PIPE, check=True).stdout  # noqa: S603
    except FileNotFoundError:
        sys.exit("docker/base.py: needs skopeo")
    except subprocess.CalledProcessError as error:  # it has said why
        sys.exit(f"docker/base.py: the base stays as it is: skopeo ended with {error.returncode}")


def renewed(text: str, image: str | None, options: Sequence[str]) -> str:
    """A Dockerfile with the base's digest of now.

    Args:
        text: The Dockerfile.
        image: Another base; by default the one that the Dockerfile names.
        options: For ``skopeo inspect``.
    """
    found = BASE.search(text)
    if found is None:
        sys.exit("docker/base.py: the Dockerfile has no line ARG BASE_IMAGE=")
    image = image or found["tagged"]
    if TAGGED.fullmatch(image) is None:
        sys.exit(f"docker/base.py: BASE must be registry/repository:tag, without a digest, got {image}")
    manifest = asked(image, options)
    if "manifests" not in json.loads(manifest):
        print(f"{image} is for one kind of processor alone")
    base = f"{image}@sha256:{sha256(manifest).hexdigest()}"
    print(base)
    return f"{text[: found.start()]}ARG BASE_IMAGE={base}{text[found.end() :]}"


def main() -> None:
    """Renew the Dockerfile."""
    DOCKERFILE.write_text(
        renewed(DOCKERFILE.read_text(encoding="utf-8"), os.environ.get("BASE"), sys.argv[1:])
    )


if __name__ == "__main__":
    main()
