"""The gRPC server of ``regularization.v1``: transport, configuration, streams and statuses."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .settings import Settings

if TYPE_CHECKING:
    from .server import Server

__all__ = ["Server", "Settings"]


def __getattr__(name: str) -> Any:
    # The server is imported when it is first asked for: the command must set the environment of the numeric
    # libraries before that, and its health probe needs none of them.
    if name != "Server":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from .server import Server

    return Server
