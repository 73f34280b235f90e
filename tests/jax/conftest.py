from __future__ import annotations

import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from regularization_client import Client

from tests.support.processes import serving

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(scope="session")
def target() -> Iterator[str]:
    """The address of a server process that all tests share."""
    # Not under pytest's own folder: a socket's path may have 107 bytes.
    folder = Path(tempfile.mkdtemp(prefix="regularization-"))
    with serving(folder) as server:
        yield server.address
    shutil.rmtree(folder)


@pytest.fixture(scope="session")
def client(target: str) -> Iterator[Client]:
    """A client of that server, which all tests share."""
    with Client(target) as client:
        yield client
