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


@dataclass(frozen=True, slots=True)
class Part:
    """Where in the whole flat vector the given parameters lie, for a rank that holds only a part of it.

    The parameters, and every operand, are then vectors of the part's length, and so is the result. Of rows of
    one array, which ``rows`` is for, they are arrays.

    Both ends of a part may lie at any element of an array that is exempt, or whose regularizer works element
    by element; where a group ends; and at ends of arrays. Each element of the result has the bits that it has
    in a single call, stochastic rounding included. ``combine`` puts the figures of all parts together. Its
    sums have the bits of a single call where parts end at ends of arrays, or at multiples of 2^18 elements
    from an array's start; elsewhere they have those of the parts as they were cut: see docs/numerics.md.
    """

    shapes: Shapes
    """The shape of every array of the whole, by name and in order; or that of the only one, or its length."""

    begin: int
    """Index, in the whole vector, of the part's first element."""

    rows_of: str | None = None
    """Name of the array whose rows the parameters are, "parameters" where it has none; None where they are a
    vector."""

    @classmethod
    def rows(
        cls, shapes: Mapping[str, Sequence[int]] | Sequence[int], begin: int, of: str | None = None
    ) -> Part:
        """Return the part that is a stretch of an array's rows: of its slices along the first axis.

        So lie shards along the first axis, such as PyTorch's ``Shard(0)``. The parameters, every operand and
        the result have the whole array's shape, but for the number of rows.

        Args:
            shapes: The shape of the whole array; or of every array of the whole, by name and in order.
            begin: The first row.
            of: Which array, where they have names.

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
        if isinstance(shapes, Mapping) is (of is None):
            raise ArgumentError("of must name an array where shapes have names, and only there")
        name, row = SINGLE if of is None else of, index(begin)
        start, shape = _placed(_by_name(shapes), name)
        if not shape or not 0 <= row <= shape[0]:
            count = shape[0] if shape else 0
            raise ArgumentError(
                f"begin must be from 0 to the {count} rows of {name!r}, got {row}", segment=name
            )
        return cls(shapes, start + row * math.prod(shape[1:]), name)

    def shapes_by_name(self) -> dict[str, tuple[int, ...]]:
        """Return the shape of every array of the whole, by name and in order.

        Raises:
            ArgumentError: If a length is negative.
        """
        return _by_name(self.shapes)

    def range_of(self, parameters: npt.NDArray[Any]) -> tuple[int, int]:
        """Return where the part begins and ends in the whole vector, if these are its parameters.

        Raises:
            ArgumentError: If they are no vector, or no rows of their array, or leave the whole.
        """
        shapes, begin = self.shapes_by_name(), index(self.begin)
        end = begin + parameters.size
        if self.rows_of is not None:
            _check_rows(*_placed(shapes, self.rows_of), self.rows_of, begin, parameters.shape)
        elif parameters.ndim != 1:
            raise ArgumentError("with part, parameters must be one vector: the part's elements, row-major")
        total = sum(map(math.prod, shapes.values()))
        if begin < 0 or end > total:
            raise ArgumentError(f"part must lie in the {total} elements of the whole, got {begin} to {end}")
        return begin, end


def _check_rows(
    start: int, shape: tuple[int, ...], name: str, begin: int, parameters: tuple[int, ...]
) -> None:
    """Check that parameters of this shape are rows of an array that starts there."""
    if not parameters or parameters[1:] != shape[1:]:
        wanted = ", ".join(["rows", *map(str, shape[1:])])
        raise ArgumentError(
            f"parameters must have shape ({wanted}), as {name!r} has, got {parameters}", segment=name
        )
    row, inside = divmod(begin - start, math.prod(shape[1:]) or 1)
    if inside or row < 0 or row + parameters[0] > shape[0]:
        text = f"part must be rows of the {shape[0]} that {name!r} has, got {row} to {row + parameters[0]}"
        raise ArgumentError(text, segment=name)


def _placed(shapes: Mapping[str, tuple[int, ...]], name: str) -> tuple[int, tuple[int, ...]]:
    """Return the index of an array's first element in the whole, and its shape."""
    start = 0
    for each, shape in shapes.items():
        if each == name:
            return start, shape
        start += math.prod(shape)
    raise ArgumentError(f"there is no array {name!r} in the whole: it has {', '.join(shapes)}", segment=name)


def _by_name(shapes: Shapes) -> dict[str, tuple[int, ...]]:
    if not isinstance(shapes, Mapping):
        shapes = {SINGLE: shapes if isinstance(shapes, Sequence) else (shapes,)}
    by_name = {name: tuple(map(index, shape)) for name, shape in shapes.items()}
    for name, shape in by_name.items():
        if any(length < 0 for length in shape):
            raise ArgumentError(f"lengths of {name!r} must be >= 0, got {shape}", segment=name)
    return by_name
