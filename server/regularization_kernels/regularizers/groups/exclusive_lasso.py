"""The exclusive lasso: few elements within each group."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from ...arrays import Float64Array, StepSize
from ...compilation import ANY
from ...regularizer import NOT_NEGATIVE, Description, Locality, Traits, parameter, register
from .base import GROUPS_WORDS, GroupRegularizer, Groups, PreparedGroups
from .compiled_loop import TILE, GroupFormulas, spread_function
from .descent import descended, descent_function, descent_side_by_side_function, side_by_side_function
from .measures import MAGNITUDE, peaks_function


def _term(total: Any, size: Any, weight: Any, strength: float) -> Any:
    return 0.5 * (total * total) * weight


def _threshold(total: Any, count: Any, strength: Any) -> Any:
    """By how much magnitudes are taken down, if these are above it; of negative ones, the same negative."""
    return strength * total / (1.0 + count * strength)


def _subtract_share_function() -> Any:
    peaks_of, spread, fits = peaks_function(), spread_function(), side_by_side_function()
    descend, descend_together = descent_function(_threshold), descent_side_by_side_function(_threshold)

    def subtract(
        values: ANY, new: ANY, ends: ANY, weights: ANY, scratch: ANY, step_size: float, parameters: Any
    ) -> None:
        groups, start = weights.size, ends[0]
        peaks, radii, bounds = scratch[:groups], scratch[TILE : TILE + groups], np.zeros(groups)
        looked_at, rest = scratch[2 * TILE : 2 * TILE + values.size], scratch[2 * TILE + values.size :]
        peaks_of(values, ends, peaks)
        for k in range(groups):
            radii[k] = step_size * parameters[0] * weights[k]
        if fits(ends):
            size = ends[1] - start
            for k in range(groups):
                for j in range(size):
                    looked_at[j * groups + k] = -abs(values[k * size + j])
            descend_together(looked_at, size, bounds, radii, rest)
        else:
            for k in range(groups):
                begin, count = ends[k] - start, ends[k + 1] - ends[k]
                for j in range(count):
                    looked_at[j] = -abs(values[begin + j])
                bounds[k] = descend(looked_at, count, bounds[k], radii[k])
        for k in range(groups):
            bounds[k] = -bounds[k] if np.isfinite(peaks[k]) else np.nan
        spread(bounds, ends, looked_at)
        for j in range(values.size):
            magnitude = abs(values[j])
            share = magnitude if magnitude < looked_at[j] else looked_at[j]
            new[j] = values[j] - np.copysign(share, values[j])

    return subtract


@register("exclusive_lasso")
@dataclass(frozen=True, slots=True)
class ExclusiveLasso(GroupRegularizer):
    """Half the groups' squared L1 norms, ``strength * 1/2 * sum(weight_g * sum(|x_g|)**2)``.

    Cost: a few rounds over fewer and fewer elements of each group, no sort. Source: Zhou, Jin and Hoi (2010),
    Exclusive lasso for multi-task feature selection.
    """

    strength: float = parameter(NOT_NEGATIVE, "units of loss per squared unit of x")
    groups: Groups = parameter(None, GROUPS_WORDS)

    formulas: ClassVar[GroupFormulas] = GroupFormulas(_term, measure=MAGNITUDE, step=_subtract_share_function)
    scaled: ClassVar[bool] = True
    takes_orthant: ClassVar[bool] = True
    traits: ClassVar[Traits] = Traits(convex=True, keeps_zeros=True, locality=Locality.GROUP)
    description: ClassVar[Description] = Description(
        title="few elements within each group: features that compete",
        penalty="strength * 1/2 * sum over g of weight_g * (sum |x_g|)^2",
        terms="weight_g * (1/2 * (s * s)), s = sum |x_g| added pairwise, at the group's first element; "
        "scale: strength",
        gradient="strength * weight_g * (sum |x_g|) * sign(x), 0 at 0",
        prox="sign(x) * max(|x| - tau, 0), tau = u * (sum of the k largest |x|) / (1 + k u) with "
        "u = step_size * strength * weight_g and the largest k whose k-th largest |x| is above tau",
        source="Zhou, Jin and Hoi 2010",
    )

    def workspace(self, elements: int) -> int:
        """Magnitudes, those that are still looked at, and what it takes to add them."""
        return 6 * elements

    def slope(self, ready: PreparedGroups, x: Float64Array, out: Float64Array) -> None:
        """Write the signs times the groups' sums of magnitudes and strengths."""
        groups = ready.partition
        slopes = groups.times(self.strength) * groups.sums(np.abs(x))
        np.sign(x, out=out)
        groups.apply(np.multiply, out, slopes, out)
        out += 0.0  # no negative zeros

    def step(self, ready: PreparedGroups, x: Float64Array, step_size: StepSize, out: Float64Array) -> None:
        """Write the soft threshold of each group."""
        groups, magnitudes = ready.partition, np.abs(x)
        strengths = groups.times(step_size * self.strength)
        with np.errstate(invalid="ignore"):
            thresholds = -descended(groups, -magnitudes, np.zeros(groups.count), _threshold, strengths)
        thresholds[~np.isfinite(groups.maxima(magnitudes))] = np.nan
        groups.apply(np.minimum, magnitudes, thresholds, magnitudes)
        np.copysign(magnitudes, x, out=magnitudes)
        np.subtract(x, magnitudes, out=out)
