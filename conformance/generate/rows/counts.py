"""Few nonzeros, or few parts that are not zero: runs, groups, tiles and blocks."""

from __future__ import annotations

import itertools
import math
import operator
from collections.abc import Callable

from mpmath import mpf

from .partitions import parts
from .row import Message, Row, Shape, Vector, of_set
from .vectors import largest, norm, share


def _counted(places: Callable[[Message, Shape], list[list[int]]]) -> Row:
    """At most so many groups that are not zero."""

    def inside(m: Message, shape: Shape, x: list[float]) -> bool:
        groups = places(m, shape)
        return sum(any(x[p] for p in each) for each in groups) <= share(m, len(groups))

    def project(m: Message, shape: Shape, x: Vector) -> Vector:
        groups = places(m, shape)
        kept = largest([norm([x[p] for p in each]) for each in groups], share(m, len(groups)))
        stay = {p for each, length in zip(groups, kept, strict=True) if length for p in each}
        return [each if p in stay else mpf(0) for p, each in enumerate(x)]

    return of_set(inside, project, convex=False)


def _blocks(m: Message, shape: Shape) -> list[list[int]]:
    rows, columns = shape[0], math.prod(shape[1:])
    return [
        [(top + row) * columns + left + column for row in range(m.rows) for column in range(m.columns)]
        for top in range(0, rows, m.rows)
        for left in range(0, columns, m.columns)
    ]


def runs(m: Message, shape: Shape) -> list[list[int]]:
    """The places of each run of m consecutive elements along the axis."""
    axis = m.axis if m.HasField("axis") else len(shape) - 1
    inner = math.prod(shape[axis + 1 :])
    lines: dict[tuple[int, int, int], list[int]] = {}
    for place in range(math.prod(shape)):
        position = place // inner % shape[axis]
        lines.setdefault((place // (inner * shape[axis]), place % inner, position // m.m), []).append(place)
    return list(lines.values())


def _run_project(m: Message, shape: Shape, x: Vector) -> Vector:
    result = list(x)
    for run in runs(m, shape):
        for place, value in zip(run, largest([x[p] for p in run], m.n), strict=True):
            result[place] = value
    return result


def _tiles(shape: Shape) -> list[list[int]]:
    inner = math.prod(shape[2:])
    return [
        [((top + row) * shape[1] + left + column) * inner + at for row in range(4) for column in range(4)]
        for top in range(0, shape[0], 4)
        for left in range(0, shape[1], 4)
        for at in range(inner)
    ]


def _few(mask: tuple[tuple[int, ...], ...], n: int) -> bool:
    return all(sum(row) <= n for row in mask) and all(sum(column) <= n for column in zip(*mask, strict=True))


def _tile_inside(n: int, v: list[float]) -> bool:
    return _few(tuple(tuple(int(each != 0) for each in v[row : row + 4]) for row in range(0, 16, 4)), n)


def _tile_project(n: int, v: Vector) -> Vector:
    choices = [row for row in itertools.product((1, 0), repeat=4) if sum(row) <= n]
    masks = (mask for mask in itertools.product(choices, repeat=4) if _few(mask, n))

    # Of the vectors' numbers no square and no sum of squares rounds.
    squares = [float(each) ** 2 for each in v]

    def kept(mask: tuple[tuple[int, ...], ...]) -> float:
        return math.fsum(map(operator.mul, squares, itertools.chain(*mask)))

    # max takes the first of equal sums, and patterns that have an earlier element come first.
    return [each * stays for each, stays in zip(v, itertools.chain(*max(masks, key=kept)), strict=True)]


def _tile_step(m: Message, shape: Shape, x: Vector) -> Vector:
    result = list(x)
    for tile in _tiles(shape):
        values = [x[p] for p in tile]
        if not _tile_inside(m.n, [float(each) for each in values]):
            for place, value in zip(tile, _tile_project(m.n, values), strict=True):
                result[place] = value
    return result


COUNTS = {
    "n_of_m": of_set(
        lambda m, shape, x: all(sum(x[p] != 0 for p in run) <= m.n for run in runs(m, shape)),
        _run_project,
        convex=False,
    ),
    "top_k_groups": _counted(lambda m, shape: [part.places for part in parts(m.groups, shape)]),
    "transposable_sparsity": of_set(
        lambda m, shape, x: all(_tile_inside(m.n, [x[p] for p in tile]) for tile in _tiles(shape)),
        _tile_step,
        convex=False,
    ),
    "block_sparsity": _counted(_blocks),
}
