from __future__ import annotations

import pytest
from hypothesis import settings
from regularization_kernels import compilation

settings.register_profile("repeatable", derandomize=True, deadline=None, database=None, max_examples=50)
settings.load_profile("repeatable")


@pytest.fixture(autouse=True)
def only_own_loops() -> None:
    """Let a test that waits for its loops not wait for those that others before it asked for in passing."""
    compilation._asked.clear()
