"""Compiled loops for penalties that are sums over elements: one pass over memory, figures included.

NumPy takes a pass for each operation; a loop that Numba compiles takes one for all of them, at the
speed of memory, and holds no lock meanwhile. It computes the same float64 operations in the same
order, so results and sums are the same to the bit (a test compares them): which one works is a
matter of speed alone.

Numba is optional (the extra ``compiled``). It is imported, and a loop is compiled, in the background
once large pieces have asked for it often enough that a process which computes once and ends compiles
nothing; until a loop is there, and for small pieces always, NumPy works.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from concurrent.futures import Future
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from threading import Lock
from types import FunctionType
from typing import Any, TypeVar, cast

import numpy as np
import numpy.typing as npt

from .background import Background
from .interruption import STRETCH, go_on
from .summation import BLOCK, LANES

SMALLEST = 1 << 15
"""Elements of a piece below which NumPy does as well."""

SHORTEST_SEQUENCE = 1 << 10
"""Elements of an input for which Python does as well."""

DATA_TYPES = (np.dtype(np.float32), np.dtype(np.float64))
"""For which there are loops."""

CHECKED = 16 * LANES
"""Elements that are checked at once: a check in front of every row would keep the compiler from taking
several elements of the row at once."""

ANY = npt.NDArray[Any]
Loop = Callable[[ANY, ANY, ANY, float, tuple[float, ...], int, ANY, ANY], int]
"""Parameters, loss gradients (any array where there are none), result, step size, the regularizer's
parameters, position of the first element, and the lanes of each block that is touched, ``(blocks, 256)``,
of the penalty and of the squared distance. Gives the number of nonzeros, or -1 - i where it stopped
because one of the elements from i on is not finite; results are then written up to i."""


@dataclass(frozen=True, slots=True)
class Scalars:
    """A penalty's formulas for one element, in the part of Python that Numba compiles.

    Each takes the element first, ``prox`` then the step size, and last the regularizer's
    parameters in the order of its fields. They do what the array methods do, operation by operation.
    """

    term: Callable[..., float]
    """The element's term, before scale."""
    prox: Callable[..., float]
    """The proximal step."""


@dataclass(frozen=True, slots=True)
class Variant:
    """Which loop: the formulas, and what it reads and counts."""

    scalars: Scalars
    stepping: bool
    """A proximal step; else a penalty."""
    forward: bool
    """Whether there are loss gradients to step along first."""
    counting: bool
    """Whether any figure is wanted."""
    checking: bool
    """Whether to stop before an element that is not finite."""
    in_place: bool
    """Whether the result may lie where the parameters or the loss gradients do."""
    data_type: np.dtype[Any]
    parameters: int
    """How many parameters the regularizer has."""


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


def loop_for(variant: Variant, elements: int) -> Loop | None:
    """The compiled loop, if it is there and worth while for so many elements; it may be there later."""
    return requested(variant, variant.data_type, elements, _compiled)


def requested(
    variant: V, data_type: np.dtype[Any], elements: int, compile_loop: Callable[[V], Callable[..., int]]
) -> Callable[..., int] | None:
    """Likewise, for loops of any kind; `patience` says when it is compiled in the background."""
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


def _compiled(variant: Variant) -> Loop:
    import numba

    jit: Any = numba.njit
    term, prox = (_inlined(cast("FunctionType", f)) for f in (variant.scalars.term, variant.scalars.prox))
    finite = _finite_function()
    # Numba takes these for constants, so what a variant does not do is not in its loop.
    stepping, forward = variant.stepping, variant.forward
    counting, checking, in_place = variant.counting, variant.checking, variant.in_place
    rounded_to = variant.data_type.type

    def loop(
        x: ANY,
        loss_gradients: ANY,
        out: ANY,
        step_size: float,
        parameters: tuple[float, ...],
        position: int,
        penalty: ANY,
        squared_distance: ANY,
    ) -> int:
        nonzeros = 0
        begin = checked = 0
        held, held_steps = np.empty(LANES, x.dtype), np.empty(LANES, x.dtype)
        while begin < x.size:
            if checking and begin >= checked:
                checked = min(begin + CHECKED, x.size)
                if not finite(x[begin:checked]) or (forward and not finite(loss_gradients[begin:checked])):
                    return -1 - begin
            block, lane = (position + begin) // BLOCK - position // BLOCK, (position + begin) % LANES
            row = min(LANES - lane, x.size - begin)
            # Slices, so that the compiler sees plain indices and takes several lanes at once.
            olds, steps = x[begin : begin + row], loss_gradients[begin : begin + row]
            news, penalties = out[begin : begin + row], penalty[block, lane : lane + row]
            squares = squared_distance[block, lane : lane + row]
            if in_place:
                # Where reads and writes may meet, elements are taken one at a time; a copy of the row, which
                # the first cache holds, lets several be taken at once again.
                for j in range(row):
                    held[j] = olds[j]
                olds = held[:row]
                if forward:
                    for j in range(row):
                        held_steps[j] = steps[j]
                    steps = held_steps[:row]
            for j in range(row):
                old = np.float64(olds[j])
                new = old
                if stepping:
                    if forward:
                        new = old - step_size * np.float64(steps[j])
                    rounded = rounded_to(prox(new, step_size, *parameters))
                    news[j] = rounded
                    new = np.float64(rounded)
                if counting:
                    penalties[j] += term(new, *parameters)
                    nonzeros += new != 0.0
                    if stepping:
                        moved = new - old
                        squares[j] += moved * moved
            begin += row
        return nonzeros

    element = numba.from_dtype(variant.data_type)
    # Elements may stand askew: in a message they begin where the fields before them end.
    elements = numba.types.Array(element, 1, "C", readonly=True, aligned=False)
    lanes = numba.types.Array(numba.float64, 2, "C")
    floats: Any = numba.types.Tuple
    signature = numba.int64(
        elements,
        elements,
        numba.types.Array(element, 1, "C"),
        numba.float64,
        floats((numba.float64,) * variant.parameters),
        numba.int64,
        lanes,
        lanes,
    )
    compiled: Loop = jit(signature, nogil=True, error_model="numpy")(loop)
    return compiled


@cache
def _inlined(function: FunctionType) -> Any:
    """The function, compiled with those of ours that it calls: without calls, several elements go at once."""
    import numba

    jit: Any = numba.njit
    calls = {name: function.__globals__.get(name) for name in function.__code__.co_names}
    ours = {name: _inlined(call) for name, call in calls.items() if isinstance(call, FunctionType)}
    for name, call in calls.items():
        if call is np.minimum or call is np.maximum:
            # Numba's own keep several elements from going at once.
            ours[name] = jit(_minimum if call is np.minimum else _maximum, forceinline=True)
    bound = FunctionType(function.__code__, function.__globals__ | ours, function.__name__)
    return jit(bound, forceinline=True, error_model="numpy")


def _minimum(x: float, bound: float) -> float:
    return bound if bound < x else x


def _maximum(x: float, bound: float) -> float:
    return bound if bound > x else x


@cache
def _finite_function() -> Any:
    """Whether all elements are, compiled."""
    import numba

    return numba.njit(_finite)


def _finite(elements: ANY) -> bool:
    odd = 0
    for j in range(elements.size):
        odd += not np.isfinite(elements[j])
    return odd == 0
