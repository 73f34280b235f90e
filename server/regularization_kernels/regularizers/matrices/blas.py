"""How many threads BLAS has while matrices are computed: as many as are set, whoever else uses it."""

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
    """Holds BLAS to a number of threads while anyone needs it, and gives it back as it was."""

    def __init__(self) -> None:
        self.threads = 1
        self._changing = Lock()
        self._was_held = False
        self._holders = 0
        self._limited: ThreadpoolController | None = None
        self._limit = ExitStack()

    def use(self, threads: int) -> None:
        """Set the number of threads, before any matrix is computed.

        Raises:
            ValueError: If it is below 1.
            RuntimeError: If a matrix was computed with another number: its bits would not come again.
        """
        if threads < 1:
            raise ValueError(f"must be >= 1, got {threads}")
        with self._changing:
            if self._was_held and threads != self.threads:
                text = f"must be set before a matrix is computed: one was, on {self.threads}"
                raise RuntimeError(f"{text}, got {threads}")
            self.threads = threads

    @contextmanager
    def held(self) -> Iterator[None]:
        """Let BLAS have its threads meanwhile."""
        with self._changing:
            self._was_held = True
            libraries = _libraries()
            if libraries is not self._limited:  # also where one was loaded meanwhile
                self._limit.enter_context(libraries.limit(limits=self.threads))
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


def use_blas_threads(threads: int) -> None:
    """Compute matrices with so many threads of BLAS in this process; 1 where it is not set.

    The last bits of what matrix regularizers give depend on it, so it is set before the first of them
    computes.

    Raises:
        ValueError: If it is below 1.
        RuntimeError: If one has computed with another number.
    """
    _blas.use(threads)


@contextmanager
def held_blas(products: int = 0) -> Iterator[None]:
    """Hold BLAS to the number of threads that is set, meanwhile.

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
