"""The log-sum penalty: reweighted sparsity."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from ...formulas.operations import copysign, maximum, sign, sqrt, where
from ...regularizer import NOT_NEGATIVE, POSITIVE, Description, Traits, parameter, register
from .base import ElementRegularizer, Formulas
from .logarithm import log1p


def _roots(magnitude: Any, t: Any, epsilon: float) -> tuple[Any, Any]:
    """``2 * sqrt(t) / (|x| + epsilon)``, above 1 where there is no root, and the larger root r or 0."""
    width = magnitude + epsilon
    ratio = 2.0 * sqrt(t) / width
    root = width * sqrt(maximum((1.0 - ratio) * (1.0 + ratio), 0.0))
    r = maximum(0.5 * ((magnitude - epsilon) + root), 0.0)
    # The root is |x| - t / (r + epsilon), too, and there a small r loses no digits.
    return ratio, maximum(magnitude - t / (r + epsilon), 0.0)


def _gain(r: Any, magnitude: Any, t: Any, epsilon: float) -> Any:
    """The objective at r less that at 0, times the step size; NaN beyond the range of numbers."""
    return t * log1p(r / epsilon) - r * (magnitude - 0.5 * r)


def _term(x: Any, strength: float, epsilon: float) -> Any:
    y = abs(x) / epsilon
    return where(y < np.inf, log1p(y), y)


def _step(x: Any, step_size: Any, strength: float, epsilon: float) -> Any:
    t = step_size * strength
    ratio, r = _roots(abs(x), t, epsilon)
    worse = (ratio > 1.0) | (_gain(r, abs(x), t, epsilon) >= 0.0)
    # Up to there the objective is convex from 0 on, and the root its only minimum.
    vanishes = where(sqrt(t) > epsilon, worse, abs(x) * epsilon <= t)
    return where(t == 0.0, x, where(vanishes, 0.0, copysign(r, x)))


def _slope(x: Any, strength: float, epsilon: float) -> Any:
    return sign(x) * strength / (abs(x) + epsilon) + 0.0


@register("log_sum")
@dataclass(frozen=True, slots=True)
class LogSum(ElementRegularizer):
    """Sum of logarithms, ``strength * sum(log(1 + |x| / epsilon))``.

    Source: Candès, Wakin and Boyd (2008), Enhancing sparsity by reweighted l1 minimization;
    Prater-Bennette, Shen and Tripp (2021), The proximity operator of the log-sum penalty.
    """

    strength: float = parameter(NOT_NEGATIVE, "units of loss")
    epsilon: float = parameter(POSITIVE, "units of x")

    formulas: ClassVar[Formulas] = Formulas(_term, _step, _slope)
    grows_with_magnitude: ClassVar[bool] = True
    scaled: ClassVar[bool] = True
    traits: ClassVar[Traits] = Traits(separable=True, keeps_zeros=True)
    description: ClassVar[Description] = Description(
        title="reweighted sparsity: the smaller an element, the more it shrinks",
        penalty="strength * sum log(1 + |x| / epsilon)",
        terms="log(1 + |x| / epsilon) by fdlibm's logarithm; scale: strength",
        gradient="strength * sign(x) / (|x| + epsilon), 0 at 0",
        prox="sign(x) * r, r = max(0, (|x| - epsilon + sqrt((|x| + epsilon)^2 - 4 * t)) / 2), "
        "or 0 if the root is not real or 0 has no larger objective; t = step_size * strength",
        source="Candès et al. 2008; Prater-Bennette et al. 2021",
    )
