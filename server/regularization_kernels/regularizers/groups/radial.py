"""Sums over groups of a function of the norm: a step changes the norm, and keeps the direction."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any, ClassVar

import numpy as np

from ...arrays import Float64Array
from ...expansions import Exponents, norm_exponents
from ...formulas.operations import where
from ...reductions.rules import Rule
from ..elements.base import ElementRegularizer
from .base import GroupRegularizer, PreparedGroups
from .group_lasso import lengthened, write_lengthened


def factors(norm: Any, new: Any) -> tuple[float, Any]:
    """By what a group is multiplied so that its norm becomes another, at most as large."""
    return 1.0, where(new == 0.0, 0.0, new / norm)


class RadialRegularizer(GroupRegularizer):
    """A sum over groups of ``weight_g * f(norm(x_g))``.

    The nearest of all groups with one norm has the direction of x_g. So the step is that of f, a penalty of
    one number, from the norm.
    """

    __slots__ = ()

    reduces_slices: ClassVar[bool] = True

    @property
    @abstractmethod
    def of_norm(self) -> ElementRegularizer:
        """The function f, which grows with its number."""

    def group_exponents(self, x: Exponents, weights: Exponents) -> Exponents:
        """The function of the smallest norm and of the largest, times the groups' weights."""
        norms = Exponents(x.lowest - 1, norm_exponents(x).highest)
        return self.of_norm.term_exponents(norms).times(weights)

    def rule_of_slope(self, ready: PreparedGroups, norms: Float64Array) -> Rule:
        """The rule of that, of slices."""
        return lengthened(ready.partition, norms, self._lengths(ready, norms))

    def _lengths(self, ready: PreparedGroups, norms: Float64Array) -> Float64Array:
        """The slopes of the groups' weighted functions."""
        slopes = np.empty_like(norms)
        self.of_norm.gradient(norms, slopes)
        return ready.partition.times_weights(slopes)

    def slope(self, ready: PreparedGroups, x: Float64Array, out: Float64Array) -> None:
        """Write each group's direction, times the slope of its weighted function."""
        norms = ready.partition.norms(x)
        write_lengthened(ready.partition, x, norms, self._lengths(ready, norms), out)
