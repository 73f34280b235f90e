"""A vector, and the files that it is written to."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from google.protobuf.json_format import MessageToDict

from .calls import Call

SERVICE = "regularization.v1.RegularizationService"


def framed(messages: list[bytes]) -> bytes:
    """Messages as gRPC frames them, uncompressed."""
    return b"".join(b"\0" + len(message).to_bytes(4, "big") + message for message in messages)


def serialized(message: Any) -> bytes:
    """The bytes of a message; bytes stay."""
    return message if isinstance(message, bytes) else bytes(message.SerializeToString(deterministic=True))


def as_json(message: Any) -> Any:
    """A message as proto3 JSON."""
    return MessageToDict(message)


@dataclass
class Vector:
    """One vector.

    Attributes:
        name: Its path without endings; the first part is the topic.
        about: What it shows, in a sentence.
        method: Service and method.
        requests: Request messages, or bytes that are none.
        responses: Response messages, of a call that succeeds.
        status: Code, reason, metadata and fields of one that fails.
        tolerance: What values and sums may be off by.
        more: Further entries of its JSON file.
    """

    name: str
    about: str
    method: str
    requests: list[Any]
    responses: list[Any] = field(default_factory=list)
    status: dict[str, Any] = field(default_factory=lambda: {"code": "OK"})
    tolerance: dict[str, float] = field(default_factory=dict)
    more: dict[str, Any] = field(default_factory=dict)

    @property
    def topic(self) -> str:
        """The folder."""
        return self.name.partition("/")[0]

    def document(self) -> dict[str, Any]:
        """What its JSON file says."""
        raw = any(isinstance(each, bytes) for each in self.requests)
        document: dict[str, Any] = {
            "name": self.name,
            "about": self.about,
            "kind": "call",
            "method": self.method if "/" in self.method else f"{SERVICE}/{self.method}",
            "status": self.status,
        }
        if raw:
            document["raw"] = True
        else:
            document["requests"] = [as_json(each) for each in self.requests]
        if self.status["code"] == "OK":
            document["responses"] = [as_json(each) for each in self.responses]
        if self.tolerance:
            document["tolerance"] = self.tolerance
        return document | self.more

    def write(self, folder: Path) -> None:
        """Write its files."""
        path = folder / self.name
        path.parent.mkdir(parents=True, exist_ok=True)
        text = json.dumps(self.document(), indent=1, ensure_ascii=False)
        path.with_name(path.name + ".json").write_text(text + "\n", encoding="utf-8")
        if self.more.get("kind") != "long_stream":
            path.with_name(path.name + ".req").write_bytes(framed([serialized(r) for r in self.requests]))
            path.with_name(path.name + ".res").write_bytes(framed([serialized(r) for r in self.responses]))


def vector(
    name: str,
    about: str,
    call: Call,
    cuts: list[int] | None = None,
    *,
    header_alone: bool = False,
    **more: Any,
) -> Vector:
    """The vector of a call that succeeds, with the oracle's answer."""
    answer = call.answer()
    errors = {"values": answer.value_error, "sums": answer.sum_error}
    return Vector(
        name,
        about,
        call.method,
        call.requests(cuts, header_alone=header_alone),
        call.responses(answer, cuts),
        tolerance={key: error for key, error in errors.items() if error},
        more=more,
    )
