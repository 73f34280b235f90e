"""How a segment is cut into groups, and each group's weight."""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass

from .row import Message, Shape


@dataclass(frozen=True)
class Part:
    """A group: the places of its elements, in order, and its weight."""

    places: list[int]
    weight: float


def parts(groups: Message, shape: Shape) -> list[Part]:
    """The groups of a segment."""
    count = math.prod(shape)
    partition = groups.WhichOneof("partition")
    if partition == "axis":
        inner = math.prod(shape[groups.axis + 1 :])
        slices = shape[groups.axis]
        places = [[p for p in range(count) if p // inner % slices == index] for index in range(slices)]
    else:
        sizes = [groups.size] * (count // groups.size) if partition == "size" else groups.sizes.values
        ends = list(itertools.accumulate(sizes))
        places = [list(range(end - size, end)) for size, end in zip(sizes, ends, strict=True)]
    if groups.WhichOneof("weighting") == "weights":
        weights = list(groups.weights.values)
    else:
        weights = [math.sqrt(len(each)) if groups.sqrt_size else 1.0 for each in places]
    return [Part(each, weight) for each, weight in zip(places, weights, strict=True)]


def interleave(groups: Message, shape: Shape) -> bool:
    """Whether slices along the axis have others between their elements."""
    return groups.WhichOneof("partition") == "axis" and any(length > 1 for length in shape[: groups.axis])
