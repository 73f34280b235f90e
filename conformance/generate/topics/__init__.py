"""All vectors, topic by topic."""

from __future__ import annotations

from collections.abc import Iterator

from ..vector import Vector
from . import catalogue, errors, operands, policies, results, rows, shapes, streams, whole_vectors


def vectors() -> Iterator[Vector]:
    """All of them, in the order of the index."""
    for topic in (rows, shapes, streams, operands, results, whole_vectors, policies, catalogue, errors):
        yield from topic.vectors()
