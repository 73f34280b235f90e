"""A call as whoever carries it out sees it, and what came of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Any, Protocol

import grpc
from google.protobuf import descriptor_pool
from google.protobuf.message_factory import GetMessageClass
from google.rpc import error_details_pb2, status_pb2  # type: ignore[import-untyped] # has none
from regularization.training.v1 import augmentation_pb2, early_stopping_pb2
from regularization.v1 import regularization_service_pb2

SERVICE = "regularization.v1.RegularizationService"
DETAILS = "grpc-status-details-bin"
DEADLINE = 60.0
"""Seconds after which a call that hangs has failed."""
SCHEMA = (regularization_service_pb2, augmentation_pb2, early_stopping_pb2)
"""The files whose services are called; with them the pool knows all messages."""


@dataclass(frozen=True)
class Outcome:
    """What came of a call.

    Attributes:
        responses: The response messages.
        code: The status code, by its name.
        details: The serialized ``google.rpc.Status``; empty where there was none.
        text: What the status says to people.
    """

    responses: list[bytes] = field(default_factory=list)
    code: str = "OK"
    details: bytes = b""
    text: str = ""

    @property
    def status(self) -> dict[str, Any]:
        """Code, reason, metadata and fields, as a vector has them."""
        found: dict[str, Any] = {"code": self.code}
        for detail in status_pb2.Status.FromString(self.details).details:
            for message in (error_details_pb2.ErrorInfo(), error_details_pb2.BadRequest()):
                if not detail.Is(message.DESCRIPTOR):
                    continue
                detail.Unpack(message)
                if isinstance(message, error_details_pb2.ErrorInfo):
                    found |= {"domain": message.domain, "reason": message.reason}
                    found["metadata"] = dict(message.metadata)
                else:
                    found["fields"] = [violation.field for violation in message.field_violations]
        return found


class Caller(Protocol):
    """Whoever carries calls out: gRPC itself, or a client under test."""

    def call(self, name: str, method: str, requests: Sequence[bytes]) -> Outcome:
        """Make a call of a vector."""


class Direct:
    """Calls over a channel, with bytes as they are.

    Args:
        channel: To the server.
        metadata: Sent with every call.
    """

    def __init__(self, channel: grpc.Channel, metadata: Sequence[tuple[str, str]] = ()) -> None:
        self._channel = channel
        self._metadata = tuple(metadata)

    def call(self, name: str, method: str, requests: Sequence[bytes]) -> Outcome:
        """Make a call; on the wire a unary one is a stream of one message."""
        stub: Any = self._channel.stream_stream(
            f"/{method}", request_serializer=None, response_deserializer=None
        )
        responses: list[bytes] = []
        try:
            for response in stub(iter(requests), timeout=DEADLINE, metadata=self._metadata):
                responses.append(response)  # noqa: PERF402 - what came before an error is kept
        except grpc.RpcError as error:
            trailers: dict[str, Any] = {each.key: each.value for each in error.trailing_metadata() or ()}
            return Outcome(responses, error.code().name, trailers.get(DETAILS, b""), error.details() or "")
        return Outcome(responses)


@cache
def message_types(method: str) -> tuple[Any, Any]:
    """The classes of a method's request and response."""
    service, _, name = method.rpartition("/")
    found = descriptor_pool.Default().FindServiceByName(service).FindMethodByName(name)
    return GetMessageClass(found.input_type), GetMessageClass(found.output_type)
