"""Modifiers of a segment's regularizer: bounds on top of it, and its smoothing by the Moreau envelope.

A modified regularizer is a regularizer again, so the engine cuts, buffers and adds up as it does for any
other. Modifiers are the layout's and not the catalogue's: they are in no registry.
"""

from .apply import modified
from .boxed import Boxed
from .modifier import with_operands
from .moreau_envelope import MoreauEnvelope
from .shifted import Shifted
from .zero import Zero

__all__ = ["Boxed", "MoreauEnvelope", "Shifted", "Zero", "modified", "with_operands"]
