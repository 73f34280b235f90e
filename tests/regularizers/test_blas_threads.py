"""How many threads BLAS has while matrices are computed: a number that is set once, and then holds."""

from __future__ import annotations

import subprocess
import sys
from threading import Barrier, Thread

import pytest
from regularization_kernels.regularizers.matrices.blas import Blas
from threadpoolctl import threadpool_info, threadpool_limits

DIGEST = """
import sys
from concurrent.futures import ThreadPoolExecutor
from hashlib import sha256
import numpy as np
from regularization_kernels import NuclearNorm, Orthogonality, SpectralBall, proximal_step, use_blas_threads
use_blas_threads(int(sys.argv[1]))
x = np.random.default_rng(5).normal(size=(400, 300))
rows = (NuclearNorm(strength=0.5), SpectralBall(radius=3.0), Orthogonality(strength=0.1))

def digest(_):
    steps = [proximal_step(each, row, 0.7)[0] for each in (x, x.astype("f4")) for row in rows]
    return sha256(b"".join(step.tobytes() for step in steps)).hexdigest()

alone = digest(0)
with ThreadPoolExecutor(3) as pool:
    assert set(pool.map(digest, range(6))) == {alone}
print(alone)
"""
"""Computes on so many threads of BLAS, alone and several at once, and tells the bits."""


def digest(threads: int) -> str:
    """What a process of its own gives with so many threads."""
    command = [sys.executable, "-c", DIGEST, str(threads)]
    return subprocess.run(command, check=True, capture_output=True, text=True, timeout=300).stdout


def blas_threads() -> set[int]:
    """How many threads the BLAS libraries have."""
    return {library["num_threads"] for library in threadpool_info() if library["user_api"] == "blas"}


@pytest.mark.parametrize("threads", [1, 2])
def test_one_number_of_threads_has_one_answer(threads: int) -> None:
    """In every process, alone or beside other matrices."""
    assert digest(threads) == digest(threads)


def test_the_number_does_not_change_while_anyone_needs_it() -> None:
    """However many come and go, in one another or side by side; then it is what it was."""
    blas, before = Blas(), blas_threads()
    blas.use(2)
    inside, seen = Barrier(3, timeout=60), []

    def user() -> None:
        with blas.held():
            inside.wait()
            with blas.held():
                seen.append(blas_threads())
            seen.append(blas_threads())
            inside.wait()

    users = [Thread(target=user) for _ in range(3)]
    with threadpool_limits(1, user_api="blas"):
        for thread in users:
            thread.start()
        for thread in users:
            thread.join()
        assert seen == [{2}] * 6
        assert blas_threads() == {1}
    assert blas_threads() == before


def test_the_number_is_set_before_it_counts() -> None:
    """Afterwards only the same one is taken, for what was computed would not come again."""
    blas = Blas()
    assert blas.threads == 1
    for bad in (0, -1):
        with pytest.raises(ValueError, match=f"must be >= 1, got {bad}"):
            blas.use(bad)
    blas.use(3)
    blas.use(2)
    with blas.held():
        pass
    blas.use(2)
    with pytest.raises(RuntimeError, match="must be set before a matrix is computed: one was, on 2, got 1"):
        blas.use(1)
    assert blas.threads == 2
