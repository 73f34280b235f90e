"""The L1,infinity norm: whole groups to zero, and equal peaks within groups."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from ...arrays import Float64Array, StepSize
from ...compilation import ANY
from ...expansions import Exponents
from ...regularizer import NOT_NEGATIVE, Description, Locality, Traits, parameter, register
from .base import GROUPS_WORDS, GroupRegularizer, Groups, PreparedGroups
from .compiled_loop import TILE, GroupFormulas, spread_function
from .descent import descended, descent_function, descent_side_by_side_function, side_by_side_function
from .measures import PEAK, peaks_function
from .partitions import Partition


def _term(peak: Any, size: Any, weight: Any, strength: float) -> Any:
    return peak * weight


def _depth(total: Any, count: Any, radius: Any) -> Any:
    """How far the ceiling is below the peak, if what is above it adds up to the radius.

    It is found from the distances to the peak: those that count are small, so nothing cancels.
    """
    return (radius + total) / count


def clip_peaks(groups: Partition, x: Float64Array, radii: Float64Array, out: Float64Array) -> None:
    """Write x_g less its projection onto the L1 ball of radius_g: no magnitude above the group's ceiling."""
    magnitudes = np.abs(x)
    peaks = groups.maxima(magnitudes)
    distances = np.empty_like(magnitudes)
    with np.errstate(invalid="ignore"):
        groups.apply(_distance, magnitudes, peaks, distances)
    depths = descended(groups, distances, radii, _depth, radii)
    with np.errstate(invalid="ignore"):
        # A peak that is NaN or infinite leaves no group as it was: no ceiling is known.
        ceilings = np.where(np.isfinite(peaks), np.maximum(peaks - depths, 0.0), np.nan)
    groups.apply(np.minimum, magnitudes, ceilings, magnitudes)
    np.copysign(magnitudes, x, out=out)
    out += 0.0  # no negative zeros


def _clip_peaks_function() -> Any:
    peaks_of, spread, fits = peaks_function(), spread_function(), side_by_side_function()
    descend, descend_together = descent_function(_depth), descent_side_by_side_function(_depth)

    def clip(
        values: ANY, new: ANY, ends: ANY, weights: ANY, scratch: ANY, step_size: float, parameters: Any
    ) -> None:
        groups, start = weights.size, ends[0]
        peaks, radii, bounds = scratch[:groups], scratch[TILE : TILE + groups], np.empty(groups)
        looked_at, rest = scratch[2 * TILE : 2 * TILE + values.size], scratch[2 * TILE + values.size :]
        peaks_of(values, ends, peaks)
        for k in range(groups):
            radii[k] = bounds[k] = step_size * parameters[0] * weights[k]
        if fits(ends):
            size = ends[1] - start
            for k in range(groups):
                for j in range(size):
                    looked_at[j * groups + k] = peaks[k] - abs(values[k * size + j])
            descend_together(looked_at, size, bounds, radii, rest)
        else:
            for k in range(groups):
                begin, count = ends[k] - start, ends[k + 1] - ends[k]
                for j in range(count):
                    looked_at[j] = peaks[k] - abs(values[begin + j])
                bounds[k] = descend(looked_at, count, bounds[k], radii[k])
        for k in range(groups):
            bounds[k] = max(peaks[k] - bounds[k], 0.0) if np.isfinite(peaks[k]) else np.nan
        spread(bounds, ends, looked_at)
        for j in range(values.size):
            magnitude = abs(values[j])
            below = magnitude if magnitude < looked_at[j] else looked_at[j]
            new[j] = np.copysign(below, values[j]) + 0.0

    return clip


@register("group_linf")
@dataclass(frozen=True, slots=True)
class GroupLinf(GroupRegularizer):
    """Sum of the groups' largest magnitudes, ``strength * sum(weight_g * max(|x_g|))``.

    Cost: a few rounds over fewer and fewer elements of each group, no sort. Source: Quattoni, Carreras,
    Collins and Darrell (2009), An efficient projection for L1,infinity regularization.
    """

    strength: float = parameter(NOT_NEGATIVE, "units of loss per unit of x")
    groups: Groups = parameter(None, GROUPS_WORDS)

    formulas: ClassVar[GroupFormulas] = GroupFormulas(_term, measure=PEAK, step=_clip_peaks_function)
    scaled: ClassVar[bool] = True
    takes_orthant: ClassVar[bool] = True
    traits: ClassVar[Traits] = Traits(
        convex=True, positively_homogeneous=True, keeps_zeros=True, locality=Locality.GROUP
    )
    description: ClassVar[Description] = Description(
        title="whole groups exactly zero, and equal peaks within the others",
        penalty="strength * sum over g of weight_g * max |x_g|",
        terms="weight_g * max |x_g|, at the group's first element; scale: strength",
        gradient="strength * weight_g * sign(x) / m on the m largest magnitudes of a group, 0 elsewhere",
        prox="x_g - projection of x_g onto the L1 ball of radius step_size * strength * weight_g",
        source="Quattoni et al. 2009",
    )

    def workspace(self, elements: int) -> int:
        """Magnitudes, distances from the largest, those still looked at, and what it takes to add them."""
        return 7 * elements

    def group_exponents(self, x: Exponents, weights: Exponents) -> Exponents:
        """Magnitudes of elements, times the groups' weights."""
        return x.times(weights)

    def slope(self, ready: PreparedGroups, x: Float64Array, out: Float64Array) -> None:
        """Write each group's strength, shared by its largest magnitudes."""
        write_peaks(ready.partition, x, self.strength, out)

    def step(self, ready: PreparedGroups, x: Float64Array, step_size: StepSize, out: Float64Array) -> None:
        """Write each group with its peaks cut off."""
        clip_peaks(ready.partition, x, ready.partition.times(step_size * self.strength), out)


def write_peaks(groups: Partition, x: Float64Array, strength: float, out: Float64Array) -> None:
    """Write ``strength * weight_g * sign(x) / m`` on a group's m largest magnitudes, 0 elsewhere."""
    magnitudes = np.abs(x)
    peaks = groups.maxima(magnitudes)
    at_peak = np.empty_like(magnitudes)
    groups.apply(np.equal, magnitudes, peaks, at_peak)
    strengths = np.where(np.isnan(peaks), np.nan, groups.times(strength))
    shares = strengths / np.maximum(groups.sums(at_peak), 1.0)
    np.multiply(np.sign(x, out=magnitudes), at_peak, out=out)
    groups.apply(np.multiply, out, shares, out)
    out += 0.0  # no negative zeros


def _distance(magnitudes: Float64Array, peaks: Float64Array, out: Float64Array) -> None:
    np.subtract(peaks, magnitudes, out=out)
