"""The log-sum penalty: reweighted sparsity."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from ...arrays import Float64Array, StepSize
from ...regularizer import Description, Locality, Traits, register, require_positive, require_strength
from .base import ElementRegularizer
from .compiled_loop import Scalars
from .logarithm import by_slices, log1p, maximum


def _roots(magnitude: Any, t: Any, epsilon: float) -> tuple[Any, Any]:
    """``2 * sqrt(t) / (|x| + epsilon)``, above 1 where there is no root, and the larger root r or 0."""
    width = magnitude + epsilon
    ratio = 2.0 * np.sqrt(t) / width
    root = width * np.sqrt(maximum((1.0 - ratio) * (1.0 + ratio), 0.0))
    r = maximum(0.5 * ((magnitude - epsilon) + root), 0.0)
    # The root is |x| - t / (r + epsilon), too, and there a small r loses no digits.
    return ratio, maximum(magnitude - t / (r + epsilon), 0.0)


def _gain(r: Any, magnitude: Any, t: Any, epsilon: float) -> Any:
    """The objective at r less that at 0, times the step size; NaN beyond the range of numbers."""
    return t * log1p(r / epsilon) - r * (magnitude - 0.5 * r)


def _term(x: float, strength: float, epsilon: float) -> Any:
    y = abs(x) / epsilon
    logarithm = log1p(y)
    return logarithm if y < np.inf else y


def _prox(x: float, step_size: float, strength: float, epsilon: float) -> float:
    t = step_size * strength
    ratio, r = _roots(abs(x), t, epsilon)
    jumps = math.sqrt(t) > epsilon
    worse = (ratio > 1.0) | (_gain(r, abs(x), t, epsilon) >= 0.0)
    # Without a branch, several elements go at once.
    vanishes = (jumps & worse) | ((not jumps) & (abs(x) * epsilon <= t))
    step = 0.0 if vanishes else math.copysign(r, x)
    return x if t == 0.0 else step


def _terms(x: Float64Array, epsilon: float) -> Any:
    y = np.abs(x) / epsilon
    logarithms = log1p(y)
    beyond = ~(y < np.inf)
    if beyond.any():
        logarithms[beyond] = y[beyond]
    return logarithms


def _steps(x: Float64Array, t: float, epsilon: float) -> Any:
    magnitudes = np.abs(x)
    ratio, r = _roots(magnitudes, t, epsilon)
    if math.sqrt(t) > epsilon:
        vanishes = (ratio > 1.0) | (_gain(r, magnitudes, t, epsilon) >= 0.0)
    else:  # The objective is convex from 0 on, and the root its only minimum.
        vanishes = magnitudes * epsilon <= t
    return np.copysign(r, x) * ~vanishes + 0.0


@register("log_sum")
@dataclass(frozen=True, slots=True)
class LogSum(ElementRegularizer):
    """Sum of logarithms, ``strength * sum(log(1 + |x| / epsilon))``.

    Prox: with t = step_size * strength, ``sign(x) * r`` with
    ``r = max(0, (|x| - epsilon + sqrt((|x| + epsilon)**2 - 4 * t)) / 2)``, or 0 where the root is not real or
    0 has no larger objective. Gradient: ``strength * sign(x) / (|x| + epsilon)``, 0 at 0.

    Args:
        strength: Weight λ, finite, >= 0; units of loss.
        epsilon: Width of the peak at 0, finite, > 0; units of x.

    Raises:
        FieldOutOfRange: If strength is negative or not finite, or epsilon is not positive or not finite.

    Source: Candès, Wakin and Boyd (2008), Enhancing sparsity by reweighted l1 minimization;
    Prater-Bennette, Shen and Tripp (2021), The proximity operator of the log-sum penalty.
    """

    strength: float
    epsilon: float

    scalars: ClassVar[Scalars | None] = Scalars(term=_term, prox=_prox)
    grows_with_magnitude: ClassVar[bool] = True
    traits: ClassVar[Traits] = Traits(
        convex=False,
        separable=True,
        smooth=False,
        positively_homogeneous=False,
        indicator=False,
        locality=Locality.ELEMENT,
    )
    description: ClassVar[Description] = Description(
        title="reweighted sparsity: the smaller an element, the more it shrinks",
        penalty="strength * sum log(1 + |x| / epsilon)",
        terms="log(1 + |x| / epsilon) by fdlibm's logarithm; scale: strength",
        gradient="strength * sign(x) / (|x| + epsilon), 0 at 0",
        prox="sign(x) * r, r = max(0, (|x| - epsilon + sqrt((|x| + epsilon)^2 - 4 * t)) / 2), "
        "or 0 if the root is not real or 0 has no larger objective; t = step_size * strength",
        parameters={
            "strength": "finite, >= 0; units of loss",
            "epsilon": "finite, > 0; units of x",
        },
        source="Candès et al. 2008; Prater-Bennette et al. 2021",
    )

    def __post_init__(self) -> None:
        """Check the parameters."""
        require_strength(self.strength)
        require_positive(self.epsilon, "epsilon")

    @property
    def scale(self) -> float:
        """The strength."""
        return self.strength

    def terms(self, x: Float64Array, out: Float64Array) -> None:
        """Write log(1 + |x|/epsilon)."""
        with np.errstate(all="ignore"):
            by_slices(_terms, out, x, self.epsilon)

    def gradient(self, x: Float64Array, out: Float64Array) -> None:
        """Write strength·sign(x)/(|x| + epsilon)."""
        widths = np.abs(x)
        widths += self.epsilon
        np.sign(x, out=out)
        out *= self.strength
        out /= widths
        out += 0.0  # no negative zeros

    def prox(self, x: Float64Array, step_size: StepSize, out: Float64Array) -> None:
        """Write the better of 0 and the larger root, with the sign of x."""
        t = step_size * self.strength
        if t == 0.0:
            np.copyto(out, x)
            return
        with np.errstate(all="ignore"):  # elements that are 0 in the end may be anything before
            by_slices(_steps, out, x, t, self.epsilon)
