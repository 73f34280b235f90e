"""Compilation of loops by Numba: in the background, or at the first long input.

Numba is optional (the extra ``compiled``). It is imported, and a loop is compiled, once large pieces have
asked for it often enough that a process which computes once and ends compiles nothing. Until a loop is there,
and for small pieces always, NumPy works; the bits are the same.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from concurrent.futures import Future
from dataclasses import dataclass
from importlib.util import find_spec
from threading import Lock
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

from .background import Background
from .interruption import STRETCH, go_on

SMALLEST = 1 << 15
"""Elements of a piece below which NumPy does as well."""

SHORTEST_SEQUENCE = 1 << 10
"""Elements of an input for which Python does as well."""

DATA_TYPES = (np.dtype(np.float32), np.dtype(np.float64))
"""For which there are loops."""

ANY = npt.NDArray[Any]

V = TypeVar("V", bound=Hashable)


@dataclass(slots=True)
class Patience:
    """Elements that a loop is asked for, all in all, before it is compiled.

    To compile takes as long as NumPy and Python take for a few times as many: a process that ends before
    loses little, and one that goes on longer soon has won.
    """

    pieces: int = 1 << 26
    """By large pieces, which NumPy computes meanwhile: one step of a large model, many of a small one."""
    sequences: int = 1 << 18
    """By long inputs of a sequential loop, for which Python takes microseconds each."""


patience = Patience()

_loops: dict[Hashable, Future[Callable[..., int]]] = {}

_asked: dict[Hashable, tuple[int, Callable[[], Future[Callable[..., int]]]]] = {}
"""For loops that nothing has compiled yet: how many elements asked, and what has one compiled."""

_lock = Lock()

_compiler = Background("compiler")

_installed = find_spec("numba") is not None


def requested(
    variant: V, data_type: np.dtype[Any], elements: int, compile_loop: Callable[[V], Callable[..., int]]
) -> Callable[..., int] | None:
    """The compiled loop, if it is there and worth while for so many elements; it may be there later.

    ``patience`` says when it is compiled in the background.
    """
    if not _installed or elements < SMALLEST or data_type not in DATA_TYPES:
        return None
    future = _loops.get(variant) or _ask(variant, elements, compile_loop)
    if future is None or not future.done() or future.cancelled() or future.exception() is not None:
        return None
    return future.result()


def _ask(
    variant: V, elements: int, compile_loop: Callable[[V], Callable[..., int]]
) -> Future[Callable[..., int]] | None:
    """Count what a loop was asked for; the future loop, once that is enough."""
    with _lock:
        if variant not in _loops:
            asked = _asked.pop(variant, (0, None))[0] + elements
            if asked <= patience.pieces:
                _asked[variant] = asked, lambda: _compiler.submit(compile_loop, variant)
                return None
            _loops[variant] = _compiler.submit(compile_loop, variant)
        return _loops[variant]


class Sequential:
    """A loop over elements one after the other, written once: Numba compiles it for long inputs.

    Where Numba is not installed, for short inputs, and as long as ``patience`` says, Python runs it: the same
    operations, the same bits. No loop can be stopped from outside, so it stops by itself after a stretch, and
    goes on where somebody waits.

    Args:
        function: Takes arrays and numbers, and last after how many elements to stop; it keeps in one of the
            arrays where that was. Says whether it is done. It uses of Python what Numba knows.
    """

    def __init__(self, function: Callable[..., bool]) -> None:
        self._function = function
        self._compiled: Callable[..., bool] | None = None
        self._asked = 0
        self.__doc__ = function.__doc__

    def __call__(self, *arguments: Any) -> None:
        """Run it on the arguments, the first of which is an array and says how long the input is."""
        loop = self._loop_for(arguments[0].size)
        while not loop(*arguments, STRETCH):
            go_on()

    def _loop_for(self, elements: int) -> Callable[..., bool]:
        if not _installed or elements < SHORTEST_SEQUENCE:
            return self._function
        if self._compiled is None:
            # Two threads that add at once may count as one: then it is compiled a little later.
            self._asked += elements
            if self._asked <= patience.sequences:
                return self._function
            import numba

            self._compiled = numba.njit(nogil=True, error_model="numpy")(self._function)
        return self._compiled


def compile_at_once() -> None:
    """Have loops compiled when they are first asked for: what a process wants that lives long."""
    patience.pieces = patience.sequences = 0


def wait_until_compiled() -> None:
    """Have all loops compiled that were asked for so far, however seldom, and wait for them."""
    with _lock:
        for variant, (_, compile_it) in _asked.items():
            _loops[variant] = compile_it()
        _asked.clear()
    for future in list(_loops.values()):
        future.result()
