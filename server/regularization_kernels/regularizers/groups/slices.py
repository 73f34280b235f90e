"""Penalties of slices along an axis by statistics: each group's squares, then a rule for each element."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from ...arrays import Float64Array
from ...expansions import LONGEST_EXPANSION
from ...reductions.encoding import most_group_rule_bytes
from ...reductions.group_rules import GroupScaled, GroupTimes
from ...reductions.group_squares import MOST_GROUPS, MOST_IN_A_GROUP
from ...reductions.reduction import Reduction
from ...reductions.rules import Rule
from ...reductions.survey import Search, Survey
from ...summation import BlockSum, ExactSum
from .partitions import EvenRuns, Partition, Slices

if TYPE_CHECKING:
    from ...reductions.group_squares import GroupSquares
    from ...regularizer import Traits
    from .compiled_loop import GroupFormulas


class PenaltyOfGroups(Protocol):
    """What is asked of a penalty with its groups, as ``base.PreparedGroups`` has it."""

    @property
    def regularizer(self) -> Any:
        """Whose formulas these are: a ``PartitionedRegularizer``, whose rules for slices are asked for."""

    @property
    def partition(self) -> Partition:
        """The groups."""

    @property
    def formulas(self) -> GroupFormulas:
        """Those for one group."""

    @property
    def numbers(self) -> tuple[float, ...]:
        """The parameters that they take."""

    @property
    def traits(self) -> Traits:
        """What is known of it as a function."""

    def terms_of(self, measured: Float64Array) -> Float64Array:
        """Each group's term, from its measure."""

    def factors_of(self, squares: GroupSquares, step_size: float) -> tuple[Any, Float64Array]:
        """By what slices are divided, and then multiplied, from their squares."""


@dataclass(frozen=True, slots=True)
class SlicesReduction(Reduction):
    """How a penalty of norms of slices asks for them.

    Args:
        ready: The penalty with its groups.
        slices: The groups.
    """

    ready: PenaltyOfGroups = field(repr=False)
    slices: Slices = field(repr=False, compare=False)

    @property
    def unchanged(self) -> Rule:
        """The rule of a method that changes nothing."""
        rule: Rule = self.ready.regularizer.rule_of_nothing()
        return rule

    @property
    def geometry(self) -> tuple[int, int]:
        """How many groups there are, and the consecutive elements of one."""
        return self.slices.count, self.slices.inner

    @property
    def most_bytes(self) -> int:
        """At least the bytes of a rule and a penalty, and of what is recorded on the way to them."""
        return most_group_rule_bytes(self.slices.count) + 8 * LONGEST_EXPANSION

    def term(self, survey: Survey) -> Search[Float64Array]:
        """Each group's term, from its norm."""
        norms = (yield from survey.groups(self.slices.question())).norms()
        with np.errstate(all="ignore"):
            return self.ready.terms_of(norms)

    def penalty(self, terms: float | Float64Array, scale: float) -> tuple[float, ...]:
        """The terms at the places of the groups' first elements, added by the contract's rule."""
        sums = BlockSum(scale)
        with np.errstate(all="ignore"):
            sums.add_at(self.slices.starts(), np.asarray(terms))
            return ExactSum.of(sums.partials()).expansion

    def slope(self, survey: Survey) -> Search[Rule]:
        """The groups' directions times the slopes of their terms.

        Raises:
            GradientUndefined: If there are none.
        """
        norms = (yield from survey.groups(self.slices.question())).norms()
        with np.errstate(all="ignore"):
            rule: Rule = self.ready.regularizer.rule_of_slope(self.ready, norms)
        return rule

    def step(self, survey: Survey, step_size: float) -> Search[Rule]:
        """The groups, or the points that the formulas make of them, times their factors."""
        formulas, numbers = self.ready.formulas, (step_size, *self.ready.numbers)
        question = (
            self.slices.question()
            if formulas.point is None
            else self.slices.question(formulas.point, numbers)
        )
        sums = yield from survey.groups(question)
        with np.errstate(all="ignore"):
            divisors, factors = self.ready.factors_of(sums, step_size)
        rule: Rule = self.ready.regularizer.rule_of_step(self.ready, divisors, factors, step_size)
        return rule

    def term_of_step(self, rule: Rule) -> Float64Array | None:
        """Of a set 0, for a step ends inside, or NaN."""
        if not self.ready.traits.indicator or not isinstance(rule, GroupTimes | GroupScaled):
            return None
        return np.where(np.isnan(rule.factors), np.nan, 0.0)


def reduction_of(ready: PenaltyOfGroups) -> SlicesReduction | None:
    """How a penalty of groups is computed by statistics, where its groups are slices that interleave."""
    slices = interleaved(ready.partition)
    if slices is None or not ready.regularizer.reduces_slices:
        return None
    if not 0 < slices.count <= MOST_GROUPS or not 0 < slices.outer * slices.inner <= MOST_IN_A_GROUP:
        return None
    return SlicesReduction(ready, slices)


def interleaved(partition: Partition) -> Slices | None:
    """Groups that are slices along an axis after the first, else None."""
    return partition if isinstance(partition, Slices) and not isinstance(partition, EvenRuns) else None
