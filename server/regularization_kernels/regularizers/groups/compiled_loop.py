"""Compiled loops for penalties of groups: what ``formulas.compiled_loop`` does for sums over elements.

A tile of whole groups at a time, small enough for the first caches, is widened to float64; its groups'
norms are found and made factors; its elements are multiplied, rounded, written and counted. The operations
and their order are those of the array methods, so the bits are, too (a test compares them).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from types import FunctionType
from typing import Any, cast

import numpy as np
import numpy.typing as npt

from ...arrays import Float64Array
from ...compilation import ANY, kept, requested
from ...formulas.compiled_loop import inlined
from ...machine_code import MachineCode, compiled
from ...summation import BLOCK, LANES
from .eights import EIGHT, fill_function, scale_function
from .measures import NORM, Measure, norms_function
from .partitions import EvenRuns, Partition, RaggedRuns

TILE = 1 << 10
"""Elements that are computed at once, where groups are no longer."""

LONGEST = 1 << 16
"""Elements of a group above which its tile would leave the cache, and NumPy does as well."""

BLOCK_BITS = BLOCK.bit_length() - 1

LESS = 1.0 - float(np.finfo(np.float64).eps)
"""What a factor is multiplied by where rounding left a norm above its limit."""

TRIALS = 65
"""How often a group is scaled at most. Its sum of squares has gone through fewer than 70 roundings, so two
norms, a quotient and two products are off by less than 40 units in the last place; every trial takes one off.
What another process writes into the elements meanwhile cannot make it more."""

GroupLoop = Callable[..., int]
"""Parameters, loss gradients (any array where there are none), result, step size, the regularizer's
parameters, the groups as ``GroupRuns`` has them, position of the first element, and the lanes of penalty and
squared distance, as ``formulas.compiled_loop.Loop`` takes them. Gives the number of nonzeros."""


def _ones(*_: Any) -> tuple[float, float]:
    """The factors of groups that are not multiplied."""
    return 1.0, 1.0


@dataclass(frozen=True, slots=True)
class GroupFormulas:
    """A penalty's formulas for one group, each stated once: NumPy takes many groups, Numba compiles them.

    Each takes the regularizer's parameters last. Between groups, ``operations.where`` chooses.
    """

    term: Callable[..., Any]
    """From the group's measure, size and weight: its term, before scale."""
    measure: Measure = NORM
    """What the term is made of."""
    factors: Callable[..., tuple[Any, Any]] = _ones
    """From norm, size, weight and step size: what the group's elements are divided by, then multiplied by."""
    step: Callable[[], Any] | None = None
    """Where there are no factors, makes what Numba compiles to a step: from values, new elements, the groups'
    ends and weights, scratch for as many values, the step size, and the regularizer's parameters as one."""
    point: Callable[..., Any] | None = None
    """From an element and the step size: the element that the norm is of, and that is multiplied."""
    element: Callable[..., Any] | None = None
    """From an element: its own term, to which that of the group is added at its first element."""
    limit: Callable[..., Any] | None = None
    """From size and weight: the norm that a group must not exceed afterwards in float64."""
    longest: int = LONGEST
    """Elements of a group above which NumPy does as well."""


@dataclass(frozen=True, slots=True)
class GroupVariant:
    """Which loop: the formulas, and what it reads and counts."""

    formulas: GroupFormulas
    stepping: bool
    """A proximal step; else a penalty."""
    forward: bool
    """Whether there are loss gradients to step along first."""
    counting: bool
    """Whether any figure is wanted."""
    data_type: np.dtype[Any]
    parameters: int
    """How many parameters the regularizer has."""


def group_loop_for(variant: GroupVariant, elements: int) -> GroupLoop | None:
    """The compiled loop, if it is there and worth while for so many elements; it may be there later."""
    return requested(variant, variant.data_type, elements, _compiled)


GroupRuns = tuple[npt.NDArray[np.int64], int, Float64Array]
"""Where runs begin and where the last ends; their size where they have one, then there are only the ends of
all; and a weight for each, or one for all."""


def runs_of(partition: Partition, elements: int, longest: int = LONGEST) -> GroupRuns | None:
    """The groups for a loop; None where they are not runs, or one is too long.

    Their ends increase from 0 to ``elements``, which is what makes them indices that a loop need not check.

    Raises:
        ValueError: If runs fill more or fewer elements.
    """
    if isinstance(partition, EvenRuns):
        edges, size = np.array([0, partition.count * partition.inner]), partition.inner
        long = size > longest
    elif isinstance(partition, RaggedRuns):
        edges, size = partition.edges, 0
        long = bool(np.max(partition.sizes(), initial=0) > longest)
    else:
        return None
    if edges[-1] != elements:
        raise ValueError(f"runs fill {edges[-1]} elements, not {elements}")
    weights = partition.weights
    of_each = np.array([weights]) if isinstance(weights, float) else np.ascontiguousarray(weights)
    return None if long else (edges, size, of_each)


