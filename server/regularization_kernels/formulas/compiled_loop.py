"""Compiled loops for penalties that are sums over elements: one pass over memory, figures included.

NumPy takes a pass for each operation; a loop that Numba compiles takes one for all of them, at the
speed of memory, and holds no lock meanwhile. It computes the same float64 operations in the same
order, so results and sums are the same to the bit (a test compares them): which one works is a
matter of speed alone.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache
from types import FunctionType
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from ..compilation import ANY, kept, requested
from ..formats import INCREMENT, Conversion, conversion, mixed
from ..machine_code import MachineCode, compiled
from ..summation import BLOCK, LANES
from . import operations

if TYPE_CHECKING:
    from ..arrays import Float64Array
    from ..prepared import Pass

CHECKED = 16 * LANES
"""Elements that are checked at once: a check in front of every row would keep the compiler from taking
several elements of the row at once."""

Loop = Callable[..., int]
"""Parameters, loss gradients (any array where there are none), result, step size, the regularizer's
parameters, position of the first element, and the lanes of each block that is touched, ``(blocks, 256)``,
of the penalty and of the squared distance; of neighbours where each begins and the last one ends,
``(n + 1,)``, which of them to take, in their order, and the counts of nonzeros of each, ``(n,)``, all int64;
where it rounds at random, the first element's state, too. Gives the number of nonzeros, or -1 - i where it
stopped because one of the elements from i on is not finite; results are then written up to i."""

_INCREMENT = np.uint64(INCREMENT)


@dataclass(frozen=True, slots=True)
class Variant:
    """Which loop: the formulas, and what it reads and counts."""

    term: Callable[..., Any]
    """The formula of an element's term."""
    step: Callable[..., Any]
    """That of its proximal step."""
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
    at_random: bool
    """Whether results are rounded at random; else to nearest."""
    data_type: np.dtype[Any]
    parameters: int
    """How many parameters the regularizer has."""
    neighbours: bool = False
    """Whether the elements are those of several short segments, each of which has lanes and a count."""
    looking_up: bool = False
    """Whether the step has a figure of the element's group in front of the parameters."""

    @classmethod
    def of(cls, wanted: Pass, term: Callable[..., Any], step: Callable[..., Any], parameters: int) -> Variant:
        """The loop that does what a pass is to do, by these formulas of so many parameters."""
        return cls(
            term=term,
            step=step,
            stepping=wanted.stepping,
            forward=wanted.forward,
            counting=wanted.counting,
            checking=wanted.checking,
            in_place=wanted.in_place,
            at_random=wanted.at_random,
            data_type=wanted.data_type,
            parameters=parameters,
            neighbours=wanted.neighbours,
        )


@dataclass(frozen=True, slots=True, eq=False)
class LookedUp:
    """A figure for each group, of groups that follow each other again and again."""

    figures: Float64Array
    """``(count,)``; one at least."""
    inner: int = 1
    """How many consecutive elements a group has before the next group's follow, >= 1."""


_NOTHING = LookedUp(np.zeros(1))


def loop_for(variant: Variant, elements: int, looked_up: LookedUp | None = None) -> Loop | None:
    """The compiled loop, if it is there and worth while for so many elements; it may be there later.

    Args:
        variant: Which.
        elements: How many.
        looked_up: Figures of groups for the step, by an element's position; None for none.
    """
    if looked_up is not None:
        variant = replace(variant, looking_up=True)
    loop = requested(variant, variant.data_type, elements, _compiled)
    if loop is None:
        return None
    figures = looked_up or _NOTHING
    own: tuple[Any, ...] = (np.ascontiguousarray(figures.figures), figures.inner)
    if not variant.at_random:
        own = (0, *own)
    return _on_elements(loop, conversion(variant.data_type).stored, own)


