"""How many threads BLAS has while matrices are computed: one, or as many as the process has given it."""

from __future__ import annotations

from contextlib import ExitStack, contextmanager
from functools import cache
from threading import Lock
from typing import TYPE_CHECKING

from ...interruption import turn

if TYPE_CHECKING:
    from collections.abc import Iterator

    from threadpoolctl import ThreadpoolController

_MANY = 1 << 28
"""Multiplications that take a few hundredths of a second."""


class Blas:
    """Holds BLAS to one thread while anyone needs it, and gives it back as it was.

    Where the process has given BLAS its threads for good, they stay as they are.
    """

    def __init__(self) -> None:
        self.threads = 1
        self._changing = Lock()
        self._is_given = False
        self._holders = 0
        self._limited: ThreadpoolController | None = None
        self._limit = ExitStack()

    def give(self, threads: int) -> None:
        """Leave BLAS the threads that it has, which are so many.

        Raises:
            ValueError: If they are fewer than one.
        """
        if threads < 1:
            raise ValueError(f"must be >= 1, got {threads}")
        self.threads = threads
        self._is_given = True

    @contextmanager
    def held(self) -> Iterator[None]:
        """Let BLAS have its threads meanwhile."""
        if self._is_given:
            yield
            return
        with self._changing:
            libraries = _libraries()
            if libraries is not self._limited:  # also where another was loaded while some hold it
                self._limit.enter_context(libraries.limit(limits=1))
                self._limited = libraries
            self._holders += 1
        try:
            yield
        finally:
            with self._changing:
                self._holders -= 1
                if not self._holders:
                    self._limit.close()
                    self._limited = None


_blas = Blas()


def leave_blas_its_threads(threads: int) -> None:
    """Compute matrices with the threads that BLAS has in this process, which are so many.

    For a process that has set them for all libraries, before these were loaded. The last bits of what matrix
    regularizers give depend on their number. Where this is not called, BLAS is held to one thread for each
    matrix, and afterwards has those that it had.

    Raises:
        ValueError: If they are fewer than one.
    """
    _blas.give(threads)


@contextmanager
def held_blas(products: int = 0) -> Iterator[None]:
    """Hold BLAS to one thread meanwhile, or leave it those that the process has given it.

    Args:
        products: How many multiplications it is asked for, about. Where these are many it waits for as many
            turns as there are threads first, as they cannot be stopped: so such contexts do not stand in one
            another.

    Raises:
        Exception: What the thread's check raises: whoever is given up does not begin.
    """
    with turn(products > _MANY, _blas.threads), _blas.held():
        yield


@cache
def _libraries() -> ThreadpoolController:
    from threadpoolctl import ThreadpoolController  # only these rows need it

    return ThreadpoolController().select(user_api="blas")


@cache
def find_blas_of_scipy() -> None:
    """SciPy has a BLAS of its own, which is not found before it is loaded."""
    import scipy.linalg  # noqa: F401

    _libraries.cache_clear()
