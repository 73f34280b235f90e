"""The k largest groups: structured sparsity of a given count."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from ...regularizer import Description, Locality, Traits, parameter, register
from ..vectors.counts import CountOrFraction
from .base import GroupRegularizer, Groups, without_weights
from .counted import CountedGroups


@register("top_k_groups")
@dataclass(frozen=True, slots=True, kw_only=True)
class TopKGroups(CountedGroups, GroupRegularizer):
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
