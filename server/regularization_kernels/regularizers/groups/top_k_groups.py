"""The k largest groups: structured sparsity of a given count."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import numpy.typing as npt

from ...arrays import FLOAT64, DataType, Float64Array, StepSize
from ...errors import GradientUndefined
from ...interruption import go_on
from ...regularizer import Description, Locality, Traits, parameter, register
from ...summation import BlockSum
from ..vectors.counts import CountOrFraction
from .base import GroupRegularizer, Groups, PreparedGroups, without_weights


@register("top_k_groups")
@dataclass(frozen=True, slots=True, kw_only=True)
class TopKGroups(CountOrFraction, GroupRegularizer):
    """0 where at most ``count`` groups, or a fraction of them, are not zero, infinite otherwise.

    Cost: O(n). Source: Blumensath and Davies (2009), Iterative hard thresholding for compressed sensing;
    Baraniuk, Cevher, Duarte and Hegde (2010), Model-based compressive sensing.
    """

    count: int | None = parameter(
        None, "how many may stay, k; >= 0, at most the number of groups; this or fraction", default=None
    )
    fraction: float | None = parameter(
        None,
        "which part of the n groups may stay, from 0 to 1, k = floor(fraction * n + 1/2); in place of count",
        default=None,
    )
    groups: Groups = parameter(None, "which elements form a group, without weights")

    traits: ClassVar[Traits] = Traits(
        positively_homogeneous=True, indicator=True, keeps_zeros=True, locality=Locality.SEGMENT
    )
    description: ClassVar[Description] = Description.of_set(
        title="structured pruning: a given count, or share, of rows, channels or other groups stays",
        penalty="0 if at most k groups have an element that is not 0, infinity otherwise",
        prox="the k groups of largest norm, of equal ones the first; 0 elsewhere",
        source="Blumensath and Davies 2009; Baraniuk et al. 2010",
    )

    def __post_init__(self) -> None:
        """Check the parameters."""
        CountOrFraction.__post_init__(self)
        without_weights(self.groups)

    @property
    def locality(self) -> Locality:
        """SEGMENT: groups are compared with each other."""
        return Locality.SEGMENT

    def on(self, shape: tuple[int, ...], data_type: DataType = FLOAT64) -> PreparedGroups:
        """The set made ready for a segment of this shape.

        Raises:
            GroupsInvalid: If the groups do not fit it.
            FieldOutOfRange: If it has fewer groups than may stay.
        """
        groups = self.partition_in(shape)
        self.check_total(groups.count, "groups")
        return _PreparedCount(self, groups, data_type)

    def workspace(self, elements: int) -> int:
        """The squares, the same in the order of the groups, and numbers of groups."""
        return 4 * elements

    def slope(self, ready: PreparedGroups, x: Float64Array, out: Float64Array) -> None:
        """Write 0, or NaN where x has one.

        Raises:
            GradientUndefined: If x is outside.
        """
        groups, norms = ready.partition, ready.partition.norms(x)
        most, nonzeros = self.most(groups.count), _nonzeros(norms)
        if nonzeros > most:
            raise GradientUndefined(
                f"must have at most {most} groups that are not zero to have a gradient, got {nonzeros}",
                element=0,
            )
        out.fill(math.nan if math.isnan(nonzeros) else 0.0)

    def step(self, ready: PreparedGroups, x: Float64Array, step_size: StepSize, out: Float64Array) -> None:
        """Write the largest groups, and 0 elsewhere."""
        del step_size
        groups, norms = ready.partition, ready.partition.norms(x)
        most, nonzeros = self.most(groups.count), _nonzeros(norms)
        go_on()
        if nonzeros <= most:
            np.copyto(out, x)
        elif not np.isfinite(x).all():
            out.fill(math.nan)
        else:
            # As a number times 0 may be a negative zero, 0 is added.
            groups.apply(np.multiply, x, _largest(norms, most).astype(np.float64), out)
            out += 0.0


@dataclass(frozen=True, slots=True)
class _PreparedCount(PreparedGroups):
    """How many of a segment's groups may stay."""

    regularizer: TopKGroups

    def add_terms(self, x: Float64Array, sums: BlockSum, position: int = 0) -> None:
        """Add 0 inside, infinity outside, NaN where there is one, at the place of the first element."""
        if not x.size:
            return
        nonzeros = _nonzeros(self.partition.norms(x))
        term = math.inf if nonzeros > self.regularizer.most(self.partition.count) else 0.0 * nonzeros
        sums.add_at(np.array([position]), np.array([term]))


def _nonzeros(norms: Float64Array) -> float:
    """How many groups are not zero; NaN where one is NaN."""
    return math.nan if np.isnan(norms).any() else float(np.count_nonzero(norms))


def _largest(norms: Float64Array, count: int) -> npt.NDArray[np.bool_]:
    """Which are among the ``count`` largest, of equal ones the first; there are more than these."""
    if not count:
        return np.zeros(norms.size, np.bool_)
    least = np.partition(norms, norms.size - count)[norms.size - count]
    kept: npt.NDArray[np.bool_] = norms > least
    kept[np.flatnonzero(norms == least)[: count - np.count_nonzero(kept)]] = True
    return kept