@kept
def _compiled(variant: GroupVariant) -> MachineCode:
    import numba

    measure_of = variant.formulas.measure.function()
    step = _step_function(
        variant.formulas, limited=variant.formulas.limit is not None and variant.data_type == np.float64
    )
    finish = _finish_function(
        stepping=variant.stepping, counting=variant.counting, data_type=variant.data_type
    )
    add_to_lanes = _add_to_lanes_function()
    term, point, element = (
        inlined(cast("FunctionType", formula or _nothing))
        for formula in (variant.formulas.term, variant.formulas.point, variant.formulas.element)
    )
    # Numba takes these for constants, so what a variant does not do is not in its loop.
    stepping, forward, counting = variant.stepping, variant.forward, variant.counting
    pointing, adding_elements = variant.formulas.point is not None, variant.formulas.element is not None

    def loop(
        x: ANY,
        loss_gradients: ANY,
        out: ANY,
        step_size: float,
        parameters: tuple[float, ...],
        edges: ANY,
        run: int,
        weights: ANY,
        position: int,
        penalty: ANY,
        squared_distance: ANY,
    ) -> int:
        nonzeros, group, groups = 0, 0, x.size // run if run > 0 else edges.size - 1
        room = max(TILE, run)
        for k in range(edges.size - 1 if run == 0 else 0):
            room = max(room, edges[k + 1] - edges[k])
        # Of runs of one size, all tiles have the same ends.
        at_once = min(max(TILE // max(run, 1), 1), groups)
        same_ends, same_weights = np.arange(at_once + 1) * run, np.full(TILE, weights[0])
        olds, values, news = np.empty(room), np.empty(room), np.empty(room)
        scratch, norms = np.empty(2 * room + 4 * TILE), np.empty(TILE)
        while group < groups:
            if run > 0:
                last = min(group + at_once, groups)
                begin, ends = group * run, same_ends[: last - group + 1]
            else:
                last = group + 1
                while last < groups and edges[last + 1] - edges[group] <= TILE and last - group < TILE:
                    last += 1
                begin, ends = edges[group], edges[group : last + 1]
            size = ends[-1] - ends[0]
            heavy = same_weights[: last - group] if weights.size == 1 else weights[group:last]
            # Slices, so that the compiler sees plain indices and takes several elements at once.
            tile, steps, results = x[begin : begin + size], loss_gradients[begin:], out[begin : begin + size]
            old, value, new, own = olds[:size], values[:size], news[:size], scratch[:size]
            for j in range(size):
                old[j] = np.float64(tile[j])
            if stepping:
                if forward:
                    for j in range(size):
                        value[j] = old[j] - step_size * np.float64(steps[j])
                if pointing:
                    source = value if forward else old
                    for j in range(size):
                        value[j] = point(source[j], step_size, *parameters)
                if not (forward or pointing):
                    value = old
                step(value, new, ends, heavy, scratch, step_size, parameters)
            else:
                new = old
            nonzeros += finish(new, old, results, position + begin, position, squared_distance)
            if counting:
                measure_of(new, ends, norms)
                if adding_elements:
                    for j in range(size):
                        own[j] = element(new[j], *parameters)
                for k in range(last - group):
                    of_group = term(norms[k], ends[k + 1] - ends[k], heavy[k], *parameters)
                    place = position + begin + ends[k] - ends[0]
                    if adding_elements:
                        own[ends[k] - ends[0]] += of_group
                    else:
                        penalty[(place >> BLOCK_BITS) - (position >> BLOCK_BITS), place & (LANES - 1)] += (
                            of_group
                        )
                if adding_elements:
                    add_to_lanes(own, position + begin, position, penalty)
            group = last
        return nonzeros

    return compiled(loop, _signature(numba, variant))


def _nothing(*_: float) -> float:
    """In the place of a formula that a penalty has not; it is never called, but has a type."""
    return 0.0


@cache
def _step_function(formulas: GroupFormulas, *, limited: bool) -> Any:
    """Writes a tile's new elements, unrounded, from its elements and its groups' ends and weights."""
    import numba

    jit: Any = numba.njit(error_model="numpy")
    if formulas.step is not None:
        return jit(formulas.step())
    norms_of, factors_of = norms_function(), inlined(cast("FunctionType", formulas.factors))
    scale = scale_function()
    limit = inlined(cast("FunctionType", formulas.limit or _nothing))

    def divide_first(
        values: ANY, new: ANY, norms: ANY, ends: ANY, weights: ANY, step_size: float, parameters: Any
    ) -> None:
        for k in range(weights.size):
            size = ends[k + 1] - ends[k]
            divisor, factor = factors_of(norms[k], size, weights[k], step_size, *parameters)
            if divisor != 1.0:
                for j in range(ends[k] - ends[0], ends[k + 1] - ends[0]):
                    new[j] = values[j] / divisor * factor + 0.0

    def bring_inside(
        values: ANY, new: ANY, norms: ANY, ends: ANY, weights: ANY, step_size: float, parameters: Any
    ) -> None:
        reached = np.empty(weights.size)
        norms_of(new, ends, reached)
        for k in range(weights.size):
            begin, end = ends[k] - ends[0], ends[k + 1] - ends[0]
            divisor, factor = factors_of(norms[k], end - begin, weights[k], step_size, *parameters)
            for _ in range(TRIALS - 1):
                if not reached[k] > limit(end - begin, weights[k], *parameters):
                    break
                factor *= LESS
                for j in range(begin, end):
                    new[j] = values[j] / divisor * factor + 0.0
                norms_of(new[begin:end], ends[k : k + 2], reached[k : k + 1])

    divide_first, bring_inside = jit(divide_first), jit(bring_inside)

    def step(
        values: ANY, new: ANY, ends: ANY, weights: ANY, scratch: ANY, step_size: float, parameters: Any
    ) -> None:
        groups, divided = weights.size, 0
        norms, factors = scratch[:groups], scratch[TILE : TILE + groups]
        norms_of(values, ends, norms)
        for k in range(groups):
            size = ends[k + 1] - ends[k]
            divisor, factor = factors_of(norms[k], size, weights[k], step_size, *parameters)
            factors[k] = factor
            divided += divisor != 1.0
        for k in range(groups):
            begin, end = ends[k] - ends[0], ends[k + 1] - ends[0]
            whole = end - (end - begin) % EIGHT
            scale(values, begin, whole, factors[k], new)
            for j in range(whole, end):
                # Zero is added so that no zero is negative.
                new[j] = values[j] * factors[k] + 0.0
        if divided:
            divide_first(values, new, norms, ends, weights, step_size, parameters)
        if limited:
            bring_inside(values, new, norms, ends, weights, step_size, parameters)

    return jit(step)


@cache
def spread_function() -> Any:
    """A compiled function: writes to each element its group's number."""
    import numba

    fill = fill_function()

    def spread(numbers: ANY, ends: ANY, out: ANY) -> None:
        for k in range(ends.size - 1):
            begin, end = ends[k] - ends[0], ends[k + 1] - ends[0]
            whole = end - (end - begin) % EIGHT
            fill(out, begin, whole, numbers[k])
            for j in range(whole, end):
                out[j] = numbers[k]

    return numba.njit(spread)


@cache
def _finish_function(*, stepping: bool, counting: bool, data_type: np.dtype[Any]) -> Any:
    """Rounds and writes a tile's new elements, adds squared distances to their lanes; gives the nonzeros.

    From new elements, which are rounded in their place, old ones, the result's, the position of the first,
    that of the first of all, and the lanes.
    """
    import numba

    rounded_to = data_type.type

    def finish(news: ANY, olds: ANY, results: ANY, position: int, origin: int, squared_distance: ANY) -> int:
        nonzeros = begin = 0
        if not counting:
            for j in range(news.size if stepping else 0):
                results[j] = rounded_to(news[j])
            return 0
        while begin < news.size:
            place = position + begin
            block, lane = place // BLOCK - origin // BLOCK, place % LANES
            row = min(LANES - lane, news.size - begin)
            new, old = news[begin : begin + row], olds[begin : begin + row]
            if stepping:
                result, squares = results[begin : begin + row], squared_distance[block, lane : lane + row]
                for j in range(row):
                    rounded = rounded_to(new[j])
                    result[j] = rounded
                    wide = np.float64(rounded)
                    new[j] = wide
                    nonzeros += wide != 0.0
                    moved = wide - old[j]
                    squares[j] += moved * moved
            else:
                for j in range(row):
                    nonzeros += new[j] != 0.0
            begin += row
        return nonzeros

    return numba.njit(finish)


@cache
def _add_to_lanes_function() -> Any:
    """Adds a tile's terms to their lanes."""
    import numba

    def add_to_lanes(terms: ANY, position: int, origin: int, lanes: ANY) -> None:
        begin = 0
        while begin < terms.size:
            place = position + begin
            block, lane = place // BLOCK - origin // BLOCK, place % LANES
            row = min(LANES - lane, terms.size - begin)
            own, sums = terms[begin : begin + row], lanes[block, lane : lane + row]
            for j in range(row):
                sums[j] += own[j]
            begin += row

    return numba.njit(add_to_lanes)


def _signature(numba: Any, variant: GroupVariant) -> Any:
    element = numba.from_dtype(variant.data_type)
    # Elements may be unaligned: in a message they begin where the fields before them end.
    elements = numba.types.Array(element, 1, "C", readonly=True, aligned=False)
    floats = numba.types.Array(numba.float64, 1, "C")
    lanes = numba.types.Array(numba.float64, 2, "C")
    return numba.int64(
        elements,
        elements,
        numba.types.Array(element, 1, "C"),
        numba.float64,
        numba.types.Tuple((numba.float64,) * variant.parameters),
        numba.types.Array(numba.int64, 1, "C"),
        numba.int64,
        floats,
        numba.int64,
        lanes,
        lanes,
    )
