"""Cases of the table with other parameters and shapes, and elements and steps for them, drawn at random."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
from hypothesis import strategies as st
from regularization_kernels import (
    BlockSparsity,
    Box,
    Grid,
    Groups,
    GroupScad,
    L1Ball,
    L2Ball,
    Levels,
    MinMaxNorm,
    NOfM,
    Oscar,
    PositiveSemidefinite,
    Quantization,
    RankBall,
    Scad,
    Simplex,
    Slope,
    Stiefel,
    TopK,
    TopKGroups,
    TotalVariation2d,
    TransposableSparsity,
    TreeGroupLasso,
    TrendFilter,
    UnitNorm,
)

from tests.support.cases import Case, Row
from tests.support.inputs import AnyArray
from tests.support.oracles.groupings import partition

Shape = tuple[int, ...]
Draw = Callable[[st.SearchStrategy[Any]], Any]
Chosen = tuple[Any, Shape]
"""A regularizer, and the shape it is tried on."""

LINES = {"total_variation", "fused_lasso", "isotonic"}
"""Rows of neighbours along an axis that may be chosen."""
NEAR = 2.0**-10
FEW = np.array([0.0, 1.0, -1.0, 2.0, -2.0, 0.5, -0.5, 3.0, 1.0 + NEAR, NEAR - 1.0])
"""Values that tie with each other, and are at and on both sides of a threshold when multiplied by it."""
SCALES = (1e-30, 1e-6, 1.0, 1e6, 1e30)
WIDE = 6
"""Decades by which elements of one vector differ at most, either way."""
LONGEST_SIDE = 5


def powers(low: float, high: float) -> st.SearchStrategy[float]:
    """Positive numbers, evenly spread over the decades."""
    return st.floats(low, high).map(lambda exponent: 10.0**exponent)


def strengths() -> st.SearchStrategy[float]:
    """Of a penalty, or a radius: nothing, something round, or anything."""
    return st.sampled_from([0.0, 0.25, 1.0]) | powers(-3, 3)


def concavities(regularizer: Any) -> st.SearchStrategy[float]:
    """Of MCP, or of SCAD, whose are above 2."""
    if isinstance(regularizer, Scad | GroupScad):
        return st.sampled_from([3.0, 3.7]) | powers(-3, 2).map(lambda number: 2.0 + number)
    return powers(-2, 2)


def shapes(least: int = 0) -> st.SearchStrategy[Shape]:
    """Of one to three axes and at most 24 elements."""
    line = st.tuples(st.integers(least, 24))
    table = st.tuples(st.integers(least, 4), st.integers(least, 6))
    block = st.tuples(st.integers(least, 2), st.integers(least, 3), st.integers(least, 4))
    return line | table | block


def matrices(least: int = 0) -> st.SearchStrategy[Shape]:
    """Wide, tall, square, and without a row or column."""
    side = st.integers(least, LONGEST_SIDE)
    return st.tuples(side, side)


@st.composite
def folded(draw: Draw, rows: int, columns: int) -> tuple[Shape, int | None]:
    """A shape that is this matrix, and the axis that its rows are along."""
    factor = draw(st.sampled_from([n for n in (1, 2, 3) if columns % n == 0]))
    shape, axis = draw(
        st.sampled_from(
            [
                ((rows, columns), None),
                ((columns, rows), 1),
                ((rows, factor, columns // factor), None),
                ((factor, rows, columns // factor), 1),
                ((factor, columns // factor, rows), 2),
            ]
        )
    )
    return shape, axis


@st.composite
def step_sizes(draw: Draw, case: Case) -> float:
    """Nothing, anything, and the numbers at which a formula of the case has its branches."""
    own = [n for number in numbers_of(case.regularizer) for n in (number, number - 1) if 1e-6 <= n <= 1e6]
    size: float = draw(st.sampled_from([0.0, 1.0, *own]) | powers(-6, 6) | powers(-2, 2))
    return size


def numbers_of(regularizer: Any) -> list[float]:
    """The parameters that are numbers; of several strengths, the largest."""
    values = [getattr(regularizer, field.name) for field in dataclasses.fields(regularizer)]
    parts = [number for value in values if isinstance(value, Oscar | Levels) for number in numbers_of(value)]
    firsts = [value[0] for value in values if isinstance(value, tuple) and value]
    return [*parts, *(float(value) for value in (*values, *firsts) if isinstance(value, int | float))]


@st.composite
def elements(
    draw: Draw, case: Case, dtype: Any, step_size: float = 1.0, scales: tuple[float, ...] = SCALES
) -> AnyArray:
    """A vector of ties, of anything, of many sizes, or of subnormals; mostly of sizes that steps change."""
    kind = draw(st.sampled_from(["ties", "numbers", "decades", "subnormals"]))
    natural = draw(st.sampled_from([True, True, False]))
    scale = draw(st.sampled_from(borders(case, step_size) if natural else scales))
    if kind == "subnormals" and not natural:
        scale = float(np.finfo(dtype).smallest_subnormal)
    if kind in ("ties", "subnormals"):
        values = FEW[_integers(draw, case.size, np.uint8) % FEW.size]
    else:
        values = _integers(draw, case.size, np.int32) / 2**29
    if kind == "decades":
        values = values * 10.0 ** (_integers(draw, case.size, np.int8) % (2 * WIDE + 1) - WIDE)
    return (values * scale).reshape(case.shape).astype(dtype)


@st.composite
def starts(draw: Draw, case: Case, dtype: Any, scales: tuple[float, ...] = SCALES) -> tuple[AnyArray, float]:
    """Elements to make a step from, and its size."""
    step_size = draw(step_sizes(case))
    return draw(elements(case, dtype, step_size, scales)), step_size


def borders(case: Case, step_size: float) -> list[float]:
    """Sizes of elements near which a step of this size does one thing or another."""
    traits = case.regularizer.traits
    if traits.separable and not traits.convex and step_size > 0:
        return [1.0, last_where(case, step_size, 0.0), last_where(case, step_size, 1.0, equal=False)]
    numbers = [number for number in numbers_of(case.regularizer) if number > 0]
    return [1.0, *numbers, *(number * step_size for number in numbers if step_size > 0)]


def last_where(case: Case, step_size: float, multiple: float, *, equal: bool = True) -> float:
    """Up to which size of an element its step is that multiple of it, or is not."""
    low, high = 1e-12, 1e12
    element, out = np.empty(1), np.empty(1)
    for _ in range(60):
        element[0] = math.sqrt(low * high)
        case.regularizer.prox(element, step_size, out)
        if (out[0] == multiple * element[0]) == equal:
            low = element[0]
        else:
            high = element[0]
    return low


def _integers(draw: Draw, count: int, dtype: Any) -> AnyArray:
    # One draw for all of them, which is faster than one for each.
    drawn: bytes = draw(st.binary(min_size=count * dtype().itemsize, max_size=count * dtype().itemsize))
    return np.frombuffer(drawn, dtype).astype(np.int64)


class Drawn(Case):
    """A case that an example shows in one line."""

    def _repr_pretty_(self, printer: Any, cycle: bool) -> None:
        printer.text(f"{self.regularizer!r} on {self.shape}")


@st.composite
def cases(draw: Draw, row: Row) -> Case:
    """The row's regularizer with parameters, groups and a shape of all kinds."""
    first = next(iter(row.instances.values()))[0]
    if row.name in OWN:
        regularizer, shape = draw(OWN[row.name]())
    elif getattr(first, "groups", None) is not None:
        regularizer, shape = draw(grouped(first))
    elif row.matrix:
        shape, axis = draw(folded(*draw(matrices())))
        regularizer = dataclasses.replace(draw(with_numbers(first)), axis=axis)
    elif row.name in LINES:
        regularizer, shape = draw(with_numbers(first)), draw(shapes())
        orders = [{}, {"decreasing": True}] if row.name == "isotonic" else [{}]
        axis = draw(st.none() | st.integers(0, len(shape) - 1))
        regularizer = dataclasses.replace(regularizer, axis=axis, **draw(st.sampled_from(orders)))
    else:
        regularizer, shape = draw(with_numbers(first)), draw(shapes())
    return Drawn(row.name, regularizer, shape, row)


