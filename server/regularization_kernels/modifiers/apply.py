"""From a segment's regularizer and modifiers to the one regularizer that takes their place."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .boxed import Boxed
from .moreau_envelope import MoreauEnvelope
from .zero import Zero

if TYPE_CHECKING:
    from ..arrays import DataType
    from ..regularizer import Regularizer
    from ..regularizers.elements.box import Box


def modified(
    regularizer: Regularizer | None, box: Box | None, smoothing: float | None, data_type: DataType
) -> Regularizer | None:
    """The regularizer with its modifiers, the box first.

    Args:
        regularizer: Made ready for its segment; None where that is exempt.
        box: Bounds on every element; None for none.
        smoothing: Of the Moreau envelope of all that; None for none.
        data_type: What the bounds are rounded to.

    Raises:
        ModifierUnsupported: If the regularizer does not take a modifier.
        FieldOutOfRange: If smoothing is not in its range, or the box leaves no point.
    """
    if box is not None:
        boxed = Boxed(Zero() if regularizer is None else regularizer, box.on((), data_type))
        boxed.require_common_point()
        regularizer = boxed
    if smoothing is not None:
        smoothed = MoreauEnvelope(Zero() if regularizer is None else regularizer, smoothing)
        # The envelope of nothing is nothing.
        regularizer = None if isinstance(smoothed.inner, Zero) else smoothed
    return regularizer
