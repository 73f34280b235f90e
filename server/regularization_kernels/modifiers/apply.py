"""From a segment's regularizer and modifiers to the one regularizer that takes their place."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .boxed import Boxed
from .moreau_envelope import MoreauEnvelope
from .zero import Zero

if TYPE_CHECKING:
    from ..arrays import DataType
    from ..prepared import Prepared
    from ..regularizer import Regularizer
    from ..regularizers.elements.box import Box


def modified(
    regularizer: Regularizer | None,
    prepared: Prepared | None,
    box: Box | None,
    smoothing: float | None,
    data_type: DataType,
) -> tuple[Regularizer | None, Prepared | None]:
    """The regularizer with its modifiers, the box first: what it is, and the same made ready.

    Args:
        regularizer: None where the segment is exempt.
        prepared: The same made ready for its segment.
        box: Bounds on every element; None for none.
        smoothing: Of the Moreau envelope of all that; None for none.
        data_type: What the bounds are rounded to.

    Raises:
        ModifierUnsupported: If the regularizer does not take a modifier.
        FieldOutOfRange: If smoothing is not in its range, or the box leaves no point.
    """
    if box is not None:
        boxed = Boxed(regularizer or Zero(), box)
        regularizer, prepared = boxed, boxed.around(prepared or Zero(), data_type)
    if smoothing is not None:
        smoothed = MoreauEnvelope(regularizer or Zero(), smoothing)
        # The envelope of nothing is nothing.
        if prepared is not None:
            regularizer, prepared = smoothed, smoothed.around(prepared, data_type)
    return regularizer, prepared
