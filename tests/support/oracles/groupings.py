"""Which elements form a group and what a group's norm is multiplied by, from the documentation."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import numpy as np
from numpy.typing import NDArray
from regularization_kernels import Groups


def partition(groups: Groups, shape: tuple[int, ...]) -> list[NDArray[np.int64]]:
    """Positions of each group's elements in the flat segment."""
    positions = np.arange(math.prod(shape), dtype=np.int64)
    if groups.axis is not None:
        return [np.take(positions.reshape(shape), k, groups.axis).ravel() for k in range(shape[groups.axis])]
    sizes = (
        groups.sizes if groups.sizes is not None else (groups.size,) * (positions.size // (groups.size or 1))
    )
    ends = np.cumsum(np.array(sizes, dtype=np.int64))
    return [positions[end - size : end] for size, end in zip(sizes, ends, strict=True)]


def interleave(groups: Groups, shape: tuple[int, ...]) -> bool:
    """Whether groups are slices along an axis that has longer ones than 1 before it."""
    return groups.axis is not None and math.prod(shape[: groups.axis]) > 1


def group_weights(groups: Groups, parts: list[NDArray[np.int64]]) -> list[float]:
    """The weight of each group's norm."""
    if groups.weights is not None:
        return [float(weight) for weight in groups.weights]
    return [math.sqrt(part.size) if groups.sqrt_size else 1.0 for part in parts]


def weighted_groups(regularizer: Any, shape: tuple[int, ...]) -> list[tuple[float, NDArray[np.int64]]]:
    """Each group's weight, and the positions of its elements."""
    parts = partition(regularizer.groups, shape)
    return list(zip(group_weights(regularizer.groups, parts), parts, strict=True))


def sets_of(regularizer: Any, shape: tuple[int, ...]) -> list[tuple[Any, NDArray[np.int64]]]:
    """What a set asks for: of all elements, or of each group by itself, with a radius of its own."""
    if regularizer.groups is None:
        return [(regularizer, np.arange(math.prod(shape), dtype=np.int64))]
    own = [
        {"radius": regularizer.radius * weight} if hasattr(regularizer, "radius") else {}
        for weight, _ in weighted_groups(regularizer, shape)
    ]
    parts = partition(regularizer.groups, shape)
    return [
        (dataclasses.replace(regularizer, groups=None, **fields), part)
        for fields, part in zip(own, parts, strict=True)
    ]
