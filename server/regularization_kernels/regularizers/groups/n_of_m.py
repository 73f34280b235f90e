"""N:M sparsity: few nonzero elements in each short run."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache, partial
from math import prod
from typing import Any, ClassVar, cast

import numpy as np

from ...arrays import Float64Array, StepSize
from ...compilation import ANY
from ...errors import FieldOutOfRange, GradientUndefined, GroupsInvalid
from ...formulas.operations import where
from ...regularizer import Description, Locality, Range, Traits, parameter, register
from .base import PartitionedRegularizer, PreparedGroups
from .comparisons import FOUR, keep_largest_of_four_function
from .compiled_loop import GroupFormulas
from .eights import EIGHT, Term
from .interleaved_runs import InterleavedRuns
from .largest import nearest_with_nonzeros, nonzeros_in
from .measures import Measure, of_groups_function
from .partitions import EvenRuns, Partition

_SHORT = 16
"""Elements of a run up to which a network of comparisons is compiled for its length."""

_LONGEST = 64
"""Elements of a run above which a loop that compares each with each other is slower than a sort."""


def _nonzeros(groups: Partition, x: Float64Array) -> Float64Array:
    """How many of each run are not 0; NaN where one is NaN."""
    return nonzeros_in(_in_rows(groups, x)).reshape(-1)


def _in_rows(groups: Partition, values: Float64Array) -> Float64Array:
    """A view of the elements with a run along the last axis."""
    return cast("EvenRuns | InterleavedRuns", groups).in_rows(values)


@cache
def _nonzeros_function() -> Any:
    import numba

    by_eights = of_groups_function(Term.NONZERO)

    def nonzeros(values: ANY, ends: ANY, out: ANY) -> None:
        runs = ends.size - 1
        size = values.size // runs
        if size % EIGHT == 0:
            by_eights(values, ends, out)
            return
        for k in range(runs):
            some = unknown = 0
            for j in range(k * size, (k + 1) * size):
                some += values[j] != 0.0
                unknown += values[j] != values[j]
            out[k] = np.nan if unknown else float(some)

    return numba.njit(error_model="numpy")(nonzeros)


def _term(nonzeros: Any, size: Any, weight: Any, n: float, m: float) -> Any:
    return where(nonzeros != nonzeros, nonzeros, where(nonzeros > n, np.inf, 0.0))


@cache
def _formulas_of(size: int) -> GroupFormulas:
    """The formulas of runs: a loop of its own for those that are short."""
    step = partial(_keep_largest_function, size)
    return GroupFormulas(_term, measure=Measure(_nonzeros, _nonzeros_function), step=step, longest=_LONGEST)


def _keep_largest_function(size: int) -> Any:
    import numba

    jit: Any = numba.njit(error_model="numpy")
    four = keep_largest_of_four_function(size)
    any_runs, lose = jit(_keep_of_runs), jit(_lose_unknown)

    def keep_largest(
        values: ANY, new: ANY, ends: ANY, weights: ANY, scratch: ANY, step_size: float, parameters: Any
    ) -> None:
        runs, kept, unusual, done = weights.size, parameters[0], 0, 0
        for j in range(values.size):
            unusual += not np.isfinite(values[j])
        if size > 0:
            while done + FOUR <= runs:
                four(values, new, done * size, np.int64(kept))
                done += FOUR
        if done < runs:
            begin = done * (values.size // runs)
            any_runs(values[begin:], new[begin:], runs - done, kept, scratch)
        if unusual:
            lose(values, new, runs, kept)

    return keep_largest


def _keep_of_runs(values: ANY, new: ANY, runs: int, kept: float, scratch: ANY) -> None:
    """Each pair is compared once, of all runs side by side; what at least n others are before has to go."""
    size = values.size // runs
    magnitudes, before = scratch[: values.size], scratch[values.size : 2 * values.size]
    for k in range(runs):
        for j in range(size):
            magnitudes[j * runs + k] = abs(values[k * size + j])
    for j in range(size):
        before[j * runs : (j + 1) * runs] = j
    for i in range(size):
        one, before_one = magnitudes[i * runs : (i + 1) * runs], before[i * runs : (i + 1) * runs]
        for j in range(i + 1, size):
            other, before_other = magnitudes[j * runs : (j + 1) * runs], before[j * runs : (j + 1) * runs]
            for k in range(runs):
                beats = 1.0 if other[k] > one[k] else 0.0
                before_one[k] += beats
                before_other[k] -= beats
    for k in range(runs):
        for j in range(size):
            new[k * size + j] = values[k * size + j] if before[j * runs + k] < kept else 0.0


def _lose_unknown(values: ANY, new: ANY, runs: int, kept: float) -> None:
    """Writes NaN where it is not known which are the largest, or nothing is nearest."""
    size = values.size // runs
    for k in range(runs):
        unknown = infinite = some = 0
        for j in range(k * size, (k + 1) * size):
            unknown += values[j] != values[j]
            infinite += np.isinf(values[j])
            some += values[j] != 0.0
        if unknown > 0 or (infinite > 0 and some > kept):
            new[k * size : (k + 1) * size] = np.nan


@register("n_of_m")
@dataclass(frozen=True, slots=True)
class NOfM(PartitionedRegularizer):
    """0 where each run of m elements along an axis has at most n that are not 0, infinite otherwise.

    Runs do not go beyond the end of the axis. A run with a NaN, and one outside that has an infinity, becomes
    NaN altogether: which of its elements are the largest is not known, or nothing is nearest. Source: Mishra
    et al. (2021), Accelerating sparse deep neural networks.
    """

    n: int = parameter(None, "0 <= n <= m")
    m: int = parameter(Range(">= 1", lambda m: m >= 1, whole=True), "divides the axis's length")
    axis: int | None = parameter(
        None, "that runs go along, >= 0 and below the number of axes; the last unless given", default=None
    )

    traits: ClassVar[Traits] = Traits(
        positively_homogeneous=True, indicator=True, keeps_zeros=True, locality=Locality.GROUP
    )
    description: ClassVar[Description] = Description.of_set(
        title="2:4 sparsity, and n of m in general, which hardware multiplies fast",
        penalty="0 if each run of m elements along the axis has at most n that are not 0, infinity otherwise",
        terms="0 for a run inside, infinity outside, at the run's first element",
        prox="the n largest magnitudes of each run stay, of equal ones the first; the others become 0",
        source="Mishra et al. 2021",
    )

    def __post_init__(self) -> None:
        """Check the parameters."""
        PartitionedRegularizer.__post_init__(self)
        if not 0 <= self.n <= self.m:
            raise FieldOutOfRange(f"must be within [0, m = {self.m}], got {self.n}", field="n")
        if self.axis is not None and self.axis < 0:
            raise FieldOutOfRange(f"must be >= 0, got {self.axis}", field="axis")

    @property
    def formulas(self) -> GroupFormulas:  # type: ignore[override] # of an instance: they depend on m
        """Those for one run."""
        return _formulas_of(self.m if self.m <= _SHORT else 0)

    def partition_in(self, shape: tuple[int, ...]) -> Partition:
        """Runs of m elements along the axis; a scalar is one element along its only one.

        Raises:
            GroupsInvalid: If there is no such axis, or m does not divide its length.
        """
        if self.axis is not None and self.axis >= len(shape):
            text = f"must be below the segment's {len(shape)} axes, got {self.axis}"
            raise GroupsInvalid(text, field="axis")
        lengths = shape or (1,)
        axis = len(lengths) - 1 if self.axis is None else self.axis
        if lengths[axis] % self.m:
            text = f"must divide the {lengths[axis]} elements along axis {axis}, got {self.m}"
            raise GroupsInvalid(text, field="m")
        # Around an axis of length 0 the others may have any lengths, and their product too many digits.
        blocks, inner = prod(lengths[: axis + 1]) // self.m, prod(lengths[axis + 1 :])
        if blocks == 0 or inner == 0:
            return EvenRuns(0, 1)  # the length of no run may be any
        return EvenRuns(blocks, self.m) if inner == 1 else InterleavedRuns(blocks, self.m, inner)

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
            raise GradientUndefined(text, element=int(ready.partition.starts()[run]))
        out.fill(0.0)
        ready.partition.apply(np.multiply, out, np.where(np.isnan(nonzeros), np.nan, 1.0), out)

    def step(self, ready: PreparedGroups, x: Float64Array, step_size: StepSize, out: Float64Array) -> None:
        """Write the n largest magnitudes of each run, 0 for the others."""
        del step_size
        results = _in_rows(ready.partition, out)
        np.copyto(results, nearest_with_nonzeros(_in_rows(ready.partition, x), self.n))
