"""The methods, and what each takes beside the parameters."""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ..regularizer import Regularizer


class Method(Enum):
    """The three verbs."""

    PENALTY = "penalty"
    GRADIENT = "gradient"
    PROXIMAL_STEP = "proximal_step"


class Operand(Enum):
    """What may come beside the parameters; each value is the name of its field in ``Chunk``."""

    LOSS_GRADIENTS = "loss_gradients"
    REFERENCE = "reference"
    WEIGHTS = "weights"
    STEP_SCALES = "step_scales"

    @property
    def may_be_negative(self) -> bool:
        """Whether its elements may be below 0."""
        return self in (Operand.LOSS_GRADIENTS, Operand.REFERENCE)

    def refused_by(self, method: Method, regularizer: Regularizer | None) -> str | None:
        """The name of the method or the regularizer that does not take it; None where both do.

        Args:
            method: The call's.
            regularizer: The segment's; None where that is exempt, which takes whatever its method does.
        """
        if self not in _TAKEN[method]:
            return method.value
        if regularizer is None or self is Operand.LOSS_GRADIENTS:
            return None
        return None if getattr(regularizer, f"takes_{self.value}") else regularizer.name


_TAKEN = {
    Method.PENALTY: {Operand.REFERENCE, Operand.WEIGHTS},
    Method.GRADIENT: {Operand.LOSS_GRADIENTS, Operand.REFERENCE, Operand.WEIGHTS},
    Method.PROXIMAL_STEP: set(Operand),
}
