"""Dual norms: by how much a regularizer's strengths must be multiplied for a gradient to be held at 0.

For a norm Ω it is the least c with ``-g ∈ c·∂Ω(0)``, which is ``max <g, x> over all x with Ω(x) <= 1``. Where
Ω is 0 along some directions, as total variation along constants, what g has along these is taken off first.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from google.protobuf.message import Message
from regularization.v1 import regularizers_pb2

from .._messages import wrap
from ._structure import Vector


def dual_norm(regularizer: Message, gradient: Vector) -> float | None:
    """Return the dual norm of a regularizer, its strengths included.

    Args:
        regularizer: One that the server has accepted for this array.
        gradient: Finite, of the array's shape.

    Returns:
        None where there is no closed form here; infinity where no factor is enough, as of strength 0.
    """
    choice = wrap(regularizer)
    name = None if choice is None else choice.WhichOneof("kind")
    if choice is None or name not in _FORMULAS:
        return None
    return _FORMULAS[name](getattr(choice, name), gradient)


def _l1_norm(r: Any, g: Vector) -> float:
    return _over(_largest(g), r.strength)


def _elastic_net(r: Any, g: Vector) -> float:
    # The squares have no slope at 0.
    return _over(_largest(g), r.l1_strength)


def _l2_norm(r: Any, g: Vector) -> float:
    return _over(float(np.linalg.norm(g.ravel())), r.strength)


def _linf_norm(r: Any, g: Vector) -> float:
    return _over(float(np.abs(g).sum()), r.strength)


def _group_lasso(r: Any, g: Vector) -> float:
    return _over_groups(r, g, lambda group: float(np.linalg.norm(group.ravel())))


def _group_linf(r: Any, g: Vector) -> float:
    return _over_groups(r, g, lambda group: float(np.abs(group).sum()))


def _slope(r: Any, g: Vector) -> float:
    """The largest quotient of sums: of the k largest magnitudes and of the k largest strengths."""
    magnitudes = np.cumsum(np.sort(np.abs(g), axis=None)[::-1])
    if r.HasField("oscar"):
        ranks = np.arange(g.size, 0, -1) - 1
        strengths = r.oscar.l1_strength + r.oscar.pairwise_strength * ranks
    else:
        strengths = np.array(r.strengths.values)
    return max(map(_over, magnitudes.tolist(), np.cumsum(strengths).tolist()), default=0.0)


def _nuclear_norm(r: Any, g: Vector) -> float:
    return _over(float(_singular_values(r, g).max(initial=0.0)), r.strength)


def _spectral_norm(r: Any, g: Vector) -> float:
    return _over(float(_singular_values(r, g).sum()), r.strength)


def _total_variation(r: Any, g: Vector) -> float:
    axis = r.axis if r.HasField("axis") else -1
    lines = np.moveaxis(g, axis, -1) if g.ndim else g.reshape(1)
    return _over(_largest_multiplier(lines, 0), r.strength)


def _trend_filter(r: Any, g: Vector) -> float:
    return _over(_largest_multiplier(np.atleast_1d(g), r.order), r.strength)


_FORMULAS: dict[str, Callable[[Any, Vector], float]] = {
    "elastic_net": _elastic_net,
    "group_lasso": _group_lasso,
    "group_linf": _group_linf,
    "l1_norm": _l1_norm,
    "l2_norm": _l2_norm,
    "linf_norm": _linf_norm,
    "nuclear_norm": _nuclear_norm,
    "slope": _slope,
    "spectral_norm": _spectral_norm,
    "total_variation": _total_variation,
    "trend_filter": _trend_filter,
}


def _over(size: float, strength: float) -> float:
    """Return how often a strength goes into a size; 0 where there is nothing to hold."""
    if size == 0:
        return 0.0
    return size / strength if strength > 0 else math.inf


def _largest(g: Vector) -> float:
    return float(np.abs(g).max(initial=0.0))


def _over_groups(r: Any, g: Vector, size: Callable[[Vector], float]) -> float:
    """Return the most that any group needs; those of weight 0 are free."""
    groups = _parts(r.groups, g)
    weights = _weights(r.groups, groups)
    pairs = zip(groups, weights, strict=True)
    return max((_over(size(group), r.strength * weight) for group, weight in pairs if weight), default=0.0)


def _parts(groups: regularizers_pb2.Groups, g: Vector) -> Sequence[Vector]:
    kind = groups.WhichOneof("partition")
    if kind == "axis":
        return list(np.moveaxis(g, groups.axis, 0))
    if kind == "size":
        return list(g.reshape(-1, groups.size))
    ends = np.cumsum(groups.sizes.values, dtype=np.intp)
    return np.split(g.ravel(), ends[:-1])


def _weights(groups: regularizers_pb2.Groups, parts: Sequence[Vector]) -> Sequence[float]:
    if groups.WhichOneof("weighting") == "weights":
        return groups.weights.values
    return [math.sqrt(part.size) if groups.sqrt_size else 1.0 for part in parts]


def _singular_values(r: Any, g: Vector) -> Vector:
    rows = np.moveaxis(g, r.axis if r.HasField("axis") else 0, 0)
    return np.asarray(np.linalg.svd(rows.reshape(rows.shape[0], -1), compute_uv=False))


def _largest_multiplier(lines: Vector, order: int) -> float:
    """Return the largest magnitude of u in ``D'u = g``, D the differences of order + 1 along the last axis.

    What g has along polynomials of that degree, whose differences are 0, is taken off.
    """
    length = lines.shape[-1]
    if length <= order + 1 or not lines.size:
        return 0.0
    places = np.linspace(-1.0, 1.0, length)
    polynomials, _ = np.linalg.qr(np.polynomial.legendre.legvander(places, order))
    multipliers = lines - (lines @ polynomials) @ polynomials.T
    for _ in range(order + 1):
        multipliers = np.cumsum(multipliers, axis=-1)[..., :-1]
    return _largest(multipliers)
