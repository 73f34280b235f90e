"""Every regularizer of the schema, as its comments define it."""

from __future__ import annotations

from dataclasses import replace

from .elements import ELEMENTS
from .groups import BALLS_OF_GROUPS, GROUPS
from .matrices import MATRICES
from .row import Message, Row
from .sequences import ITERATED, SEQUENCES
from .vectors import VECTORS

ROWS: dict[str, Row] = {
    **ELEMENTS,
    **GROUPS,
    **VECTORS,
    **{name: replace(row, value_error=ITERATED.get(name, 0.0)) for name, row in SEQUENCES.items()},
    **MATRICES,
}


def row_of(regularizer: Message) -> tuple[Row, Message]:
    """What the oracle knows of a ``Regularizer``, and the message of its kind."""
    name = regularizer.WhichOneof("kind")
    message = getattr(regularizer, name)
    if name in BALLS_OF_GROUPS and message.HasField("groups"):
        return BALLS_OF_GROUPS[name], message
    return ROWS[name], message


__all__ = ["ROWS", "Row", "row_of"]
