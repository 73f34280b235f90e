"""Vectors as their files have them."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

VECTORS = Path(__file__).parents[1] / "v1"
"""The vectors beside this package."""


def messages(framed: bytes) -> list[bytes]:
    """The messages of gRPC's frames: a byte 0, the length in 4 bytes, big-endian, and the message.

    Raises:
        ValueError: If these are no whole, uncompressed frames.
    """
    found: list[bytes] = []
    at = 0
    while at < len(framed):
        end = at + 5 + int.from_bytes(framed[at + 1 : at + 5], "big")
        if framed[at] != 0 or end > len(framed):
            raise ValueError(f"no whole, uncompressed frame at byte {at}")
        found.append(framed[at + 5 : end])
        at = end
    return found


def framed(parts: list[bytes]) -> bytes:
    """Messages as gRPC frames them."""
    return b"".join(b"\0" + len(part).to_bytes(4, "big") + part for part in parts)


@dataclass(frozen=True)
class Vector:
    """One vector.

    Attributes:
        name: Its path in the folder, without ending.
        document: What its JSON file says.
        requests: The request messages.
        responses: The response messages.
    """

    name: str
    document: dict[str, Any]
    requests: list[bytes] = field(default_factory=list)
    responses: list[bytes] = field(default_factory=list)

    @property
    def topic(self) -> str:
        """The folder that it is in."""
        return self.name.partition("/")[0]

    @property
    def method(self) -> str:
        """Service and method."""
        return str(self.document["method"])

    @property
    def kind(self) -> str:
        """How it is checked."""
        return str(self.document["kind"])

    @property
    def status(self) -> dict[str, Any]:
        """How the call ends."""
        return dict(self.document["status"])

    @property
    def is_raw(self) -> bool:
        """Whether a request is no message that generated code could write."""
        return bool(self.document.get("raw", False))

    @property
    def tolerance(self) -> dict[str, float]:
        """What values and sums may be off by."""
        return dict(self.document.get("tolerance", {}))

    @property
    def data_type(self) -> str:
        """The elements' data type, by its name in the schema."""
        requests = self.document.get("requests") or [{}]
        header = requests[0].get("header", {})
        return str(header.get("layout", header).get("dataType", ""))


def load(name: str, folder: Path = VECTORS) -> Vector:
    """Read a vector."""
    path = folder / name
    document = json.loads(path.with_name(path.name + ".json").read_text(encoding="utf-8"))
    files = [path.with_name(path.name + ending) for ending in (".req", ".res")]
    return Vector(name, document, *(messages(f.read_bytes()) if f.exists() else [] for f in files))


def load_all(folder: Path = VECTORS) -> list[Vector]:
    """Read all vectors of a folder, in the order of its index."""
    index = json.loads((folder / "index.json").read_text(encoding="utf-8"))
    return [load(entry["name"], folder) for entry in index["vectors"]]
