from __future__ import annotations

from collections.abc import Iterator

import grpc
import pytest
from regularization_server import Server, Settings

from conformance.runner.calls import Direct


@pytest.fixture(scope="session")
def target() -> Iterator[str]:
    """A server of this process with its default settings, on TCP alone."""
    with Server(Settings(listen=("127.0.0.1:0",))) as server:
        yield server.addresses[0]


@pytest.fixture(scope="session")
def caller(target: str) -> Iterator[Direct]:
    """Calls of that server."""
    with grpc.insecure_channel(target) as channel:
        yield Direct(channel)
