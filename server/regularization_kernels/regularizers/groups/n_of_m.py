"""N:M sparsity: few nonzero elements in each short run."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from math import prod
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from ...arrays import Float64Array, StepSize
from ...compilation import ANY
from ...errors import FieldOutOfRange, GradientUndefined, GroupsInvalid
from ...regularizer import Description, Locality, Range, Traits, parameter, register
from ..elements.operations import where
from .base import PartitionedRegularizer, PreparedGroups
from .compiled_loop import GroupFormulas
from .measures import Measure, each_group
from .partitions import EvenRuns, Partition

_LONGEST = 64
"""Elements of a run above which a loop that compares each with each other is slower than a sort."""


def _nonzeros(groups: Partition, x: Float64Array) -> Float64Array:
    """How many of each run are not 0; NaN where one is NaN."""
    rows = x.reshape(groups.count, x.size // max(groups.count, 1))
    counts: Float64Array = np.add.reduce(rows != 0, axis=1, dtype=np.float64)
    counts[np.isnan(rows).any(axis=1)] = np.nan
    return counts


@cache
def _nonzeros_function() -> Any:
    import numba

    def nonzeros(values: ANY, begin: int, count: int) -> float:
        some = unknown = 0
        for j in range(begin, begin + count):
            some += values[j] != 0.0
            unknown += values[j] != values[j]
        return float(np.nan if unknown else float(some))

    return each_group(numba.njit(error_model="numpy", forceinline=True)(nonzeros))


def _term(nonzeros: Any, size: Any, weight: Any, n: float, m: float) -> Any:
    return where(nonzeros != nonzeros, nonzeros, where(nonzeros > n, np.inf, 0.0))


def _keep_largest_function() -> Any:
    import numba

    four = numba.njit(error_model="numpy", forceinline=True)(_keep_of_four)

    def keep_largest(
        values: ANY, new: ANY, ends: ANY, weights: ANY, scratch: ANY, step_size: float, parameters: Any
    ) -> None:
        kept, unusual = parameters[0], 0
        for j in range(values.size):
            unusual += not np.isfinite(values[j])
        for k in range(weights.size):
            begin, count = ends[k] - ends[0], ends[k + 1] - ends[k]
            if count == 4:
                four(values, new, begin, kept)
                continue
            before = scratch[:count]
            before[:] = 0.0
            for i in range(count):
                magnitude, larger = abs(values[begin + i]), 0.0
                for j in range(i + 1, count):
                    # Of equal ones the first stays.
                    beats = 1.0 if abs(values[begin + j]) > magnitude else 0.0
                    larger += beats
                    before[j] += 1.0 - beats
                before[i] += larger
            for j in range(count):
                new[begin + j] = values[begin + j] if before[j] < kept else 0.0
        if unusual:
            for k in range(weights.size):
                begin, end = ends[k] - ends[0], ends[k + 1] - ends[0]
                unknown = infinite = some = 0
                for j in range(begin, end):
                    unknown += values[j] != values[j]
                    infinite += np.isinf(values[j])
                    some += values[j] != 0.0
                if unknown > 0 or (infinite > 0 and some > kept):
                    new[begin:end] = np.nan

    return keep_largest


def _keep_of_four(values: ANY, new: ANY, begin: int, kept: float) -> None:
    """Each of the six pairs is compared once: of equal ones the first stays."""
    a, b, c, d = values[begin], values[begin + 1], values[begin + 2], values[begin + 3]
    u, v, w, x = abs(a), abs(b), abs(c), abs(d)
    vu, wu, xu, wv, xv, xw = int(v > u), int(w > u), int(x > u), int(w > v), int(x > v), int(x > w)
    new[begin] = a if vu + wu + xu < kept else 0.0
    new[begin + 1] = b if 1 - vu + wv + xv < kept else 0.0
    new[begin + 2] = c if 2 - wu - wv + xw < kept else 0.0
    new[begin + 3] = d if 3 - xu - xv - xw < kept else 0.0


@register("n_of_m")
@dataclass(frozen=True, slots=True)
class NOfM(PartitionedRegularizer):
    """0 where each run of m consecutive elements has at most n that are not 0, infinite otherwise.

    A run with a NaN, and one outside that has an infinity, becomes NaN altogether: which of its elements are
    the largest is not known, or nothing is nearest. Source: Mishra et al. (2021), Accelerating sparse deep
    neural networks.
    """

    n: int = parameter(None, "0 <= n <= m")
    m: int = parameter(Range(">= 1", lambda m: m >= 1, whole=True), "divides the segment's length")

    formulas: ClassVar[GroupFormulas] = GroupFormulas(
        _term, measure=Measure(_nonzeros, _nonzeros_function), step=_keep_largest_function, longest=_LONGEST
    )
    traits: ClassVar[Traits] = Traits(positively_homogeneous=True, indicator=True, locality=Locality.GROUP)
    description: ClassVar[Description] = Description.of_set(
        title="2:4 sparsity, and n of m in general, which hardware multiplies fast",
        penalty="0 if each run of m consecutive elements has at most n that are not 0, infinity otherwise",
        terms="0 for a run inside, infinity outside, at the run's first element",
        prox="the n largest magnitudes of each run stay, of equal ones the first; the others become 0",
        source="Mishra et al. 2021",
    )

    def __post_init__(self) -> None:
        """Check the parameters."""
        PartitionedRegularizer.__post_init__(self)
        if not 0 <= self.n <= self.m:
            raise FieldOutOfRange(f"must be within [0, m = {self.m}], got {self.n}", field="n")

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

    def slope(self, ready: PreparedGroups, x: Float64Array, out: Float64Array) -> None:
        """Write 0, or NaN in a run with one.

        Raises:
            GradientUndefined: If a run is outside, naming its first element.
        """
        nonzeros = _nonzeros(ready.partition, x)
        if (nonzeros > self.n).any():
            run = int(np.argmax(nonzeros > self.n))
            text = (
                f"must have at most {self.n} nonzero elements in a run of {self.m} to have a gradient, "
                f"got {int(nonzeros[run])}"
            )
            raise GradientUndefined(text, element=run * self.m)
        out.reshape(-1, self.m)[...] = np.where(np.isnan(nonzeros), np.nan, 0.0)[:, np.newaxis]

    def step(self, ready: PreparedGroups, x: Float64Array, step_size: StepSize, out: Float64Array) -> None:
        """Write the n largest magnitudes of each run, 0 for the others."""
        del step_size
        nonzeros, rows = _nonzeros(ready.partition, x), x.reshape(-1, self.m)
        lost = np.isnan(nonzeros) | (np.isinf(rows).any(axis=1) & (nonzeros > self.n))
        kept = _largest(np.abs(rows), self.n)
        results = out.reshape(-1, self.m)
        np.copyto(results, np.where(kept, rows, 0.0))
        results[lost] = np.nan


def _largest(magnitudes: Float64Array, count: int) -> npt.NDArray[np.bool_]:
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