@st.composite
def with_numbers(draw: Draw, regularizer: Any) -> Any:
    """The regularizer with other numbers: each field is a strength, a radius or a width."""
    fields = dataclasses.fields(regularizer)
    numbers = [field.name for field in fields if isinstance(getattr(regularizer, field.name), float)]
    widths = {"delta", "epsilon"}
    drawn = {name: draw(powers(-3, 3) if name in widths else strengths()) for name in numbers}
    if "concavity" in drawn:
        drawn["concavity"] = draw(concavities(regularizer))
    return dataclasses.replace(regularizer, **drawn)


@st.composite
def grouped(draw: Draw, regularizer: Any) -> Chosen:
    """The regularizer with other numbers and groups, and a shape that these fit."""
    kind = draw(st.sampled_from(["size", "sizes", "axis"]))
    shape: Shape
    if kind == "size":
        size, count = draw(st.integers(1, 6)), draw(st.integers(0, 4))
        shape, groups = (count * size,), {"size": size}
    elif kind == "sizes":
        sizes = tuple(draw(st.lists(st.integers(1, 6), max_size=4)))
        shape, count, groups = (sum(sizes),), len(sizes), {"sizes": sizes}
    else:
        shape = draw(shapes())
        axis = draw(st.integers(0, len(shape) - 1))
        count, groups = shape[axis], {"axis": axis}
    weights = st.lists(st.sampled_from([1.0, 0.0, 0.5, 3.0]), min_size=count, max_size=count).map(tuple)
    weighting = draw(st.sampled_from([{}, {"sqrt_size": True}]) | st.fixed_dictionaries({"weights": weights}))
    numbers = regularizer if isinstance(regularizer, MinMaxNorm) else draw(with_numbers(regularizer))
    return dataclasses.replace(numbers, groups=Groups(**groups, **weighting)), shape


