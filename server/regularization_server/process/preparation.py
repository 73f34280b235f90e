"""What the command sets in its own process, before it imports the numeric libraries."""

from __future__ import annotations

import ctypes
import gc
import os
import resource
from pathlib import Path

from ..units import MIB

# glibc's parameters of mallopt(3), by their numbers in malloc.h.
_TRIM_THRESHOLD, _MMAP_THRESHOLD, _ARENA_MAX = -1, -3, -8


THRESHOLDS = (20_000, 20, 50)
"""Objects that are new before there is a search of them, such searches before one of those that stayed, and
such before one of all."""

NEW = 1
"""The oldest generation of objects that is not old."""


def prepare(blas_threads: int = 1) -> None:
    """Set the libraries' threads and words, memory that is used again, and as many files as allowed.

    Args:
        blas_threads: Of each library that NumPy and SciPy may have for BLAS.
    """
    # gRPC writes a line to standard error for every handshake that fails, as often as any caller likes.
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")
    # These are read when a library is loaded, so that they hold for SciPy's, too, whenever that is.
    for library in ("OPENBLAS", "OMP", "MKL", "BLIS"):
        os.environ[f"{library}_NUM_THREADS"] = str(blas_threads)
    _keep_freed_memory()
    _open_as_many_files_as_allowed()


def cache_or_own(cache: Path | None) -> Path | None:
    """The folder of machine code that is set, or else the user's; None where the user has none."""
    if cache is not None:
        return cache
    # By the XDG Base Directory Specification, which has a path that is not absolute count as unset.
    own = Path(os.environ.get("XDG_CACHE_HOME", ""))
    if not own.is_absolute():
        try:
            own = Path.home() / ".cache"
        except RuntimeError:
            return None
    return own / "regularization-service"


def search_rarely_for_cycles() -> None:
    """Let Python search few objects, and seldom all, for cycles of which nothing is used any more.

    Calls leave none. A search stops all threads, and where thousands of streams are open and more come,
    Python's own thresholds cause one of everything again and again.
    """
    gc.freeze()
    gc.set_threshold(*THRESHOLDS)


def give_back_freed_memory() -> None:
    """Give the memory that malloc keeps and nobody uses back to the system, and that of new cycles.

    The system clears what is used again afterwards, which takes time: this is for now and then.
    """
    gc.collect(NEW)
    malloc_trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if malloc_trim is not None:
        malloc_trim(0)


def _open_as_many_files_as_allowed() -> None:
    """Raise the limit of open files as far as allowed: each connection and each region takes one.

    The soft limit is low for programs that cannot handle large descriptors.
    """
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


def _keep_freed_memory() -> None:
    """Let malloc keep the buffers of a chunk for the next one.

    By default, glibc hands them back to the system after each chunk, and the system clears every page before
    it gives it out again: that takes several times as long as the arithmetic. The limits set here hold at the
    end of an arena only: what is free below a buffer in use stays. ``give_back_freed_memory`` is for that.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        for parameter, value in ((_MMAP_THRESHOLD, 32 * MIB), (_TRIM_THRESHOLD, 32 * MIB), (_ARENA_MAX, 4)):
            mallopt(parameter, value)
