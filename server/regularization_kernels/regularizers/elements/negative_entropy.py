"""The negative entropy: elements above zero, spread out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from ...arrays import Float64Array, StepSize
from ...errors import GradientUndefined
from ...regularizer import Description, Locality, Traits, register, require_strength
from .base import ElementRegularizer
from .compiled_loop import Scalars
from .logarithm import by_slices, exp_roughly, log, log_of_normal, maximum, minimum

_LEAST_EXPONENT = -700.0  # steps below exp of it are 0
_LARGEST_RATIO = 2.0**60  # of x to step_size * strength; above it the step takes off less than rounding does


def _exponents(x: Any, t: Any) -> tuple[Any, Any]:
    """``x / t - 1`` and ``x / t - 1 - log(t)``, with x / t within what can be computed with."""
    level = minimum(maximum(x / t, -_LARGEST_RATIO), _LARGEST_RATIO) - 1.0
    return level, level - log(t)


def _step(level: Any, exponent: Any, t: Any) -> Any:
    """``t * w`` with ``w + log(t * w) = level``, unless that is tiny."""
    w = _roughly(maximum(exponent, _LEAST_EXPONENT))
    # One step of fourth order (Fritsch, Shafer and Crowley 1973) makes 2e-4 less than rounding does.
    rest = (level - w) - log_of_normal(t * w)
    c = rest / (1.0 + w)
    g = (1.0 + w) + rest * (2.0 / 3.0)
    return t * (w * (1.0 + c * ((g - 0.5 * c) / (g - c))))


def _roughly(exponent: Any) -> Any:
    """The w with ``w + log(w) = exponent``, off by 2e-4 of itself at most: two rational functions, fitted."""
    z = exp_roughly(minimum(exponent, 1.0))
    below = z * (1.0 + z * (1.09235777 + z * 0.04641029)) / (1.0 + z * (2.08794873 + z * 0.68274873))
    a = maximum(exponent, 1.0)
    share = (2.05406446 + a * (4.6503722 + a)) / (8.74211425 + a * (5.64595511 + a))
    above = a - log_of_normal(a) * share
    is_below = exponent < 1.0
    return is_below * below + (1.0 - is_below) * above


def _term(x: float, strength: float) -> Any:
    product = strength * (x * log(x))
    return np.inf if x < 0.0 else product


def _prox(x: float, step_size: float, strength: float) -> Any:
    t = step_size * strength
    level, exponent = _exponents(x, t)
    step = _step(level, exponent, t)
    step = 0.0 if min(level, exponent) < _LEAST_EXPONENT else step
    step = x if x > _LARGEST_RATIO * t else step
    return max(x, 0.0) + 0.0 if t == 0.0 else step


def _terms(x: Float64Array, strength: float) -> Any:
    # At 0 the logarithm is some number, and the product 0 as it should be.
    products = strength * (x * log(x))
    outside = x < 0.0
    if outside.any():
        products[outside] = np.inf
    return products


def _steps(x: Float64Array, t: StepSize) -> Any:
    level, exponent = _exponents(x, t)
    steps = _step(level, exponent, t) * ~(np.minimum(level, exponent) < _LEAST_EXPONENT)
    large = x > _LARGEST_RATIO * t
    if large.any():
        steps = np.where(large, x, steps)
    if np.any(np.equal(t, 0.0)):
        steps = np.where(np.equal(t, 0.0), np.maximum(x, 0.0) + 0.0, steps)
    return steps


@register("negative_entropy")
@dataclass(frozen=True, slots=True)
class NegativeEntropy(ElementRegularizer):
    """Negative entropy of elements >= 0, ``strength * sum(x * log(x))``, 0 at 0, infinite below.

    Prox: with t = step_size * strength, ``t * omega(x / t - 1 - log(t))``, where ``w = omega(a)`` solves
    ``w + log(w) = a`` (Wright's function); it is above 0, but what is below 1e-304 becomes 0. With t = 0,
    the step ``max(x, 0)``. Gradient: ``strength * (1 + log(x))``, undefined at 0 and below. A strength of 0
    leaves the bound: penalty and gradient are 0 where ``x >= 0``, and the gradient is undefined below. A
    weight of 0 leaves the bound, too.

    Args:
        strength: Weight λ, finite, >= 0; units of loss per unit of x.

    Raises:
        FieldOutOfRange: If strength is negative or not finite.

    Source: Corless and Jeffrey (2002), The Wright ω function; Lawrence, Corless and Jeffrey (2012),
    Algorithm 917 (its iteration).
    """

    strength: float

    scalars: ClassVar[Scalars | None] = Scalars(term=_term, prox=_prox)
    traits: ClassVar[Traits] = Traits(
        convex=True,
        separable=True,
        smooth=False,
        positively_homogeneous=False,
        indicator=False,
        locality=Locality.ELEMENT,
    )
    description: ClassVar[Description] = Description(
        title="elements above zero, spread out",
        penalty="strength * sum x * ln x, 0 at 0, infinity below 0",
        terms="strength * (x * ln x) by fdlibm's logarithm, 0 at 0, infinity below",
        gradient="strength * (1 + ln x), undefined at 0 and below; at strength 0: 0, undefined below 0",
        prox="t * omega(x / t - 1 - ln t), omega the Wright function, t = step_size * strength; "
        "max(x, 0) at t = 0",
        parameters={"strength": "finite, >= 0; units of loss per unit of x"},
        source="Corless and Jeffrey 2002",
    )

    def __post_init__(self) -> None:
        """Check the parameters."""
        require_strength(self.strength)

    @property
    def scale(self) -> float:
        """1: the strength is in the terms, so that what is infinite stays so at strength 0."""
        return 1.0

    def terms(self, x: Float64Array, out: Float64Array) -> None:
        """Write strength·(x·ln x), 0 at 0, infinity below."""
        with np.errstate(all="ignore"):
            by_slices(_terms, out, x, self.strength)

    def weigh(self, terms: Float64Array, weights: npt.NDArray[Any]) -> None:
        """Multiply each term by its element's weight; what is infinite stays so where that is 0."""
        outside = np.isposinf(terms)
        with np.errstate(invalid="ignore"):
            terms *= weights
        terms[outside] = np.inf

    def gradient(self, x: Float64Array, out: Float64Array) -> None:
        """Write strength·(1 + ln x).

        Raises:
            GradientUndefined: If an element is 0 or below, naming the first; at strength 0, below 0.
        """
        outside = x <= 0.0 if self.strength else x < 0.0
        if outside.any():
            first = int(np.argmax(outside))
            rule = "> 0" if self.strength else ">= 0"
            raise GradientUndefined(f"must be {rule} to have a gradient, got {x[first]!s}", element=first)
        kept = np.where(np.isfinite(x), 0.0, x)
        with np.errstate(all="ignore"):
            by_slices(lambda part: self.strength * (1.0 + log(part)), out, x)
        out += kept

    def prox(self, x: Float64Array, step_size: StepSize, out: Float64Array) -> None:
        """Write t·ω(x/t − 1 − ln t)."""
        t = step_size * self.strength
        with np.errstate(all="ignore"):  # elements that are 0 or x in the end may be anything before
            by_slices(_steps, out, x, t)
