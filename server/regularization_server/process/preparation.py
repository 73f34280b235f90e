"""What the command sets of its own process, before the numeric libraries are there."""

from __future__ import annotations

import ctypes
import os
import resource

from ..settings import MIB

# glibc's parameters of mallopt(3), by their numbers in malloc.h.
_TRIM_THRESHOLD, _MMAP_THRESHOLD, _ARENA_MAX = -1, -3, -8


def prepare() -> None:
    """Set what suits a server of numbers: one thread for each library, and memory that is used again."""
    # Idle threads of NumPy's libraries cost memory, and their number changes the last bits of some results.
    for library in ("OPENBLAS", "OMP", "MKL", "BLIS"):
        os.environ.setdefault(f"{library}_NUM_THREADS", "1")
    _keep_freed_memory()
    _open_as_many_files_as_allowed()


def give_back_freed_memory() -> None:
    """Hand back to the system what malloc keeps and nobody uses, wherever it lies.

    What is used again afterwards is cleared by the system first: once in a while is often enough.
    """
    malloc_trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if malloc_trim is not None:
        malloc_trim(0)


def _open_as_many_files_as_allowed() -> None:
    """Take the hard limit of open files: connections, and regions of shared memory, have one each.

    The soft limit is what it is for programs that cannot handle large numbers.
    """
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


def _keep_freed_memory() -> None:
    """Let malloc keep the buffers of a chunk for the next one.

    As it comes, glibc hands them back to the system after each chunk, and the system clears every page before
    it gives it out again: that costs several times the arithmetic. This bounds what is kept at the end of an
    arena alone: below a buffer that is in use all stays, however much of it is free. What many streams have
    left there goes back with ``give_back_freed_memory``.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        for parameter, value in ((_MMAP_THRESHOLD, 32 * MIB), (_TRIM_THRESHOLD, 32 * MIB), (_ARENA_MAX, 4)):
            mallopt(parameter, value)