@kept
def _compiled(variant: Variant) -> MachineCode:
    import numba

    form = conversion(variant.data_type)
    term, step, read, to_nearest, rounded_at_random, random_bits = (
        inlined(cast("FunctionType", f))
        for f in (variant.term, variant.step, form.read, form.to_nearest, form.at_random, mixed)
    )
    finite, numbers = _finite_function(form), form.numbers
    # Numba takes these for constants, so what a variant does not do is not in its loop.
    stepping, forward = variant.stepping, variant.forward
    counting, checking, in_place = variant.counting, variant.checking, variant.in_place
    at_random, looking_up = variant.at_random, variant.looking_up
    jit: Any = numba.njit
    look_up = jit(_look_up)
    # As wide as what a comparison gives: numbers come from float32, or they are float64.
    counter: Any = np.int32 if form.stored in (np.float32, np.uint16) else np.int64

    def loop(
        x: ANY,
        loss_gradients: ANY,
        out: ANY,
        step_size: float,
        parameters: tuple[float, ...],
        position: int,
        penalty: ANY,
        squared_distance: ANY,
        state: Any,
        figures: ANY,
        inner: int,
    ) -> int:
        nonzeros = 0
        begin = checked = 0
        of_groups = np.empty(LANES if looking_up else 0)
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
            if looking_up:
                look_up(figures, inner, position + begin, of_groups[:row])
            count = counter(0)
            for j in range(row):
                old = read(olds[j], *numbers)
                new = old
                if stepping:
                    if forward:
                        new = old - step_size * read(steps[j], *numbers)
                    if looking_up:
                        new = step(new, step_size, of_groups[j], *parameters)
                    else:
                        new = step(new, step_size, *parameters)
                    if at_random:
                        bits = random_bits(state + np.uint64(begin + j) * _INCREMENT)
                        news[j], new = rounded_at_random(new, bits, *numbers)
                    else:
                        news[j], new = to_nearest(new, *numbers)
                if counting:
                    penalties[j] += term(new, *parameters)
                    count = counter(count + counter(new != 0.0))
                    if stepping:
                        moved = new - old
                        squares[j] += moved * moved
            nonzeros += count
            begin += row
        return nonzeros

    if variant.neighbours:
        return compiled(_of_neighbours(loop), _signature(numba, variant, form))
    return compiled(loop, _signature(numba, variant, form))


def _of_neighbours(loop: Callable[..., int]) -> Callable[..., Any]:
    """The loop over several segments, one after the other, by the loop over one; for Numba."""
    import numba

    jit: Any = numba.njit(error_model="numpy")
    of_one = jit(loop)

    def neighbours(
        x: ANY,
        loss_gradients: ANY,
        out: ANY,
        step_size: float,
        parameters: tuple[float, ...],
        position: int,
        penalty: ANY,
        squared_distance: ANY,
        edges: ANY,
        chosen: ANY,
        nonzeros: ANY,
        state: Any,
        figures: ANY,
        inner: int,
    ) -> Any:
        total = 0
        for segment in chosen:
            begin, end = edges[segment], edges[segment + 1]
            if end > begin:
                count = of_one(
                    x[begin:end],
                    loss_gradients[begin:end],
                    out[begin:end],
                    step_size,
                    parameters,
                    position if segment == 0 else 0,
                    penalty[segment : segment + 1],
                    squared_distance[segment : segment + 1],
                    state + np.uint64(begin) * _INCREMENT,
                    figures,
                    inner,
                )
                if count < 0:
                    return count - begin
                nonzeros[segment] += count
                total += count
        return total

    return neighbours


