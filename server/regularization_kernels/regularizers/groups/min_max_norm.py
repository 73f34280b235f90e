"""Norms between two bounds: groups that neither vanish nor grow."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from ...errors import FieldOutOfRange
from ...regularizer import NOT_NEGATIVE, Description, Locality, Traits, parameter, register
from .base import GROUPS_WORDS, Groups
from .norm_bounds import NormBoundedRegularizer


@register("min_max_norm")
@dataclass(frozen=True, slots=True)
class MinMaxNorm(NormBoundedRegularizer):
    """0 where ``weight_g * lower <= norm(x_g) <= weight_g * upper`` for every group, infinite otherwise.

    What counts as inside is told in ``NormBoundedRegularizer``. Source: Chollet et al. (2015), Keras; the
    projection: Absil, Mahony and Sepulchre (2008), Optimization algorithms on matrix manifolds.
    """

    lower: float = parameter(NOT_NEGATIVE, "units of x", symbol="the least norm")
    upper: float = parameter(NOT_NEGATIVE, "not below lower; units of x", symbol="the largest norm")
    groups: Groups = parameter(None, GROUPS_WORDS)

    traits: ClassVar[Traits] = Traits(indicator=True, locality=Locality.GROUP)
    description: ClassVar[Description] = Description.of_set(
        title="norms between two bounds: the weights of a unit neither vanish nor grow",
        penalty="0 if weight_g * lower <= norm(x_g) <= weight_g * upper for every g, infinity otherwise",
        terms="0 for a group inside, infinity outside, at the group's first element",
        prox="x_g * (r / norm(x_g)) with the nearest norm r inside; of a zero group the first element "
        "becomes weight_g * lower",
        source="Chollet et al. 2015; Absil, Mahony and Sepulchre 2008",
    )

    def __post_init__(self) -> None:
        """Check the parameters."""
        NormBoundedRegularizer.__post_init__(self)
        if self.lower > self.upper:
            raise FieldOutOfRange(f"must be <= upper = {self.upper!r}, got {self.lower!r}", field="lower")

    @property
    def bounds(self) -> tuple[float, float]:
        """The least norm and the largest."""
        return self.lower, self.upper
