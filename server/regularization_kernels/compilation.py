"""Compilation of loops by Numba, in the background.

Numba is optional (the extra ``compiled``). It is imported, and a loop is compiled, once large inputs have
asked for it often enough that a process which computes once and ends compiles nothing. Until a loop is there,
and for small inputs always, NumPy or Python works; the bits are the same. Where a folder of machine code is
kept (``keep_code_in``), a loop that is in it is there at once, without Numba.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Hashable
from concurrent.futures import Future, wait
from contextlib import suppress
from dataclasses import dataclass
from functools import wraps
from importlib.util import find_spec
from pathlib import Path
from threading import Lock
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

from . import formats
from .background import Background
from .code_folder import CodeFolder, name_of
from .compiler_process import CompilerProcess
from .interruption import SECONDS_BETWEEN, STRETCH, go_on
from .machine_code import MachineCode, compiled, linked, linker

SMALLEST = 1 << 15
"""Elements of a piece below which NumPy does as well."""

SHORTEST_SEQUENCE = 1 << 10
"""Elements of an input for which Python does as well."""

LONGEST_BESIDE = 1 << 19
"""Elements of an input beyond which Python beside the compiler takes longer than the compiler alone."""

DATA_TYPES = formats.DATA_TYPES
"""For which there may be loops; those of groups are for float32 and float64 alone."""

ANY = npt.NDArray[Any]

V = TypeVar("V", bound=Hashable)

# Of an array's flags, those that are part of its type to Numba, by their numbers in NumPy's headers.
_C_ORDER, _FORTRAN_ORDER, _ALIGNED, _WRITEABLE = 0x1, 0x2, 0x100, 0x400
_TYPED = _C_ORDER | _FORTRAN_ORDER | _ALIGNED | _WRITEABLE


@dataclass(slots=True)
class Patience:
    """Elements that a loop is asked for, all in all, before it is compiled.

    To compile takes as long as NumPy or Python takes for about so many: a process that ends before loses
    nothing, and one that goes on longer loses as much again at most.
    """

    pieces: int = 1 << 28
    """By large pieces, which NumPy computes meanwhile: one step of a huge model, many of a small one."""
    sequences: int = 1 << 20
    """By long inputs of a sequential loop, for which Python takes microseconds each."""


patience = Patience()

_loops: dict[Hashable, Future[Callable[..., Any]]] = {}

_asked: dict[Hashable, tuple[int, Callable[[], Future[Callable[..., Any]]]]] = {}
"""For loops that nothing has compiled yet: how many elements asked, and what has one compiled."""

_lock = Lock()

_apart = CompilerProcess()

_compiler = Background("compiler", _apart.end)

_installed = find_spec("numba") is not None


@dataclass(slots=True)
class _Kept:
    """Machine code in files, if any is kept."""

    folder: CodeFolder | None = None
    ready: bool = False
    """Whether what is there can be linked at once."""


_kept = _Kept()


def requested(
    variant: V, data_type: np.dtype[Any], elements: int, compile_loop: Callable[[V], Callable[..., int]]
) -> Callable[..., int] | None:
    """The compiled loop, if it is there and worth while for so many elements; it may be there later.

    ``patience`` says when it is compiled in the background.
    """
    if not _installed or elements < SMALLEST or data_type not in DATA_TYPES:
        return None
    return _compiled(_loops.get(variant) or _ask(variant, elements, patience.pieces, compile_loop))


def _ask(
    variant: V,
    elements: int,
    enough: int,
    compile_loop: Callable[[V], Callable[..., Any]],
    *,
    is_waited_for: bool = False,
) -> Future[Callable[..., Any]] | None:
    """Count what a loop was asked for; the future loop, once that is more than enough."""

    def in_background() -> Future[Callable[..., Any]]:
        # Or who asks for many loops that NumPy does without keeps others waiting for one.
        submit = _compiler.submit_first if is_waited_for else _compiler.submit
        return submit(compile_loop, variant)

    with _lock:
        if variant not in _loops:
            asked = _asked.get(variant, (0, None))[0] + elements
            _asked[variant] = asked, in_background
            if asked > enough and not (future := _loop_to_be(variant, in_background)).cancelled():
                _loops[variant] = future
                del _asked[variant]
        return _loops.get(variant)


def _loop_to_be(
    variant: Hashable, in_background: Callable[[], Future[Callable[..., Any]]]
) -> Future[Callable[..., Any]]:
    """The loop at once, where its code is kept and takes milliseconds; else it is made in the background."""
    loop = _kept_loop(variant) if _kept.ready else None
    if loop is None:
        return in_background()
    there: Future[Callable[..., Any]] = Future()
    there.set_result(loop)
    return there


def _kept_loop(variant: Hashable) -> Callable[..., Any] | None:
    """A loop of machine code that is kept."""
    code = None if _kept.folder is None else _kept.folder.get(variant)
    if code is not None:
        with suppress(RuntimeError):
            return linked(code)
    return None


def kept(compile_code: Callable[[V], MachineCode]) -> Callable[[V], Callable[..., Any]]:
    """Make what has a variant's machine code compiled give the loop: of code that is kept, where there is."""

    @wraps(compile_code)
    def make(variant: V) -> Callable[..., Any]:
        loop = _kept_loop(variant)
        if loop is not None:
            return loop
        code = _apart.machine_code(make, variant) or compile_code(variant)
        if _kept.folder is not None:
            _kept.folder.put(variant, code)
        return linked(code)

    return make


