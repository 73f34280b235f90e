"""Unit norms: the direction of a group is all that it may have."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from ...regularizer import Description, Locality, Traits, parameter, register
from .base import GROUPS_WORDS, Groups
from .norm_bounds import NormBoundedRegularizer


@register("unit_norm")
@dataclass(frozen=True, slots=True)
class UnitNorm(NormBoundedRegularizer):
    """0 where ``norm(x_g) == weight_g`` for every group, infinite otherwise.

    What counts as equal is told in ``NormBoundedRegularizer``. Source: Salimans and Kingma (2016), Weight
    normalization; the projection: Absil, Mahony and Sepulchre (2008), Optimization algorithms on matrix
    manifolds.
    """

    groups: Groups = parameter(None, GROUPS_WORDS)

    traits: ClassVar[Traits] = Traits(indicator=True, locality=Locality.GROUP)
    description: ClassVar[Description] = Description.of_set(
        title="norms of 1: directions alone, as of embeddings and prototypes",
        penalty="0 if norm(x_g) = weight_g for every g, infinity otherwise",
        terms="0 for a group inside, infinity outside, at the group's first element",
        prox="x_g * (weight_g / norm(x_g)); of a zero group the first element becomes weight_g",
        source="Salimans and Kingma 2016; Absil, Mahony and Sepulchre 2008",
    )

    @property
    def bounds(self) -> tuple[float, float]:
        """1 and 1."""
        return 1.0, 1.0
