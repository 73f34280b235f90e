"""A server with several threads of BLAS, beside the same mathematics without one."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

import numpy as np
import pytest
from regularization_client import Client, NuclearNorm, SpectralBall

from tests.support.processes import serving

if TYPE_CHECKING:
    from pathlib import Path

IN_PROCESS = """
import sys
import numpy as np
from regularization_kernels import NuclearNorm, SpectralBall, proximal_step, use_blas_threads
use_blas_threads(int(sys.argv[1]))
x = np.random.default_rng(5).normal(size=(300, 200))
for row in (NuclearNorm(strength=0.5), SpectralBall(radius=3.0)):
    sys.stdout.write(proximal_step(x, row, 0.7)[0].tobytes().hex())
"""


@pytest.mark.parametrize("threads", [1, 2])
def test_a_server_has_the_bits_of_as_many_threads_in_process(tmp_path: Path, threads: int) -> None:
    """Whichever number it is: on one machine, with one build, the last bits depend on it alone."""
    command = [sys.executable, "-c", IN_PROCESS, str(threads)]
    expected = subprocess.run(command, check=True, capture_output=True, text=True, timeout=120).stdout
    x = np.random.default_rng(5).normal(size=(300, 200))
    with serving(tmp_path, "--blas-threads", str(threads)) as server, Client(server.address) as client:
        steps = [
            client.proximal_step(x, row, step_size=0.7).parameters
            for row in (NuclearNorm(strength=0.5), SpectralBall(radius=3.0))
        ]
    assert "".join(np.asarray(step).tobytes().hex() for step in steps) == expected
