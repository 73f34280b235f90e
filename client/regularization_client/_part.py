"""Where in a larger whole the arrays of a call lie."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from operator import index
from typing import Any

import numpy.typing as npt

from ._errors import ArgumentError

SINGLE = "parameters"
"""The segment name of an array that was given without one."""

Shapes = Mapping[str, Sequence[int]] | Sequence[int] | int
"""The shape of every array of a whole, by name and in order; that of the only one, or its length."""

Ends = tuple[int, int]
"""Begin and end, in the whole vector."""


@dataclass(frozen=True, slots=True)
class Part:
    """Where in the whole flat vector the given parameters lie, for a rank that holds only a part of it.

    The parameters, and every operand, are then vectors of the part's length, and so is the result; or they
    are arrays of rows, which ``rows`` is for.

    A part may begin and end at any element of an array that is exempt, or whose regularizer works element by
    element; where a group ends; and at ends of arrays. Each element of the result has the bits that it has in
    a single call, stochastic rounding included. ``combine`` puts the figures of all parts together. Its sums
    have the bits of a single call where parts end at ends of arrays, or at multiples of 2^18 elements from an
    array's start; elsewhere they have those of the parts as they were cut: see docs/numerics.md.
    """

    shapes: Shapes
    """The shape of every array of the whole, by name and in order; or that of the only one, or its length."""

    begin: int = 0
    """Index, in the whole vector, of the part's first element; not for rows."""

    first_rows: Mapping[str, int] | None = None
    """Of each array that the part has rows of, the first, by name; None where it is a vector."""

    @classmethod
    def rows(
        cls,
        shapes: Mapping[str, Sequence[int]] | Sequence[int],
        begin: Mapping[str, int] | int,
    ) -> Part:
        """Return the part that is a stretch of rows: of an array's slices along the first axis.

        So lie shards along the first axis, such as PyTorch's ``Shard(0)``. The parameters, every operand and
        the result have the whole array's shape, but for the number of rows. They may be rows of several
        arrays, as a mapping; each is then sent as a call of its own, which takes about a millisecond.

        Args:
            shapes: The shape of the whole array; or of every array of the whole, by name and in order.
            begin: The first row; or that of every array that there are rows of, by name.

        Raises:
            ArgumentError: If there is no such array, or it has no such row.

        Example:
            >>> import numpy as np
            >>> from regularization_client import Client, GroupLasso, Groups, Part
            >>> shard, rule = np.full((2, 4), 0.5), GroupLasso(strength=0.5, groups=Groups(axis=0))
            >>> with Client() as client:
            ...     part = Part.rows((6, 4), begin=2)
            ...     client.proximal_step(shard, rule, step_size=1.0, part=part).parameters
            array([[0.25, 0.25, 0.25, 0.25],
                   [0.25, 0.25, 0.25, 0.25]])
        """
        if isinstance(shapes, Mapping) is not isinstance(begin, Mapping):
            raise ArgumentError("begin must be by name where shapes are, and only there")
        first_rows = begin if isinstance(begin, Mapping) else {SINGLE: begin}
        part = cls(shapes, first_rows={name: index(row) for name, row in first_rows.items()})
        whole = part.shapes_by_name()
        for name, row in part.first_rows.items() if part.first_rows else ():
            shape = _shape(whole, name)
            count = shape[0] if shape else 1
            if not 0 <= row <= count:
                text = f"begin must be from 0 to the {count} rows of {name!r}, got {row}"
                raise ArgumentError(text, segment=name)
        return part

    def shapes_by_name(self) -> dict[str, tuple[int, ...]]:
        """Return the shape of every array of the whole, by name and in order.

        Raises:
            ArgumentError: If a length is negative.
        """
        shapes = self.shapes
        if not isinstance(shapes, Mapping):
            shapes = {SINGLE: shapes if isinstance(shapes, Sequence) else (shapes,)}
        by_name = {name: tuple(map(index, shape)) for name, shape in shapes.items()}
        for name, shape in by_name.items():
            if any(length < 0 for length in shape):
                raise ArgumentError(f"lengths of {name!r} must be >= 0, got {shape}", segment=name)
        return by_name

    def ranges_of(self, arrays: Mapping[str, npt.NDArray[Any]]) -> dict[str, Ends]:
        """Return where in the whole vector each array lies, by its name and in the order of the whole.

        Args:
            arrays: The parameters, by name; one without a name under that which it is given.

        Raises:
            ArgumentError: If they are no vector, or no rows of their arrays, or leave the whole.
        """
        shapes = self.shapes_by_name()
        if self.first_rows is None:
            return {SINGLE: self._range_of(shapes, arrays)}
        for name in arrays:
            if name not in self.first_rows:
                raise ArgumentError(f"part must say which rows of {name!r} these are", segment=name)
            _shape(shapes, name)
        ranges, start = {}, 0
        for name, shape in shapes.items():
            if name in arrays:
                ranges[name] = _rows(start, shape, name, self.first_rows[name], arrays[name].shape)
            start += math.prod(shape)
        return ranges

    def _range_of(
        self, shapes: Mapping[str, tuple[int, ...]], arrays: Mapping[str, npt.NDArray[Any]]
    ) -> Ends:
        if list(arrays) != [SINGLE] or arrays[SINGLE].ndim != 1:
            raise ArgumentError("with part, parameters must be one vector: the part's elements, row-major")
        total, begin = sum(map(math.prod, shapes.values())), index(self.begin)
        end = begin + arrays[SINGLE].size
        if begin < 0 or end > total:
            raise ArgumentError(f"part must lie in the {total} elements of the whole, got {begin} to {end}")
        return begin, end


def _rows(start: int, shape: tuple[int, ...], name: str, first: int, given: tuple[int, ...]) -> Ends:
    """Return where rows of an array lie, whose first element stands at ``start``."""
    if len(given) != len(shape) or given[1:] != shape[1:]:
        wanted = ", ".join(["rows", *map(str, shape[1:])]) if shape else ""
        text = f"parameters must have shape ({wanted}), as {name!r} has, got {given}"
        raise ArgumentError(text, segment=name)
    count, rows = (shape[0], given[0]) if shape else (1, 1)
    first = index(first)
    if not 0 <= first <= first + rows <= count:
        text = f"part must be rows of the {count} that {name!r} has, got {first} to {first + rows}"
        raise ArgumentError(text, segment=name)
    row = math.prod(shape[1:])
    return start + first * row, start + (first + rows) * row


def _shape(shapes: Mapping[str, tuple[int, ...]], name: str) -> tuple[int, ...]:
    if name not in shapes:
        text = f"there is no array {name!r} in the whole: it has {', '.join(shapes)}"
        raise ArgumentError(text, segment=name)
    return shapes[name]
