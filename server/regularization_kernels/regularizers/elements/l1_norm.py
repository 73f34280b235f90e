"""The L1 norm: sparsity, element by element."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from ...formulas.operations import sign
from ...regularizer import NOT_NEGATIVE, Description, Traits, parameter, register
from .base import ElementRegularizer, Formulas
from .thresholding import soft_threshold


def _term(x: Any, strength: float) -> Any:
    return abs(x)


def _step(x: Any, step_size: Any, strength: float) -> Any:
    return soft_threshold(x, step_size * strength)


def _slope(x: Any, strength: float) -> Any:
    return sign(x) * strength + 0.0


@register("l1_norm")
@dataclass(frozen=True, slots=True)
class L1Norm(ElementRegularizer):
    """Sum of absolute values, ``strength * sum(|x|)``.

    Source: Tibshirani (1996), Regression shrinkage and selection via the lasso.
    """

    strength: float = parameter(NOT_NEGATIVE, "units of loss per unit of x")

    formulas: ClassVar[Formulas] = Formulas(_term, _step, _slope)
    grows_with_magnitude: ClassVar[bool] = True
    scaled: ClassVar[bool] = True
    traits: ClassVar[Traits] = Traits(
        convex=True, separable=True, positively_homogeneous=True, keeps_zeros=True
    )
    description: ClassVar[Description] = Description(
        title="sparsity: many elements exactly zero",
        penalty="strength * sum |x|",
        terms="|x|; scale: strength",
        gradient="strength * sign(x), 0 at 0",
        prox="sign(x) * max(|x| - step_size * strength, 0)",
        source="Tibshirani 1996",
    )
