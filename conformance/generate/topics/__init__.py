"""All vectors, topic by topic."""

from __future__ import annotations

from collections.abc import Iterator

from ..vector import Vector
from . import (
    augmentation,
    catalogue,
    early_stopping,
    errors,
    operands,
    policies,
    results,
    rows,
    shapes,
    streams,
    whole_vectors,
)

TOPICS = (
    rows,
    shapes,
    streams,
    operands,
    results,
    whole_vectors,
    policies,
    early_stopping,
    augmentation,
    catalogue,
    errors,
)


def vectors() -> Iterator[Vector]:
    """All of them, in the order of the index."""
    for topic in TOPICS:
        yield from topic.vectors()
