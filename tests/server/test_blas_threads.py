"""A server with several threads of BLAS, beside the same mathematics without one."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

import numpy as np
import pytest
from regularization_client import Client, NuclearNorm, SpectralBall
from regularization_server.process.supervisor import shares
from regularization_server.settings import Settings

from tests.support.processes import serving

if TYPE_CHECKING:
    from pathlib import Path

IN_PROCESS = """
import os, sys
os.environ["OPENBLAS_NUM_THREADS"] = sys.argv[1]
import numpy as np
from regularization_kernels import NuclearNorm, SpectralBall, leave_blas_its_threads, proximal_step
leave_blas_its_threads(int(sys.argv[1]))
x = np.random.default_rng(5).normal(size=(160, 120))
for row in (NuclearNorm(strength=0.5), SpectralBall(radius=3.0)):
    sys.stdout.write(proximal_step(x, row, 0.7)[0].tobytes().hex())
"""


@pytest.mark.parametrize("threads", [1, 2])
def test_a_server_has_the_bits_of_as_many_threads_in_process(tmp_path: Path, threads: int) -> None:
    """Whichever number it is: on one machine, with one build, the last bits depend on it alone."""
    command = [sys.executable, "-c", IN_PROCESS, str(threads)]
    expected = subprocess.run(command, check=True, capture_output=True, text=True, timeout=120).stdout
    x = np.random.default_rng(5).normal(size=(160, 120))
    with serving(tmp_path, "--blas-threads", str(threads)) as server, Client(server.address) as client:
        steps = [
            client.proximal_step(x, row, step_size=0.7).parameters
            for row in (NuclearNorm(strength=0.5), SpectralBall(radius=3.0))
        ]
    assert "".join(np.asarray(step).tobytes().hex() for step in steps) == expected


def test_a_number_that_is_set_is_each_process_s() -> None:
    """The bits depend on it, so it is not divided among processes as their other threads are."""
    for each in shares(Settings(processes=2, threads=4, blas_threads=4)):
        assert (each.threads, each.blas_threads) == (2, 4)
