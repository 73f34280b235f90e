"""The negative entropy: elements above zero, spread out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from ...arrays import Float64Array
from ...errors import GradientUndefined
from ...formulas.operations import maximum, minimum, where
from ...regularizer import NOT_NEGATIVE, Description, Traits, parameter, register
from .base import ElementRegularizer, Formulas
from .logarithm import exp_roughly, log, log_of_normal

_LEAST_EXPONENT = -700.0  # steps below exp of it are 0
_LARGEST_RATIO = 2.0**60  # of x to step_size * strength; above it the step takes off less than rounding does


def _exponents(x: Any, t: Any) -> tuple[Any, Any]:
    """``x / t - 1`` and ``x / t - 1 - log(t)``, with x / t within what can be computed with."""
    level = minimum(maximum(x / t, -_LARGEST_RATIO), _LARGEST_RATIO) - 1.0
    return level, level - log(t)


def _omega(level: Any, exponent: Any, t: Any) -> Any:
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


def _term(x: Any, strength: float) -> Any:
    # At 0 the logarithm is some number, and the product 0 as it should be.
    return where(x < 0.0, np.inf, strength * (x * log(x)))


def _step(x: Any, step_size: Any, strength: float) -> Any:
    t = step_size * strength
    level, exponent = _exponents(x, t)
    step = where(minimum(level, exponent) < _LEAST_EXPONENT, 0.0, _omega(level, exponent, t))
    return where(t == 0.0, maximum(x, 0.0) + 0.0, where(x > _LARGEST_RATIO * t, x, step))


def _slope(x: Any, strength: float) -> Any:
    return strength * (1.0 + log(x)) + where(abs(x) < np.inf, 0.0, x)


@register("negative_entropy")
@dataclass(frozen=True, slots=True)
class NegativeEntropy(ElementRegularizer):
    """Negative entropy of elements >= 0, ``strength * sum(x * log(x))``, 0 at 0, infinite below.

    A step is above 0, but what is below 1e-304 becomes 0. A strength or a weight of 0 leaves the bound.

    Source: Corless and Jeffrey (2002), The Wright ω function; Lawrence, Corless and Jeffrey (2012),
    Algorithm 917 (its iteration).
    """

    strength: float = parameter(NOT_NEGATIVE, "units of loss per unit of x")

    formulas: ClassVar[Formulas] = Formulas(_term, _step, _slope)
    traits: ClassVar[Traits] = Traits(convex=True, separable=True)
    description: ClassVar[Description] = Description(
        title="elements above zero, spread out",
        penalty="strength * sum x * ln x, 0 at 0, infinity below 0",
        terms="strength * (x * ln x) by fdlibm's logarithm, 0 at 0, infinity below",
        gradient="strength * (1 + ln x), undefined at 0 and below; at strength 0: 0, undefined below 0",
        prox="t * omega(x / t - 1 - ln t), omega the Wright function, t = step_size * strength; "
        "max(x, 0) at t = 0",
        source="Corless and Jeffrey 2002",
    )

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
        super(NegativeEntropy, self).gradient(x, out)
