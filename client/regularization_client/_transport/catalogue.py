"""The server's catalogue of regularizers."""

from __future__ import annotations

from google.protobuf.message import DecodeError
from regularization.v1 import catalogue_pb2
from regularization.v1 import regularization_service_pb2 as service

from .._errors import ProtocolError
from .base import Conditions
from .connection import Connection
from .lane import LIST_REGULARIZERS
from .replay import replayed

Catalogue = tuple[catalogue_pb2.RegularizerDescription, ...]


def list_regularizers(connection: Connection, conditions: Conditions) -> Catalogue:
    """Return what the server says of each regularizer.

    Raises:
        RegularizationError: If the call fails, at last.
    """

    def attempt(timeout: float | None) -> Catalogue:
        return connection.in_turn(0, lambda lane: _read(lane.ask(LIST_REGULARIZERS, b"", timeout)))

    return replayed(attempt, conditions, harmless=lambda error: not connection.closed)


def _read(message: bytes) -> Catalogue:
    try:
        return tuple(service.ListRegularizersResponse.FromString(message).regularizers)
    except DecodeError as error:
        raise ProtocolError("the answer is no catalogue of the schema") from error
