"""What came of a call, in a form that can be compared."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import grpc
from regularization.v1.errors_pb2 import ErrorReason

from tests.support.messages import KINDS, Failed, answers

if TYPE_CHECKING:
    from collections.abc import Iterable

FAULTS = {"ERROR_REASON_UNSPECIFIED", "ERROR_REASON_INTERNAL"}
"""Reasons that no caller should ever see."""

DOCUMENTED = {
    grpc.StatusCode.INVALID_ARGUMENT,
    grpc.StatusCode.FAILED_PRECONDITION,
    grpc.StatusCode.RESOURCE_EXHAUSTED,
}
"""Codes of what a caller did, or asked too much for."""


@dataclass(frozen=True)
class Outcome:
    """All responses, or how the call failed."""

    responses: tuple[bytes, ...]
    values: bytes
    failed: Failed | None

    @property
    def succeeded(self) -> bool:
        """Whether there is an answer."""
        return self.failed is None

    @property
    def is_documented(self) -> bool:
        """Whether it is an answer, or a failure for which the schema has a reason that is the caller's."""
        if self.failed is None:
            return True
        known = set(ErrorReason.keys()) - FAULTS
        return self.failed.code in DOCUMENTED and self.failed.reason in known


def outcome_of(channel: grpc.Channel, method: str, stream: Iterable[Any]) -> Outcome:
    """Make a call; messages may be bytes."""
    try:
        got = answers(channel, method, stream)
    except grpc.RpcError as error:
        return Outcome((), b"", Failed.of(error))
    responses = tuple(answer.SerializeToString(deterministic=True) for answer in got)
    has_chunks = "chunk" in KINDS[method].response.DESCRIPTOR.fields_by_name
    values = b"".join(answer.chunk.values for answer in got) if has_chunks else b""
    return Outcome(responses, values, None)
