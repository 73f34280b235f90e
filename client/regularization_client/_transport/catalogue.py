"""What the server lists: its regularizers, and the plans that it holds."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from google.protobuf.message import DecodeError
from regularization.v1 import catalogue_pb2, plan_pb2
from regularization.v1 import regularization_service_pb2 as service

from .._errors import ProtocolError
from .base import Conditions
from .connection import Connection
from .lane import LIST_PLANS, LIST_REGULARIZERS
from .replay import replayed

Catalogue = tuple[catalogue_pb2.RegularizerDescription, ...]
HeldPlans = tuple[plan_pb2.HeldPlan, ...]
T = TypeVar("T")


def list_regularizers(connection: Connection, conditions: Conditions) -> Catalogue:
    """Return what the server says of each regularizer.

    Raises:
        RegularizationError: If the call fails, at last.
    """

    def read(message: bytes) -> Catalogue:
        return tuple(service.ListRegularizersResponse.FromString(message).regularizers)

    return _asked(connection, conditions, LIST_REGULARIZERS, read, "catalogue")


def list_plans(connection: Connection, conditions: Conditions) -> HeldPlans:
    """Return the plans that the server holds.

    Raises:
        RegularizationError: If the call fails, at last.
    """

    def read(message: bytes) -> HeldPlans:
        return tuple(service.ListPlansResponse.FromString(message).plans)

    return _asked(connection, conditions, LIST_PLANS, read, "list of plans")


def _asked(
    connection: Connection, conditions: Conditions, method: str, read: Callable[[bytes], T], what: str
) -> T:
    def attempt(timeout: float | None) -> T:
        message = connection.in_turn(0, lambda lane: lane.ask(method, b"", timeout))
        try:
            return read(message)
        except DecodeError as error:
            raise ProtocolError(f"the answer is no {what} of the schema") from error

    return replayed(attempt, conditions, harmless=lambda error: not connection.closed)
