"""Calls of methods that there are not: gRPC refuses them itself, and nobody else hears of them."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import grpc

if TYPE_CHECKING:
    Handler = Any
    """A ``grpc.RpcMethodHandler``."""


class UnknownMethods(grpc.ServerInterceptor):
    """Tells of each such call.

    Args:
        tell: Called with nothing that the caller sent.
    """

    def __init__(self, tell: Callable[[], None]) -> None:
        self._tell = tell

    def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Handler | None],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> Handler | None:
        """Find the method's handler."""
        handler = continuation(handler_call_details)
        if handler is None:
            self._tell()
        return handler
