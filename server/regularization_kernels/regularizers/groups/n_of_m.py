"""N:M sparsity: few nonzero elements in each short run."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from typing import ClassVar

import numpy as np

from ...arrays import Float64Array, StepSize
from ...errors import FieldOutOfRange, GradientUndefined, GroupsInvalid
from ...regularizer import Description, Locality, Traits, register
from ...summation import BlockSum
from .base import PartitionedRegularizer
from .compiled_loop import GroupScalars
from .partitions import EvenRuns, Partition
from .selections import Measure, Selection

_LONGEST = 64
"""Elements of a run above which a loop that compares each with each other is slower than a sort."""


def _term(nonzeros: float, size: int, weight: float, n: float, m: float) -> float:
    if nonzeros != nonzeros:
        return nonzeros
    return np.inf if nonzeros > n else 0.0


@register("n_of_m")
@dataclass(frozen=True, slots=True)
class NOfM(PartitionedRegularizer):
    """0 where each run of m consecutive elements has at most n that are not 0, infinite otherwise.

    Prox: the n largest magnitudes of each run stay, of equal ones the first, whatever the step size.
    Gradient: 0 inside, undefined outside. A run with a NaN, and one outside that has an infinity, becomes
    NaN altogether: which of its elements are the largest is not known, or nothing is nearest.

    Args:
        n: How many may stay, 0 <= n <= m.
        m: Length of a run, >= 1; it divides the segment's length.

    Raises:
        FieldOutOfRange: If m < 1, or n is not in [0, m].

    Source: Mishra et al. (2021), Accelerating sparse deep neural networks.
    """

    n: int
    m: int

    scalars: ClassVar[GroupScalars | None] = GroupScalars(
        term=_term, measure=Measure.NONZEROS, selection=Selection.KEEP_LARGEST, longest=_LONGEST
    )
    traits: ClassVar[Traits] = Traits(
        convex=False,
        separable=False,
        smooth=False,
        positively_homogeneous=True,
        indicator=True,
        locality=Locality.GROUP,
    )
    description: ClassVar[Description] = Description(
        title="2:4 sparsity, and n of m in general, which hardware multiplies fast",
        penalty="0 if each run of m consecutive elements has at most n that are not 0, infinity otherwise",
        terms="0 for a run inside, infinity outside, at the run's first element",
        gradient="0 inside, undefined outside",
        prox="the n largest magnitudes of each run stay, of equal ones the first; the others become 0",
        parameters={
            "n": "0 <= n <= m",
            "m": ">= 1, divides the segment's length",
        },
        source="Mishra et al. 2021",
    )

    def __post_init__(self) -> None:
        """Check the parameters."""
        if self.m < 1:
            raise FieldOutOfRange(f"must be >= 1, got {self.m}", field="m")
        if not 0 <= self.n <= self.m:
            raise FieldOutOfRange(f"must be within [0, m = {self.m}], got {self.n}", field="n")

    @property
    def scalar_parameters(self) -> tuple[float, ...]:
        """Both numbers."""
        return float(self.n), float(self.m)

    @property
    def scale(self) -> float:
        """1: a set has no strength."""
        return 1.0

    def partition_in(self, shape: tuple[int, ...]) -> Partition:
        """Runs of m elements.

        Raises:
            GroupsInvalid: If m does not divide the segment's length.
        """
        elements = prod(shape)
        if elements % self.m:
            text = f"must divide the segment's {elements} elements, got {self.m}"
            raise GroupsInvalid(text, field="m")
        return EvenRuns(elements // self.m, self.m)

    def workspace(self, elements: int) -> int:
        """Magnitudes, the same in order, and counts."""
        return 4 * elements

    def add_terms(self, x: Float64Array, sums: BlockSum, position: int = 0) -> None:
        """Add 0 for a run inside, infinity outside, NaN where it has one, at its first element."""
        rows = x.reshape(-1, self.m)
        terms = np.where(self._outside(rows), np.inf, 0.0)
        terms[np.isnan(rows).any(axis=1)] = np.nan
        sums.add_at(position + np.arange(len(rows), dtype=np.int64) * self.m, terms)

    def gradient(self, x: Float64Array, out: Float64Array) -> None:
        """Write 0, or NaN in a run with one.

        Raises:
            GradientUndefined: If a run is outside, naming its first element.
        """
        rows = x.reshape(-1, self.m)
        broken = np.isnan(rows).any(axis=1)
        outside = self._outside(rows) & ~broken
        if outside.any():
            run = int(np.argmax(outside))
            text = (
                f"must have at most {self.n} nonzero elements in a run of {self.m} to have a gradient, "
                f"got {np.count_nonzero(rows[run])}"
            )
            raise GradientUndefined(text, element=run * self.m)
        out.reshape(-1, self.m)[...] = np.where(broken, np.nan, 0.0)[:, np.newaxis]

    def prox(self, x: Float64Array, step_size: StepSize, out: Float64Array) -> None:
        """Write the n largest magnitudes of each run, 0 for the others."""
        del step_size
        rows = x.reshape(-1, self.m)
        lost = np.isnan(rows).any(axis=1) | (np.isinf(rows).any(axis=1) & self._outside(rows))
        kept = _largest(np.abs(rows), self.n)
        results = out.reshape(-1, self.m)
        np.copyto(results, np.where(kept, rows, 0.0))
        results[lost] = np.nan

    def _outside(self, rows: Float64Array) -> np.ndarray[tuple[int], np.dtype[np.bool_]]:
        nonzeros: np.ndarray[tuple[int], np.dtype[np.int64]] = np.add.reduce(
            rows != 0, axis=1, dtype=np.int64
        )
        return nonzeros > self.n


def _largest(magnitudes: Float64Array, count: int) -> np.ndarray[tuple[int, int], np.dtype[np.bool_]]:
    """Which of each row are among its ``count`` largest, of equal ones the first."""
    length = magnitudes.shape[1]
    if count in (0, length):
        return np.full(magnitudes.shape, count == length)
    least = np.partition(magnitudes, length - count, axis=1)[:, length - count, np.newaxis]
    kept = magnitudes > least
    ties = magnitudes == least
    room = count - np.add.reduce(kept, axis=1, dtype=np.int64)
    kept |= ties & (np.add.accumulate(ties, axis=1, dtype=np.int64) <= room[:, np.newaxis])
    return kept
