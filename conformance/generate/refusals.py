"""Calls that are refused, and the streams that they are made of."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from google.protobuf.json_format import ParseDict
from regularization.v1.layout_pb2 import ParameterLayout
from regularization.v1.plan_pb2 import PlanAtStep
from regularization.v1.tensor_pb2 import TensorChunk

from .calls import REQUESTS
from .layouts import L1, header, layout, segment
from .numbers import FLOAT32
from .vector import Vector

DOMAIN = "regularization.v1"
TWO = layout(segment("weight", [2, 3], L1), segment("bias", [2]))
"""Six weights and two exempt biases."""


@dataclass
class Refusal:
    """A call that is refused.

    Attributes:
        name: Of the vector.
        reason: Without its prefix.
        requests: Messages, or bytes.
        at: The field at fault, or none.
        metadata: What the error says beside it; None for any value.
        code: The status code.
        method: The method, of this service or with another's name.
        needs: What the server must be like.
        more: Further entries of the JSON file.
    """

    name: str
    reason: str
    requests: list[Any]
    at: str | None = None
    metadata: dict[str, str | None] = field(default_factory=dict)
    code: str = "INVALID_ARGUMENT"
    method: str = "ProximalStep"
    needs: list[str] = field(default_factory=list)
    more: dict[str, Any] = field(default_factory=dict)

    def vector(self) -> Vector:
        """Its vector."""
        metadata = {"field": self.at, **self.metadata} if self.at else self.metadata
        status = {
            "code": self.code,
            "domain": DOMAIN,
            "reason": f"ERROR_REASON_{self.reason}",
            "metadata": metadata,
            **({"fields": [self.at]} if self.at else {}),
        }
        folder = self.reason.lower()
        more = {**({"needs": self.needs} if self.needs else {}), **self.more}
        about = f"{self.name.replace('_', ' ').capitalize()}: {self.code}."
        return Vector(
            f"errors/{folder}/{self.name}", about, self.method, self.requests, status=status, more=more
        )


def chunk(values: list[float], offset: int = 0, **operands: list[float]) -> TensorChunk:
    """A chunk of float32."""
    encoded = {name: FLOAT32.encode(operand) for name, operand in operands.items()}
    return TensorChunk(element_offset=offset, parameters=FLOAT32.encode(values), **encoded)


def request(method: str, **fields: Any) -> Any:
    """A request message of one of the three methods."""
    return REQUESTS[method][0](**fields)


def stream(
    of: ParameterLayout, *chunks: TensorChunk, method: str = "ProximalStep", **fields: Any
) -> list[Any]:
    """A header and these chunks, each in a message of its own."""
    first = request(method, header=header(method, of, **fields))
    return [first, *(request(method, chunk=each) for each in chunks)]


def one(kind: dict[str, Any] | None, shape: list[int] | None = None, **more: Any) -> list[Any]:
    """A stream of one segment, up to its header."""
    return stream(layout(segment("theta", shape or [6], kind, **more)))


def planned(plan: dict[str, Any], *names: str) -> list[Any]:
    """A header with a plan for segments of these names."""
    of = layout(*(segment(name, [6]) for name in names or ("theta",)))
    of.planned.CopyFrom(ParseDict({"step": "3", **plan}, PlanAtStep()))
    return stream(of)


def rules(*each: dict[str, Any], **more: Any) -> dict[str, Any]:
    """A plan of rules."""
    return {"plan": {"rules": list(each)}, **more}


def unset(path: str) -> list[Any]:
    """The usual stream without a field of its header."""
    (first,) = stream(TWO)
    first.header.ClearField(path)
    return [first]
