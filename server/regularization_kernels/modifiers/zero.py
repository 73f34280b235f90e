"""No regularizer at all, for modifiers of a segment that is exempt."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from ..expansions import Exponents, exponents_of
from ..regularizer import Description, Traits
from ..regularizers.elements.base import ElementRegularizer, Formulas


def _zero(x: Any) -> float:
    return 0.0


def _same(x: Any, step_size: Any) -> Any:
    return x


@dataclass(frozen=True, slots=True)
class Zero(ElementRegularizer):
    """The penalty that is 0 everywhere. Whatever operands come, it is the same."""

    name: ClassVar[str] = "an exempt segment"
    formulas: ClassVar[Formulas] = Formulas(_zero, _same, _zero)
    traits: ClassVar[Traits] = Traits(
        convex=True, separable=True, smooth=True, positively_homogeneous=True, keeps_zeros=True
    )
    description: ClassVar[Description] = Description(
        title="no penalty", penalty="0", terms="0", gradient="0", prox="x", source=""
    )

    def term_exponents(self, x: Exponents) -> Exponents:
        """Zeros."""
        del x
        return exponents_of(0.0)
