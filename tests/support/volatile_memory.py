"""Memory that another process writes to all the time."""

from __future__ import annotations

import os
import subprocess
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

_WRITER = """
import mmap, os, sys
import numpy as np

random = np.random.default_rng(0)
memory = np.frombuffer(mmap.mmap(int(sys.argv[1]), int(sys.argv[2])), np.uint8)
count = memory.size // 8
versions = []
for size in (1.0, 1.0, 1e-3, 1e3, 1e150, 1e308, 1e-310):
    x = random.normal(size=count).clip(-1, 1) * size
    x[random.random(count) < 0.3] = 0.0
    versions += [x, np.abs(x), np.sort(x), np.full(count, size)]
for special in (np.nan, np.inf, -np.inf):
    versions.append(np.where(random.random(count) < 0.1, special, versions[0]))
versions = [version.view(np.uint8) for version in versions]
print("writing", flush=True)
while os.getppid() == int(sys.argv[3]):
    for version in versions:
        memory[:] = version
"""
"""Numbers of all sizes, ties and rows in order; some that are not finite."""


@contextmanager
def writing_to(descriptor: int, size: int) -> Iterator[None]:
    """A process writes to all of a file of memory, over and over, as long as the block takes.

    Args:
        descriptor: Of the file.
        size: Its bytes, a multiple of 8.
    """
    writer = subprocess.Popen(
        [sys.executable, "-c", _WRITER, str(descriptor), str(size), str(os.getpid())],
        pass_fds=(descriptor,),
        stdout=subprocess.PIPE,
    )
    try:
        assert writer.stdout is not None
        assert writer.stdout.readline() == b"writing\n"
        yield
    finally:
        writer.kill()
        writer.communicate()
