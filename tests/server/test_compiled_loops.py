"""Which processes have loops compiled, and when."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
from regularization_client import Client, L1Norm

from tests.support.processes import serving, until

pytestmark = pytest.mark.skipif(
    find_spec("numba") is None or not Path("/proc/self/maps").exists(),
    reason="needs the extra: compiled, and Linux's list of what a process has loaded",
)
LARGE = np.ones(1 << 17, np.float32)


def test_a_server_compiles_at_the_first_large_call(tmp_path: Path) -> None:
    """It lives long; a small call is not worth it."""
    with serving(tmp_path) as server, Client(server.address) as client:

        def has_a_compiler() -> bool:
            return "llvmlite" in Path(f"/proc/{server.process.pid}/maps").read_text()

        client.proximal_step(LARGE[:1000], L1Norm(strength=0.1), step_size=1.0)
        assert not has_a_compiler()
        client.proximal_step(LARGE, L1Norm(strength=0.1), step_size=1.0)
        until(has_a_compiler)