@st.composite
def _box(draw: Draw) -> Chosen:
    number = st.sampled_from([0.0, -1.0, 0.5]) | st.floats(-100, 100)
    lower, upper = sorted(draw(st.tuples(number, number)))
    bounds = [{"lower": lower}, {"upper": upper}, {"lower": lower, "upper": upper}]
    return Box(**draw(st.sampled_from(bounds))), draw(shapes())


@st.composite
def _levels(draw: Draw) -> Levels:
    if draw(st.booleans()):
        offset = draw(st.none() | st.floats(-100, 100))
        return Levels(step=draw(st.sampled_from([0.25, 1.0]) | powers(-3, 3)), offset=offset)
    # Numbers of float32, which rounds explicit levels.
    numbers = draw(st.lists(st.floats(-100, 100, width=32), min_size=1, max_size=20, unique=True))
    return Levels(explicit=tuple(sorted(numbers)))


@st.composite
def _grid(draw: Draw) -> Chosen:
    return Grid(levels=draw(_levels())), draw(shapes())


@st.composite
def _quantization(draw: Draw) -> Chosen:
    return Quantization(strength=draw(strengths()), levels=draw(_levels())), draw(shapes())


@st.composite
def _unit_norm(draw: Draw) -> Chosen:
    return draw(grouped(UnitNorm(groups=Groups(size=1))).filter(has_no_empty_groups))


@st.composite
def _min_max_norm(draw: Draw) -> Chosen:
    lower, upper = sorted(draw(st.tuples(strengths(), strengths())))
    row = MinMaxNorm(lower=0.0, upper=1.0, groups=Groups(size=1))
    chosen, shape = draw(grouped(row).filter(has_no_empty_groups))
    return dataclasses.replace(chosen, lower=lower, upper=upper), shape


def has_no_empty_groups(chosen: Chosen) -> bool:
    """Whether each group of a regularizer has an element, which it needs to have a norm."""
    regularizer, shape = chosen
    return all(part.size for part in partition(regularizer.groups, shape))


@st.composite
def _n_of_m(draw: Draw) -> Chosen:
    m, shape = draw(st.integers(1, 6)), draw(st.lists(st.integers(0, 3), min_size=1, max_size=3))
    axis = draw(st.none() | st.integers(0, len(shape) - 1))
    shape[-1 if axis is None else axis] *= m
    return NOfM(n=draw(st.integers(0, m)), m=m, axis=axis), tuple(shape)


@st.composite
def _block_sparsity(draw: Draw) -> Chosen:
    rows, columns = draw(st.tuples(st.integers(1, 3), st.integers(1, 3)))
    high, wide = draw(st.tuples(st.integers(0, 3), st.integers(0, 3)))
    shape = draw(st.sampled_from([(high * rows, wide * columns), (high * rows, wide, columns)]))
    count = draw(st.integers(0, high * wide))
    return BlockSparsity(count=count, rows=rows, columns=columns), shape


@st.composite
def _transposable_sparsity(draw: Draw) -> Chosen:
    rows, columns = draw(st.tuples(st.integers(0, 2), st.integers(0, 2)))
    rest = draw(st.sampled_from([(), (2,), (1, 3), (0,)]))
    return TransposableSparsity(n=draw(st.integers(0, 4))), (4 * rows, 4 * columns, *rest)


@st.composite
def _ball(draw: Draw, kind: Any) -> Chosen:
    if draw(st.booleans()):
        return kind(radius=draw(strengths())), draw(shapes())
    return draw(grouped(kind(radius=1.0, groups=Groups(size=1))))


@st.composite
def _simplex(draw: Draw) -> Chosen:
    if draw(st.booleans()):
        return Simplex(radius=draw(strengths())), draw(shapes(least=1))
    return draw(grouped(Simplex(radius=1.0, groups=Groups(size=1))).filter(has_no_empty_groups))


