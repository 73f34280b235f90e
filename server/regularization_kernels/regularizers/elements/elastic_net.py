"""The elastic net: sparsity and small weights together."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from ...arrays import Float64Array, StepSize
from ...expansions import Exponents, exponents_of
from ...regularizer import Description, Locality, Traits, register, require_strength
from .base import ElementRegularizer
from .compiled_loop import Scalars
from .thresholding import soft_threshold


def _term(x: float, l1_strength: float, l2_strength: float) -> float:
    return (0.5 * l2_strength * abs(x) + l1_strength) * abs(x)


def _prox(x: float, step_size: float, l1_strength: float, l2_strength: float) -> float:
    threshold = step_size * l1_strength
    shrunk = x if threshold == 0.0 else x - min(max(x, -threshold), threshold)
    return shrunk / (1.0 + step_size * l2_strength)


@register("elastic_net")
@dataclass(frozen=True, slots=True)
class ElasticNet(ElementRegularizer):
    """Absolute values and half squares, ``l1_strength * sum(|x|) + l2_strength * 1/2 * sum(x**2)``.

    Prox: ``S(x, step_size * l1_strength) / (1 + step_size * l2_strength)`` with the soft threshold S.
    Gradient: ``l1_strength * sign(x) + l2_strength * x``, 0 at 0.

    Args:
        l1_strength: Weight of the absolute values, finite, >= 0; units of loss per unit of x.
        l2_strength: Weight of the half squares, finite, >= 0; units of loss per unit of x squared.

    Raises:
        FieldOutOfRange: If one of them is negative or not finite.

    Source: Zou and Hastie (2005), Regularization and variable selection via the elastic net; this
    parametrization is theirs with the ½ of ``squared_l2_norm``.
    """

    l1_strength: float
    l2_strength: float

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
        title="sparsity that keeps correlated elements together",
        penalty="l1_strength * sum |x| + l2_strength * 1/2 * sum x^2",
        terms="((1/2 * l2_strength) * |x| + l1_strength) * |x|",
        gradient="l1_strength * sign(x) + l2_strength * x, 0 at 0",
        prox="S(x, step_size * l1_strength) / (1 + step_size * l2_strength)",
        parameters={
            "l1_strength": "finite, >= 0; units of loss per unit of x",
            "l2_strength": "finite, >= 0; units of loss per unit of x squared",
        },
        source="Zou and Hastie 2005",
    )

    def __post_init__(self) -> None:
        """Check the parameters."""
        require_strength(self.l1_strength, "l1_strength")
        require_strength(self.l2_strength, "l2_strength")

    @property
    def scale(self) -> float:
        """1: the strengths are in the terms."""
        return 1.0

    def term_exponents(self, x: Exponents) -> Exponents:
        """Products of the operations' results."""
        slope = (
            exponents_of(0.5)
            .times(exponents_of(self.l2_strength))
            .times(x)
            .plus(exponents_of(self.l1_strength))
        )
        return slope.times(x)

    def terms(self, x: Float64Array, out: Float64Array) -> None:
        """Write ((½·l2_strength)·|x| + l1_strength)·|x|."""
        magnitudes = np.abs(x)
        np.multiply(magnitudes, 0.5 * self.l2_strength, out=out)
        out += self.l1_strength
        out *= magnitudes

    def gradient(self, x: Float64Array, out: Float64Array) -> None:
        """Write l1_strength·sign(x) + l2_strength·x."""
        np.add(self.l1_strength * np.sign(x), self.l2_strength * x, out=out)
        out += 0.0  # no negative zeros

    def prox(self, x: Float64Array, step_size: StepSize, out: Float64Array) -> None:
        """Write S(x, step_size·l1_strength) / (1 + step_size·l2_strength)."""
        soft_threshold(x, step_size * self.l1_strength, out)
        out /= 1.0 + step_size * self.l2_strength
