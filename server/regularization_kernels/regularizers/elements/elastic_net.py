"""The elastic net: sparsity and small weights together."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from ...formulas.operations import sign
from ...regularizer import NOT_NEGATIVE, Description, Traits, parameter, register
from .base import ElementRegularizer, Formulas
from .thresholding import soft_threshold


def _term(x: Any, l1_strength: float, l2_strength: float) -> Any:
    return (0.5 * l2_strength * abs(x) + l1_strength) * abs(x)


def _step(x: Any, step_size: Any, l1_strength: float, l2_strength: float) -> Any:
    return soft_threshold(x, step_size * l1_strength) / (1.0 + step_size * l2_strength)


def _slope(x: Any, l1_strength: float, l2_strength: float) -> Any:
    return (l1_strength * sign(x) + l2_strength * x) + 0.0


@register("elastic_net")
@dataclass(frozen=True, slots=True)
class ElasticNet(ElementRegularizer):
    """Absolute values and half squares, ``l1_strength * sum(|x|) + l2_strength * 1/2 * sum(x**2)``.

    Source: Zou and Hastie (2005), Regularization and variable selection via the elastic net; this
    parametrization is theirs with the ½ of ``squared_l2_norm``.
    """

    l1_strength: float = parameter(NOT_NEGATIVE, "units of loss per unit of x")
    l2_strength: float = parameter(NOT_NEGATIVE, "units of loss per unit of x squared")

    formulas: ClassVar[Formulas] = Formulas(_term, _step, _slope)
    grows_with_magnitude: ClassVar[bool] = True
    traits: ClassVar[Traits] = Traits(convex=True, separable=True, keeps_zeros=True)
    description: ClassVar[Description] = Description(
        title="sparsity that keeps correlated elements together",
        penalty="l1_strength * sum |x| + l2_strength * 1/2 * sum x^2",
        terms="((1/2 * l2_strength) * |x| + l1_strength) * |x|",
        gradient="l1_strength * sign(x) + l2_strength * x, 0 at 0",
        prox="S(x, step_size * l1_strength) / (1 + step_size * l2_strength)",
        source="Zou and Hastie 2005",
    )
