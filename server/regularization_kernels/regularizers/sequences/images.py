"""Proximal step of the total variation of images, by exact steps along rows and along columns.

Minimize ½‖y − x‖² + t·(Σ|Δ along rows| + Σ|Δ along columns|). The answer is x less what the two sums pull, p
along rows and q along columns, each of which is bounded by itself: the dual problem is to make x − p − q as
short as may be. Given q, the best p is what a one-dimensional step takes off x − q, and the other way round;
to do that in turns is Dykstra's algorithm (Barbero and Sra 2018). It is a gradient method for q, and is
accelerated as such, starting anew where it overshoots (Beck and Teboulle 2009; O'Donoghue and Candès 2015).
Once it is known which neighbours are equal, it converges to rounding errors within some dozens of steps.

The duality gap of ``y = x − p − q`` is ``t·Ω(y) − <y, p + q>``, and bounds half the squared distance from the
answer.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from ...arrays import Float64Array
from ...interruption import go_on
from .taut_string import total_variation_step

TOLERANCE = 1e-12
"""The duality gap over the objective from which on it needs not fall for long."""
ITERATIONS = 10_000
"""After which it is given up."""
_STILL = 4.0 * float(np.finfo(np.float64).eps)
"""Of the largest number that is added: a change that is nothing but rounding."""
_PATIENCE, _MORE_PATIENCE = 32, 256
"""Iterations without a smaller gap, within the tolerance and beyond it, after which it is rounding errors."""
_ALIKE = 1e-9
"""By how much two ways to one image of a size about 1 may differ for rounding errors."""
_LARGEST = 1e280


def image_step(x: Float64Array, threshold: float, out: Float64Array) -> None:
    """Write argmin_y threshold·(Σ|Δ rows| + Σ|Δ columns|) + ½‖y − x‖² of one image.

    Args:
        x: ``(height, width)``, finite, with an element.
        threshold: >= 0.
        out: Of the shape of x; may be x.
    """
    peak = float(np.max(np.abs(x)))
    exponent = math.frexp(peak)[1]
    with np.errstate(over="ignore", under="ignore"):
        t = min(float(np.ldexp(threshold, -exponent)), _LARGEST)
    if peak == 0 or t == 0 or x.size == 1:
        np.copyto(out, x)
    elif min(x.shape) == 1:
        total_variation_step(x.reshape(1, -1), threshold, out.reshape(1, -1))
    else:
        np.ldexp(_pulled(np.ldexp(x, -exponent), t), exponent, out=out)
        out += 0.0  # no negative zeros


def _pulled(x: Float64Array, t: float) -> Float64Array:
    q = ahead = np.zeros(x.shape)
    momentum, least, since = 1.0, math.inf, 0
    along_rows, along_columns = np.empty(x.shape), np.empty(x.shape[::-1])
    for _ in range(ITERATIONS):
        go_on()
        total_variation_step(x - ahead, t, along_rows)
        p = x - ahead - along_rows
        pulled = ahead + along_rows
        total_variation_step(np.ascontiguousarray(pulled.T), t, along_columns)
        following = pulled - along_columns.T
        gap, objective = _gap(x, p + following, t)
        still = float(np.max(np.abs(following - ahead))) <= _STILL * (1.0 + float(np.max(np.abs(following))))
        if gap < least:
            least, since = gap, 0
        else:
            since += 1
        overshot = float(np.add.reduce(((ahead - following) * (following - q)).reshape(-1))) > 0.0
        momentum = 1.0 if overshot else momentum
        slower = 0.5 * (1.0 + math.sqrt(1.0 + 4.0 * momentum * momentum))
        ahead = following + ((momentum - 1.0) / slower) * (following - q)
        q, momentum = following, slower
        if still or since >= (_PATIENCE if gap <= TOLERANCE * objective else _MORE_PATIENCE):
            break
    total_variation_step(x - q, t, along_rows)
    return _joined(along_rows, along_columns.T)


def _joined(along_rows: Float64Array, along_columns: Float64Array) -> Float64Array:
    """One level for each region of neighbours that are equal along rows or along columns.

    Both steps end at the same image but for rounding errors, and each has its own equal neighbours to the
    bit. Where they do not, the one along rows is given.
    """
    from scipy.sparse import coo_array  # few calls need it
    from scipy.sparse.csgraph import connected_components

    places = np.arange(along_rows.size).reshape(along_rows.shape)
    right, down = np.diff(along_rows, axis=1) == 0, np.diff(along_columns, axis=0) == 0
    ends = (
        np.concatenate((places[:, :-1][right], places[:-1][down])),
        np.concatenate((places[:, 1:][right], places[1:][down])),
    )
    edges = coo_array((np.ones(ends[0].size, np.bool_), ends), shape=(places.size, places.size))
    count, regions = connected_components(edges, directed=False)
    flat, levels = along_rows.reshape(-1), np.empty(count)
    levels[regions[::-1]] = flat[::-1]  # of the first of each
    levels += np.bincount(regions, flat - levels[regions], count) / np.bincount(regions, minlength=count)
    joined = levels[regions].reshape(along_rows.shape)
    return joined if float(np.max(np.abs(joined - along_rows))) <= _ALIKE else along_rows


def _gap(x: Float64Array, pull: Float64Array, t: float) -> tuple[float, float]:
    """The duality gap of x − pull, and its objective."""
    y = x - pull
    y -= 0.5 * (float(np.max(y)) + float(np.min(y)))  # the pull adds up to 0
    variation = t * float(np.add.reduce(variations(y).reshape(-1)))
    gap = variation - float(np.add.reduce((y * pull).reshape(-1)))
    return gap, variation + 0.5 * float(np.add.reduce((pull * pull).reshape(-1)))


def variations(x: Float64Array) -> Float64Array:
    """|Δ along the last axis| + |Δ along the one before|, each at the place of the first of two elements."""
    terms = np.zeros(x.shape)
    terms[..., :-1] = np.abs(np.diff(x, axis=-1))
    terms[..., :-1, :] += np.abs(np.diff(x, axis=-2))
    return terms


def image_slope(x: Float64Array, out: Float64Array) -> None:
    """Write the shortest subgradient of ``Σ|Δ rows| + Σ|Δ columns|`` at one image.

    It depends on the order of neighbours alone, and is what a step of size 1 takes off an image with the same
    order whose neighbours are so far apart that the step leaves it: an element goes by 4 at most. Where no
    neighbour is equal it is the sum of the jumps' signs, exactly.

    Args:
        x: ``(height, width)``, finite, with an element.
        out: Of the shape of x; may be x.
    """
    signs, tied = _signs(x)
    if tied.any():
        ranks = np.unique(x, return_inverse=True)[1].reshape(x.shape)
        apart: Float64Array = np.multiply(ranks - ranks.max() // 2, 16.0, dtype=np.float64)
        stepped = np.empty(x.shape)
        image_step(apart, 1.0, stepped)
        signs = np.where(tied, apart - stepped, signs)
    np.add(signs, 0.0, out=out)


def _signs(x: Float64Array) -> tuple[Float64Array, npt.NDArray[np.bool_]]:
    """For each element, of its differences from its neighbours the sum of signs, and whether one is 0."""
    signs: Float64Array = np.zeros(x.shape)
    tied: npt.NDArray[np.bool_] = np.zeros(x.shape, np.bool_)
    for axis in (0, 1):
        jumps = np.sign(np.diff(x, axis=axis))
        before, after = (
            tuple(part if at == axis else slice(None) for at in (0, 1))
            for part in (slice(None, -1), slice(1, None))
        )
        signs[before] -= jumps
        signs[after] += jumps
        tied[before] |= jumps == 0
        tied[after] |= jumps == 0
    return signs, tied