@st.composite
def unweighted(draw: Draw) -> tuple[Groups, Shape]:
    """Groups without weights, and a shape that they fit."""
    chosen, shape = draw(grouped(UnitNorm(groups=Groups(size=1))))
    return dataclasses.replace(chosen.groups, sqrt_size=None, weights=None), shape


@st.composite
def _top_k(draw: Draw) -> Chosen:
    groups, shape = draw(unweighted()) if draw(st.booleans()) else (None, draw(shapes()))
    if draw(st.booleans()):
        return TopK(fraction=draw(st.floats(0, 1)), groups=groups), shape
    sizes = [math.prod(shape)] if groups is None else [part.size for part in partition(groups, shape)]
    return TopK(count=draw(st.integers(0, min(sizes, default=0))), groups=groups), shape


@st.composite
def _top_k_groups(draw: Draw) -> Chosen:
    groups, shape = draw(unweighted())
    if draw(st.booleans()):
        return TopKGroups(fraction=draw(st.floats(0, 1)), groups=groups), shape
    count = draw(st.integers(0, len(partition(groups, shape))))
    return TopKGroups(count=count, groups=groups), shape


@st.composite
def _tree_group_lasso(draw: Draw) -> Chosen:
    sizes = draw(st.lists(st.integers(1, 3), max_size=8))
    ends = np.cumsum([0, *sizes]).tolist()
    levels = []
    for _ in range(draw(st.integers(1, 4))):
        count = len(ends) - 1
        weights = draw(
            st.none() | st.lists(st.sampled_from([1.0, 0.0, 0.5, 3.0]), min_size=count, max_size=count)
        )
        runs = tuple(np.diff(ends).tolist())
        levels.append(Groups(sizes=runs, weights=None if weights is None else tuple(weights)))
        ends = [end for end in ends if end in (0, ends[-1]) or draw(st.booleans())]
    return TreeGroupLasso(strength=draw(strengths()), nested_groups=tuple(levels)), (sum(sizes),)


@st.composite
def _slope(draw: Draw) -> Chosen:
    shape = draw(shapes())
    if draw(st.booleans()):
        return Slope(oscar=Oscar(draw(strengths()), draw(strengths()))), shape
    size = math.prod(shape)
    values = FEW[_integers(draw, size, np.uint8) % FEW.size] * draw(strengths())
    return Slope(strengths=tuple(sorted(np.abs(values).tolist(), reverse=True))), shape


@st.composite
def _trend_filter(draw: Draw) -> Chosen:
    return TrendFilter(strength=draw(strengths()), order=draw(st.integers(0, 5))), draw(shapes())


@st.composite
def _rank_ball(draw: Draw) -> Chosen:
    sides = draw(matrices())
    shape, axis = draw(folded(*sides))
    return RankBall(rank=draw(st.integers(0, min(sides))), axis=axis), shape


@st.composite
def _stiefel(draw: Draw) -> Chosen:
    columns = draw(st.integers(0, LONGEST_SIDE))
    shape, axis = draw(folded(draw(st.integers(max(columns, 1), LONGEST_SIDE)), columns))
    return Stiefel(axis=axis), shape


@st.composite
def _positive_semidefinite(draw: Draw) -> Chosen:
    side = draw(st.integers(0, LONGEST_SIDE))
    return PositiveSemidefinite(), (side, side)


@st.composite
def _total_variation_2d(draw: Draw) -> Chosen:
    shape = (
        draw(matrices())
        if draw(st.booleans())
        else (2, *draw(st.tuples(st.integers(0, 3), st.integers(0, 4))))
    )
    return TotalVariation2d(strength=draw(strengths())), shape


OWN: dict[str, Callable[[], st.SearchStrategy[Chosen]]] = {
    "box": _box,
    "grid": _grid,
    "quantization": _quantization,
    "n_of_m": _n_of_m,
    "transposable_sparsity": _transposable_sparsity,
    "block_sparsity": _block_sparsity,
    "unit_norm": _unit_norm,
    "min_max_norm": _min_max_norm,
    "l1_ball": partial(_ball, L1Ball),
    "l2_ball": partial(_ball, L2Ball),
    "simplex": _simplex,
    "top_k": _top_k,
    "top_k_groups": _top_k_groups,
    "tree_group_lasso": _tree_group_lasso,
    "slope": _slope,
    "trend_filter": _trend_filter,
    "rank_ball": _rank_ball,
    "stiefel": _stiefel,
    "total_variation_2d": _total_variation_2d,
    "positive_semidefinite": _positive_semidefinite,
}
"""Rows whose parameters have ranges of their own, or must fit the shape."""
