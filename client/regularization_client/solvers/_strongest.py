"""The least strength at which nothing is left but what the regularizer leaves free."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping

import numpy as np
from google.protobuf.message import Message

from .._client import Client
from .._errors import ArgumentError
from .._joint import Joint
from .._messages import wrap
from .._modified import Modified, without_modifiers
from .._request.layout import Unplanned
from .._request.names import resolve
from ._checks import check_unplanned
from ._dual_norms import dual_norm
from ._problem import PENALTY
from ._strengths import scaled, strengths_of
from ._structure import Arrays, Structure, Vector

_NOTHING_LEFT = 1e-9
"""Share of the penalty, at the same strength, of what a step starts from, below which what is left is 0."""

_ACCURACY = 1e-12
_MOST_DOUBLINGS = 200


def strength_max(gradient: Arrays, regularizer: Unplanned, client: Client) -> float:
    """Return the least strength at which the proximal step from ``-gradient`` has penalty 0.

    With the loss gradient at 0 this is where a path of solutions begins: from this strength on, 0 minimizes
    loss plus penalty, and below it does not. In full: with the gradient at the point of least loss among
    those of penalty 0. That point is 0 for a norm of all parameters. Where some are exempt, or a regularizer
    leaves directions free (``TotalVariation`` constants, ``TrendFilter`` polynomials, groups their weight 0),
    it is the best of what is free; the gradient has nothing along these directions there, and what a given
    one has is left out of account. ``path`` finds that point by itself.

    It is a dual norm. For ``L1Norm``, ``ElasticNet``, ``L2Norm``, ``LinfNorm``, ``GroupLasso``,
    ``GroupLinf``, ``Slope``, ``NuclearNorm``, ``SpectralNorm``, ``TotalVariation`` and ``TrendFilter`` it is
    computed by its formula. For other positively homogeneous convex regularizers, and those with a box, it is
    found by bisection on the step, to 1e-12 of itself; a penalty of 1e-9 of that of the gradient counts as 0
    there, since some steps are iterated.

    Args:
        gradient: Of the loss: an array or arrays by name, finite.
        regularizer: As calls of the client take it. What is returned multiplies all its strengths; it is the
            strength itself where that is 1 or unset. Arrays without a strength, exempt or in a set, do not
            count.
        client: Whose server checks the regularizer and takes the steps.

    Raises:
        ArgumentError: If nothing has a strength, or no strength is enough: of a penalty that is flat at 0, as
            a square is, or not convex, or of strength 0 where there is a gradient.
        RegularizationError: If a call fails.

    Example:
        >>> from regularization_client import Client, L1Norm
        >>> from regularization_client.solvers import strength_max
        >>> with Client() as client:
        ...     print(strength_max([0.5, -2.0, 1.0], L1Norm(), client))
        2.0
    """
    check_unplanned(regularizer)
    structure = Structure.of(gradient)
    slopes = structure.vector(gradient, "gradient")
    unit = scaled(regularizer, 1.0)
    client.penalty(structure.arrays(slopes), unit, figures=())  # which checks both
    parts = list(_with_strength(unit, structure.by_name(slopes)))
    if not parts:
        raise ArgumentError(f"the regularizer must have a strength, got {_told(unit)}")
    return max(_of_one(each, slope, client) for each, slope in parts)


def _with_strength(
    regularizer: Unplanned, slopes: Mapping[str, Vector]
) -> Iterator[tuple[Message | Modified, Vector]]:
    """Yield each regularizer that has a strength, with the gradient of its array, or of its arrays."""
    by_name = (
        resolve(regularizer, slopes, "regularizer")
        if isinstance(regularizer, Mapping)
        else dict.fromkeys(slopes, regularizer)
    )
    joints: dict[int, tuple[Joint, list[Vector]]] = {}
    for name, each in by_name.items():
        if each is None or not strengths_of(each):
            continue
        if isinstance(each, Joint):
            joints.setdefault(id(each), (each, []))[1].append(slopes[name].ravel())
        else:
            yield each, slopes[name]
    for joint, parts in joints.values():
        yield joint.regularizer, np.concatenate(parts)


def _of_one(regularizer: Message | Modified, slope: Vector, client: Client) -> float:
    if not slope.size:
        return 0.0
    if not any(strengths_of(regularizer)):
        raise ArgumentError(f"no multiple of strength 0 is enough: {_told(regularizer)}")
    found = None if isinstance(regularizer, Modified) else dual_norm(regularizer, slope)
    if found is None:
        _check_homogeneous(regularizer, client)
        found = _by_bisection(regularizer, slope, client)
    if not math.isfinite(found):
        raise ArgumentError(f"no strength is enough: {_told(regularizer)} is flat along the gradient")
    return found


def _check_homogeneous(regularizer: Message | Modified, client: Client) -> None:
    """Check that a regularizer is convex and has a kink at 0, whatever bounds are on top of it.

    Raises:
        ArgumentError: If not.
    """
    choice = wrap(without_modifiers(regularizer))
    name = None if choice is None else choice.WhichOneof("kind")
    fit = {
        each.name
        for each in client.list_regularizers()
        if each.traits.convex and each.traits.positively_homogeneous
    }
    if name not in fit or (isinstance(regularizer, Modified) and regularizer.smoothing is not None):
        raise ArgumentError(
            f"no strength is the least that is enough: {_told(regularizer)} is flat at 0, or not convex"
        )


def _by_bisection(regularizer: Message | Modified, slope: Vector, client: Client) -> float:
    start = -slope
    bound = _NOTHING_LEFT * client.penalty(start, without_modifiers(regularizer)).penalty
    if bound == 0:
        return 0.0

    def is_enough(strength: float) -> bool:
        step = client.proximal_step(start, scaled(regularizer, strength), step_size=1.0, figures=PENALTY)
        return step.penalty <= bound * strength

    above = float(np.linalg.norm(slope.ravel()))
    for _ in range(_MOST_DOUBLINGS):
        if is_enough(above):
            break
        above *= 2
    else:
        return math.inf
    below = above / 2
    for _ in range(_MOST_DOUBLINGS):
        if not is_enough(below):
            break
        above, below = below, below / 2
    else:
        return 0.0
    while above - below > _ACCURACY * above:
        middle = below + (above - below) / 2
        above, below = (middle, below) if is_enough(middle) else (above, middle)
    return above


def _told(regularizer: Unplanned) -> str:
    if isinstance(regularizer, Mapping):
        return f"{{{', '.join(f'{name!r}: {_told(each)}' for name, each in regularizer.items())}}}"
    inner = regularizer.regularizer if isinstance(regularizer, Joint | Modified) else regularizer
    return "None" if inner is None else inner.DESCRIPTOR.name
