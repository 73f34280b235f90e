"""A regularizer of several arrays together."""

from __future__ import annotations

from dataclasses import dataclass

from google.protobuf.message import Message

from ._errors import ArgumentError
from ._messages import wrap


@dataclass(frozen=True)
class Joint:
    """A regularizer of all arrays together that it is given for: to it their elements are one vector.

    So ``{"*.weight": Joint(TopK(fraction=0.1)), "*": None}`` keeps the largest tenth of all weights. Given
    under several names or patterns, one and the same object is one regularizer of all their arrays; two
    objects are two. The arrays take one step size, loss gradients (in a proximal step all or none), and no
    other operand. The penalty is told in the figures of the first of them that has elements.

    Args:
        regularizer: One that is computed by statistics of parts: ``TopK``, ``L2Norm``, ``LinfNorm``; for
            float32 and float64 also ``L1Ball``, ``L2Ball`` and ``Simplex``. The server refuses others.

    Raises:
        ArgumentError: If it is none of the schema's regularizers.

    Example:
        >>> import numpy as np
        >>> from regularization_client import Client, Joint, TopK
        >>> model = {"a.weight": [3.0, 1.0, 0.5], "b.weight": [2.0, 0.25, 0.0], "b.bias": [0.1]}
        >>> largest = {"*.weight": Joint(TopK(fraction=1 / 3)), "*": None}
        >>> with Client() as client:
        ...     pruned = client.proximal_step(model, largest, step_size=1.0)
        >>> pruned.parameters["a.weight"], pruned.parameters["b.weight"], pruned.parameters["b.bias"]
        (array([3., 0., 0.]), array([2., 0., 0.]), array([0.1]))
    """

    regularizer: Message

    def __post_init__(self) -> None:
        if wrap(self.regularizer) is None:  # which says what else it must be
            raise ArgumentError("a joint regularizer must be one of the schema's, got None")
