"""The Euclidean norm of a whole segment: all of it to zero."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from ...arrays import Float64Array
from ...regularizer import NOT_NEGATIVE, Description, Locality, Traits, parameter, register
from ..groups.base import PreparedGroups, WholeRegularizer
from ..groups.compiled_loop import GroupFormulas
from ..groups.group_lasso import GroupLasso, write_directions


@register("l2_norm")
@dataclass(frozen=True, slots=True)
class L2Norm(WholeRegularizer):
    """Euclidean norm of the segment, not squared, ``strength * norm(x)``: ``group_lasso`` with one group.

    Source: Yuan and Lin (2006), Model selection and estimation in regression with grouped variables.
    """

    strength: float = parameter(NOT_NEGATIVE, "units of loss per unit of x")

    formulas: ClassVar[GroupFormulas] = GroupLasso.formulas
    scaled: ClassVar[bool] = True
    traits: ClassVar[Traits] = Traits(convex=True, positively_homogeneous=True, locality=Locality.SEGMENT)
    description: ClassVar[Description] = Description(
        title="a whole segment exactly zero, or shrunk without a change of direction",
        penalty="strength * norm(x), not squared",
        terms="norm(x), squares added pairwise, at the first element; scale: strength",
        gradient="strength * x / norm(x), 0 for zero",
        prox="max(0, 1 - step_size * strength / norm(x)) * x, 0 for zero",
        source="Yuan and Lin 2006, with one group",
    )

    def slope(self, ready: PreparedGroups, x: Float64Array, out: Float64Array) -> None:
        """Write the direction times the strength."""
        write_directions(ready.partition, x, self.strength, out)
