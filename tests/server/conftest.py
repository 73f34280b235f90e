from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from regularization_server import Server, Settings

from tests.support.processes import ServerProcess, channel_to, serving
from tests.support.shared_memory import HandOffClient, hand_off_of

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    import grpc


@pytest.fixture(scope="module")
def server_process(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    """A server process that the tests of a module share."""
    with serving(tmp_path_factory.mktemp("server")) as server:
        yield server


@pytest.fixture(scope="module")
def process_channel(server_process: ServerProcess) -> Iterator[grpc.Channel]:
    """A channel to the module's server process."""
    with channel_to(server_process.address) as channel:
        yield channel


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    """A server in this process, whose insides a test can see."""
    with Server(Settings(listen=(f"unix:{tmp_path / 's'}",), grace_period=5)) as server:
        yield server


@pytest.fixture
def channel(server: Server) -> Iterator[grpc.Channel]:
    """A channel to the server in this process."""
    with channel_to(server.addresses[0]) as channel:
        yield channel


@pytest.fixture
def client(server: Server) -> Iterator[HandOffClient]:
    """A connection to the hand-off of the server in this process."""
    with hand_off_of(server.addresses[0]) as client:
        yield client


@pytest.fixture
def process_client(server_process: ServerProcess) -> Iterator[HandOffClient]:
    """A connection to the hand-off of the module's server process."""
    with hand_off_of(server_process.address) as client:
        yield client