def _look_up(figures: ANY, inner: int, position: int, out: ANY) -> None:
    """Write the figures of the groups of consecutive elements; for Numba."""
    group, within, done = (position // inner) % figures.size, position % inner, 0
    while done < out.size:
        if inner == 1:
            size = min(figures.size - group, out.size - done)
            for j in range(size):
                out[done + j] = figures[group + j]
            group += size
        else:
            size = min(inner - within, out.size - done)
            for j in range(size):
                out[done + j] = figures[group]
            group, within = group + 1, 0
        done += size
        if group == figures.size:
            group = 0


def _on_elements(loop: Callable[..., int], stored: Any, own: tuple[Any, ...]) -> Loop:
    """A loop that takes arrays of elements, and a state only where it rounds at random."""

    def on_elements(x: ANY, loss_gradients: ANY, out: ANY, *rest: Any) -> int:
        return loop(x.view(stored), loss_gradients.view(stored), out.view(stored), *rest, *own)

    return on_elements


def _signature(numba: Any, variant: Variant, form: Conversion) -> Any:
    element = numba.from_dtype(form.stored)
    # Elements may be unaligned: in a message they begin where the fields before them end.
    elements = numba.types.Array(element, 1, "C", readonly=True, aligned=False)
    lanes = numba.types.Array(numba.float64, 2, "C")
    counts = numba.types.Array(numba.int64, 1, "C")
    return numba.int64(
        elements,
        elements,
        numba.types.Array(element, 1, "C"),
        numba.float64,
        numba.types.Tuple((numba.float64,) * variant.parameters),
        numba.int64,
        lanes,
        lanes,
        *((counts, counts, counts) if variant.neighbours else ()),
        numba.uint64,
        numba.types.Array(numba.float64, 1, "C"),
        numba.int64,
    )


@cache
def inlined(function: FunctionType) -> Any:
    """A formula, compiled with what it is made of: without calls, several elements go at once."""
    import numba

    jit: Any = numba.njit
    names = {name: function.__globals__.get(name) for name in function.__code__.co_names}
    ours: dict[str, Any] = {}
    for name, value in names.items():
        twin = _twin_of(value)
        if twin is not None:
            ours[name] = jit(twin, forceinline=True, error_model="numpy")
        elif isinstance(value, FunctionType):
            ours[name] = inlined(value)
    bound = FunctionType(function.__code__, function.__globals__ | ours, function.__name__)
    return jit(bound, forceinline=True, error_model="numpy")


def _twin_of(operation: Any) -> Callable[..., Any] | None:
    """What Numba compiles in the place of an operation: its own keep several elements from going at once."""
    return next((twin for known, twin in _TWINS if operation is known), None)


def _minimum(x: float, bound: float) -> float:
    return bound if bound < x else x


def _maximum(x: float, bound: float) -> float:
    return bound if bound > x else x


def _clip(x: float, lower: float, upper: float) -> float:
    raised = lower if x < lower else x
    return upper if raised > upper else raised


def _where(condition: bool, one: float, other: float) -> float:
    return one if condition else other


def _is_zero(number: float) -> bool:
    return number == 0.0


def _sign(x: float) -> float:
    # NaN stays, and so does a zero's sign. One choice alone lets several elements go at once.
    magnitude = abs(x)
    return math.copysign(1.0 if magnitude > 0.0 else magnitude, x)


def _bits_of(x: float) -> Any:
    return np.float64(x).view(np.int64)


def _number_of(bits: int) -> Any:
    return np.int64(bits).view(np.float64)


_TWINS: tuple[tuple[Any, Callable[..., Any]], ...] = (
    (operations.minimum, _minimum),
    (operations.maximum, _maximum),
    (operations.sign, _sign),
    (operations.clip, _clip),
    (operations.where, _where),
    (operations.is_zero, _is_zero),
    (operations.bits_of, _bits_of),
    (operations.number_of, _number_of),
)


@cache
def _finite_function(form: Conversion) -> Any:
    """Whether all elements are finite, compiled."""
    import numba

    jit: Any = numba.njit
    is_finite = inlined(cast("FunctionType", form.is_finite))

    def finite(elements: ANY) -> Any:
        odd = np.int32(0)  # narrow, so that many elements go at once
        for j in range(elements.size):
            odd = np.int32(odd + np.int32(not is_finite(elements[j])))
        return odd == 0

    return jit(finite)
