"""Bounded norms of groups: the max-norm constraint."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from ...arrays import FLOAT32, Float64Array, StepSize
from ...errors import GradientUndefined
from ...formats import Grid, is_coarse, share_left_alone, slack
from ...interruption import go_on
from ...regularizer import SETTLING, Description, Locality, Traits, register, require_strength
from ...summation import BlockSum
from ..vectors.rounding_inwards import Places, lowered
from .base import GroupRegularizer, Groups
from .compiled_loop import LESS, TRIALS, GroupScalars
from .partitions import Partition

_SMALLEST_FACTOR = 1e-290
"""Below it a factor may have lost bits; its two parts have not."""


def _limit(size: int, weight: float, radius: float, relative: float, absolute: float, share: float) -> float:
    bound = radius * weight
    return bound + (relative * bound + size * absolute)


def _factors(
    norm: float,
    size: int,
    weight: float,
    step_size: float,
    radius: float,
    relative: float,
    absolute: float,
    share: float,
) -> tuple[float, float]:
    bound = radius * weight
    if not np.isfinite(norm):
        return 1.0, np.nan
    if norm <= bound + share * (relative * bound + size * absolute):
        return 1.0, 1.0
    factor = bound / norm
    return (norm, bound) if factor < _SMALLEST_FACTOR else (1.0, factor)


def _term(
    norm: float,
    size: int,
    weight: float,
    radius: float,
    relative: float,
    absolute: float,
    share: float,
) -> float:
    if norm != norm:
        return norm
    bound = radius * weight
    return np.inf if norm > bound + (relative * bound + size * absolute) else 0.0


@register("max_norm")
@dataclass(frozen=True, slots=True)
class MaxNorm(GroupRegularizer):
    """0 where ``norm(x_g) <= weight_g * radius`` for every group, infinite otherwise.

    Prox: ``x_g * (weight_g * radius / norm(x_g))`` for groups outside, whatever the step size. Gradient: 0
    inside, undefined outside. A norm is outside where it exceeds the bound by more than two units in the last
    place; what is rounded to 16 bits or to fixed point is rounded so that it is inside.

    Args:
        radius: Bound on the groups' norms, finite, >= 0; units of x.
        groups: Which elements form a group, and the groups' weights.

    Raises:
        FieldOutOfRange: If radius is negative or not finite.

    Source: Srebro and Shraibman (2005), Rank, trace-norm and max-norm.
    """

    radius: float
    groups: Groups

    scalars: ClassVar[GroupScalars | None] = GroupScalars(factors=_factors, term=_term, limit=_limit)
    traits: ClassVar[Traits] = Traits(
        convex=True,
        separable=False,
        smooth=False,
        positively_homogeneous=False,
        indicator=True,
        locality=Locality.GROUP,
    )
    description: ClassVar[Description] = Description(
        title="bounded norms: the weights of a unit, or an embedding's row",
        penalty="0 if norm(x_g) <= weight_g * radius for every g, infinity otherwise",
        terms="0 for a group inside, infinity outside, at the group's first element",
        gradient="0 inside, undefined outside",
        prox="x_g * (weight_g * radius / norm(x_g)) for groups outside",
        parameters={
            "radius": "finite, >= 0; units of x",
            "groups": "which elements form a group, and the groups' weights",
        },
        source="Srebro and Shraibman 2005",
    )

    def __post_init__(self) -> None:
        """Check the parameters."""
        require_strength(self.radius, "radius")

    @property
    def scale(self) -> float:
        """1: a set has no strength."""
        return 1.0

    @property
    def scalar_parameters(self) -> tuple[float, ...]:
        """The radius; by what of its bound, and for each element, a norm may exceed it; the step's share."""
        data_type = self.data_type
        return self.radius, slack(data_type, 0, 1.0), slack(data_type, 1, 0.0), share_left_alone(data_type)

    def rounds_outside(self, grid: Grid, *, at_random: bool) -> bool:
        """Where rounding is coarse, or with a reference, or makes numbers as large as a bound infinite."""
        del at_random
        if grid.reference is not None or is_coarse(grid.data_type):
            return True
        return float(np.max(self._bounds(self.partition), initial=0.0)) > grid.largest

    def settled(self, exact: Float64Array, numbers: Float64Array, grid: Grid) -> Float64Array | None:
        """Numbers inside, where rounding made a group's norm too large."""
        partition = self.partition
        bounds, limits = self._bounds(partition), self._limits(partition)
        finite = np.where(np.isfinite(exact), grid.finite(numbers), numbers)
        with np.errstate(all="ignore"):
            if not np.any(partition.norms(grid.points(finite)) > limits):
                return None if np.array_equal(finite, numbers, equal_nan=True) else finite
            bounds = np.where(bounds > 0, bounds, 1.0)
            ends = limits / bounds
            groups = np.empty(exact.shape)
            partition.apply(_second, exact, np.arange(partition.count, dtype=np.float64), groups)
            of = groups.reshape(-1).astype(np.int64)

            def excess(points: Float64Array) -> Float64Array:
                norms = partition.norms(points)
                return np.where(norms > limits, (norms / bounds - ends) * (norms / bounds + ends), 0.0)

            def costs(points: Float64Array, places: Places) -> Float64Array:
                return np.square(points / bounds[of[places]])

            return lowered(exact, finite, grid, costs, excess, of)

    def workspace(self, elements: int) -> int:
        """The squares, the same in the order of the groups, and a result that is looked at again."""
        return (SETTLING if is_coarse(self.data_type) else 3) * elements

    def add_terms(self, x: Float64Array, sums: BlockSum, position: int = 0) -> None:
        """Add 0 for a group inside, infinity outside, NaN where its norm is, at its first element."""
        partition = self.partition_of(x)
        norms = partition.norms(x)
        outside = np.where(norms > self._limits(partition), np.inf, 0.0)
        sums.add_at(position + partition.starts(), np.where(np.isnan(norms), np.nan, outside))

    def gradient(self, x: Float64Array, out: Float64Array) -> None:
        """Write 0, or NaN for a group whose norm is.

        Raises:
            GradientUndefined: If a group is outside, naming the first element of the first such group.
        """
        partition = self.partition_of(x)
        norms, limits = partition.norms(x), self._limits(partition)
        outside = norms > limits
        if outside.any():
            group = int(np.argmax(outside))
            text = (
                f"must have groups of norm at most {limits[group]!s} to have a gradient, got {norms[group]!s}"
            )
            raise GradientUndefined(text, element=int(partition.starts()[group]))
        out.fill(0.0)
        partition.apply(np.multiply, out, np.where(np.isnan(norms), np.nan, 1.0), out)

    def prox(self, x: Float64Array, step_size: StepSize, out: Float64Array) -> None:
        """Write groups outside scaled to their bound, the others as they are."""
        del step_size
        partition = self.partition_of(x)
        norms, bounds, limits = partition.norms(x), self._bounds(partition), self._limits(partition)
        moves = ~(norms <= self._limits(partition, share_left_alone(self.data_type)))
        with np.errstate(all="ignore"):
            factors = np.where(moves, bounds / norms, 1.0)
        apart = moves & (factors < _SMALLEST_FACTOR)
        divisors, factors = np.where(apart, norms, 1.0), np.where(apart, bounds, factors)
        # A norm that is NaN or infinite leaves no direction to scale along.
        factors[~np.isfinite(norms)] = np.nan
        scaled = np.empty_like(x)
        for _ in range(TRIALS):
            go_on()
            partition.apply(np.divide, x, divisors, scaled)
            partition.apply(np.multiply, scaled, factors, scaled)
            if self.data_type == FLOAT32:
                break
            # Rounding in float64 itself may leave a norm a little above what counts as inside.
            outside = partition.norms(scaled) > limits
            if not outside.any():
                break
            factors[outside] *= LESS
        np.add(scaled, 0.0, out=out)  # no negative zeros

    def _bounds(self, partition: Partition) -> Float64Array:
        return partition.times_weights(np.full(partition.count, self.radius))

    def _limits(self, partition: Partition, share: float = 1.0) -> Float64Array:
        """What a norm may be to count as inside, or to be left as it is."""
        bounds = self._bounds(partition)
        _, relative, absolute, _ = self.scalar_parameters
        return bounds + share * (relative * bounds + partition.sizes() * absolute)


def _second(elements: Float64Array, values: Float64Array, out: Float64Array) -> None:
    np.copyto(out, np.broadcast_to(values, elements.shape))
