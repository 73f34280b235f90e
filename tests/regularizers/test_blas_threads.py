"""How many threads BLAS has while matrices are computed: one, or what the process has given it for good."""

from __future__ import annotations

import subprocess
import sys
import textwrap

import pytest
from regularization_kernels.regularizers.matrices.blas import Blas

COMMON = """
    import os, sys
    from concurrent.futures import ThreadPoolExecutor
    from hashlib import sha256
    threads = int(sys.argv[1])
    os.environ["OPENBLAS_NUM_THREADS"] = str(threads)
    import numpy as np
    from threadpoolctl import threadpool_info
    from regularization_kernels import (
        NuclearNorm, Orthogonality, SpectralBall, leave_blas_its_threads, proximal_step
    )
    from regularization_kernels.regularizers.matrices import blas

    def blas_threads():
        return {library["num_threads"] for library in threadpool_info() if library["user_api"] == "blas"}
"""

DIGEST = """
    leave_blas_its_threads(threads)
    x = np.random.default_rng(5).normal(size=(160, 120))
    rows = (NuclearNorm(strength=0.5), SpectralBall(radius=3.0), Orthogonality(strength=0.1))

    def digest(_):
        steps = [proximal_step(each, row, 0.7)[0] for each in (x, x.astype("f4")) for row in rows]
        return sha256(b"".join(step.tobytes() for step in steps)).hexdigest()

    alone = digest(0)
    with ThreadPoolExecutor(3) as pool:
        assert set(pool.map(digest, range(3))) == {alone}
    print(alone)
"""
"""Computes on so many threads of BLAS, alone and several at once, and tells the bits."""

GIVEN = """
    leave_blas_its_threads(threads)
    with blas.held_blas():
        assert blas_threads() == {threads}
        blas.find_blas_of_scipy()
        assert blas_threads() == {threads}
    assert blas_threads() == {threads}
"""

LOADED_LATER = """
    with blas.held_blas():
        assert blas_threads() == {1}
        blas.find_blas_of_scipy()
        assert blas_threads() == {1, threads}
        with blas.held_blas():
            assert blas_threads() == {1}
    assert blas_threads() == {threads}
"""


def run(script: str, threads: int) -> str:
    """What a process of its own prints, whose BLAS has so many threads from the start."""
    command = [sys.executable, "-c", textwrap.dedent(COMMON) + textwrap.dedent(script), str(threads)]
    return subprocess.run(command, check=True, capture_output=True, text=True, timeout=300).stdout


@pytest.mark.parametrize("threads", [1, 2])
def test_one_number_of_threads_has_one_answer(threads: int) -> None:
    """In every process, alone or beside other matrices."""
    assert run(DIGEST, threads) == run(DIGEST, threads)


@pytest.mark.parametrize("threads", [1, 2])
def test_threads_that_the_process_gave_stay(threads: int) -> None:
    """While matrices are computed and afterwards, and SciPy's library has as many, whenever it comes."""
    run(GIVEN, threads)


def test_a_library_that_is_loaded_while_others_are_held_is_held_too() -> None:
    """SciPy's comes with the first matrix that needs it; whoever uses it then has one thread there."""
    run(LOADED_LATER, 2)


def test_there_is_a_thread() -> None:
    """No fewer can be given."""
    for bad in (0, -1):
        with pytest.raises(ValueError, match=f"must be >= 1, got {bad}"):
            Blas().give(bad)