def _compiled(future: Future[Callable[..., Any]] | None) -> Callable[..., Any] | None:
    """The loop, if it is there."""
    if future is None or not future.done() or future.cancelled() or future.exception() is not None:
        return None
    return future.result()


ArgumentType = tuple[np.dtype[Any], int, int] | type
"""To Numba: data type, count of axes and flags of an array, or the type of a number."""

SequentialVariant = tuple[Callable[..., bool], tuple[ArgumentType, ...]]
"""What is compiled: a function, for arguments of these types."""


class Sequential:
    """A loop over elements one after the other, written once: Numba compiles it for long inputs.

    Where Numba is not installed, for short inputs, and until it has compiled the loop, Python runs it: the
    same operations, the same bits. No loop can be stopped from outside, so it stops by itself after a
    stretch. There it goes on where somebody waits, in machine code once that is there. An input for which
    Python would take longer than the compiler waits for it.

    Args:
        function: Takes arrays and numbers, and last after how many elements to stop; it keeps in one of the
            arrays where that was. Says whether it is done. It uses of Python what Numba knows.
    """

    def __init__(self, function: Callable[..., bool]) -> None:
        self._function = function
        self.__doc__ = function.__doc__

    def __call__(self, *arguments: Any) -> None:
        """Run it on the arguments, the first of which is an array and says how long the input is.

        Raises:
            Exception: What the thread's check raises, where nobody waits any more.
        """
        elements = arguments[0].size
        future = None
        if _installed and elements >= SHORTEST_SEQUENCE:
            future = _sequential_loop((self._function, _types_of(arguments)), elements)
        loop = _compiled(future)
        while not (loop or self._function)(*arguments, STRETCH):
            go_on()
            loop = loop or _compiled(future)


def _sequential_loop(variant: SequentialVariant, elements: int) -> Future[Callable[..., bool]] | None:
    """The future loop, where the compiler has been asked for it. A long input waits for it."""
    future = _loops.get(variant) or _ask(
        variant, elements, patience.sequences, _compile_sequential, is_waited_for=True
    )
    if future is not None and elements > LONGEST_BESIDE:
        while not future.done():
            wait((future,), SECONDS_BETWEEN)
            go_on()
    return future


def _types_of(arguments: tuple[Any, ...]) -> tuple[ArgumentType, ...]:
    return tuple(
        [
            (each.dtype, each.ndim, each.flags.num & _TYPED) if isinstance(each, np.ndarray) else type(each)
            for each in arguments
        ]
    )


@kept
def _compile_sequential(variant: SequentialVariant) -> MachineCode:
    """Have a loop compiled for arguments of just these types, and a stretch."""
    import numba

    def numba_type(kind: ArgumentType) -> Any:
        if not isinstance(kind, tuple):
            return numba.from_dtype(np.dtype(kind))
        data_type, axes, flags = kind
        return numba.types.Array(
            numba.from_dtype(data_type),
            axes,
            "C" if flags & _C_ORDER else "F" if flags & _FORTRAN_ORDER else "A",
            readonly=not flags & _WRITEABLE,
            aligned=bool(flags & _ALIGNED),
        )

    # Of the types alone: the arrays of a call would be held here until the compiler gets to them.
    function, types = variant
    signature = tuple(map(numba_type, (*types, int)))
    return compiled(function, signature)


def compile_at_once() -> None:
    """Have loops compiled when they are first asked for: what a process wants that lives long."""
    patience.pieces = patience.sequences = 0


def compile_apart() -> None:
    """Have loops compiled by a process of their own: what a process wants that is not to keep the compiler.

    It is started when it is needed, and ends soon after. Where nothing comes of it, this one compiles.
    """
    _apart.wanted = True


def keep_code_in(folder: Path) -> None:
    """Keep machine code in a folder from now on, and have what is there ready to be linked.

    Args:
        folder: It is made with the first code. Where it cannot be, or is another user's, nothing is kept.
    """
    if _installed:
        _kept.folder = CodeFolder(folder)
        if not _kept.folder.is_empty():
            _compiler.submit(_get_ready)


def keeps_code() -> bool:
    """Whether there is any machine code that is kept."""
    return _kept.folder is not None and not _kept.folder.is_empty()


def _get_ready() -> None:
    linker()
    name_of(None)  # a digest of sources, which the first to ask would wait for
    _kept.ready = True


def wait_until_compiled() -> None:
    """Have all loops compiled that were asked for so far, however seldom, and wait for them."""
    with _lock:
        for variant, (_, compile_it) in _asked.items():
            _loops[variant] = compile_it()
        _asked.clear()
    for future in list(_loops.values()):
        while not future.done():
            wait((future,), SECONDS_BETWEEN)  # no longer, so that who waits can be stopped
        future.result()


def _begin_anew() -> None:
    """In a forked process: the thread that compiles is not there, and nothing comes of what it had to do."""
    global _lock, _compiler, _apart
    _compiler.disown()
    wanted, _apart = _apart.wanted, CompilerProcess()
    _apart.wanted = wanted
    _lock, _compiler = Lock(), Background("compiler", _apart.end)
    linker.cache_clear()
    for variant, future in list(_loops.items()):
        if not future.done():
            del _loops[variant]


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_begin_anew)
