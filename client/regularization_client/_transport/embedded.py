"""A server of one's own, in this process, where the client is given no target."""

from __future__ import annotations

import tempfile
from pathlib import Path

from .._errors import EmbeddedServerError

_GRACE_SECONDS = 0.2
"""For calls that their client gave up by closing: what they would answer, nobody would read."""


class EmbeddedServer:
    """Serves this process alone, over a socket in a private temporary directory, until it is stopped."""

    def __init__(self) -> None:
        try:
            from regularization_server import Server, Settings
        except ModuleNotFoundError as error:
            raise EmbeddedServerError(
                "without a target the client starts a server of its own, which is not installed "
                f"({error.name} is missing): pip install '.[server]' in a clone, or name a target"
            ) from error
        self._directory = tempfile.TemporaryDirectory(prefix="regularization-")
        self.address = f"unix:{Path(self._directory.name) / 'server.sock'}"
        self._server = Server(Settings(listen=(self.address,)))
        self._server.start()

    def stop(self) -> None:
        """Stop serving and remove the directory."""
        self._server.stop(grace=_GRACE_SECONDS)
        self._directory.cleanup()
