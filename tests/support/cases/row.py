"""What a row of the table of cases says, and a case of it."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray
from regularization_kernels.errors import RegularizationError

from tests.support.oracles.groupings import partition
from tests.support.oracles.minimizers import Array, Formula, Oracle, total
from tests.support.oracles.summation import Rule

Certificate = Callable[[Any, Array, Array], float]
"""How far a slope is from the subdifferential at a point: 0 where it belongs to it."""


@dataclass(frozen=True)
class Rejected:
    """A construction, or a regularizer on a shape, that must fail."""

    error: type[RegularizationError]
    field: str | None
    build: Callable[[], Any]
    shape: tuple[int, ...] | None = None

    @property
    def label(self) -> str:
        """A name for the test's id."""
        return f"{self.error.__name__}-{self.field}"


@dataclass(frozen=True)
class Row:
    """What is true of one regularizer."""

    name: str
    terms: Formula
    oracle: Oracle
    certificate: Certificate
    rule: Rule
    instances: dict[str, tuple[Any, tuple[int, ...]]]
    rejected: tuple[Rejected, ...] = ()
    onto_domain: Callable[[Any, Array], Array] = lambda _, x: x
    """The nearest point where the penalty is finite, for a row that is no indicator."""
    with_gradient: Callable[[Any, Array], Array] | None = None
    """A point near that has a gradient, for a row that is no indicator; None where every point has one."""
    outside: Callable[[Any, Array], Array] | None = None
    """A point off an indicator's set, made from one in it; None where one huge element will do."""
    parts: Callable[[Any, tuple[int, ...]], list[NDArray[np.int64]]] = lambda r, shape: partition(
        r.groups, shape
    )
    """Positions of each group's elements, of a row of locality GROUP."""
    unordered: Callable[[Any, tuple[int, ...]], list[NDArray[np.int64]]] | None = None
    """Positions of elements whose order does not matter, where that is not each of the parts."""
    accuracy: float = 1.0
    """By how much more than rounding errors a step may be off; above 1 for steps that are iterated."""
    matrix: bool = False
    """Whether it takes matrices alone."""


@dataclass(frozen=True)
class Map:
    """What the tables need of a regularizer that is a map, and has no penalty for the laws to be about."""

    name: str
    instances: dict[str, tuple[Any, tuple[int, ...]]]
    rejected: tuple[Rejected, ...] = ()


@dataclass(frozen=True)
class Case:
    """One regularizer with its parameters, on a segment of one shape."""

    label: str
    regularizer: Any
    shape: tuple[int, ...]
    row: Row = field(repr=False)

    @cached_property
    def ready(self) -> Any:
        """The regularizer made ready for the shape."""
        return self.regularizer.on(self.shape)

    @property
    def size(self) -> int:
        """Number of elements."""
        return math.prod(self.shape)

    def penalty(self, x: Array) -> float:
        """The documented penalty."""
        return total(self.row.terms(self.regularizer, np.asarray(x, dtype=np.float64).reshape(self.shape)))
