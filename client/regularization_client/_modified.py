"""A regularizer with modifiers: bounds on top of it, and its smoothing."""

from __future__ import annotations

from dataclasses import dataclass

from google.protobuf.message import Message
from regularization.v1 import regularizers_pb2

from ._errors import ArgumentError
from ._messages import wrap


@dataclass(frozen=True)
class Modified:
    """A regularizer with modifiers, to be given wherever a regularizer is.

    With a box, the penalty is plus infinity where an element is outside the bounds, and the proximal step is
    clipped to them, which is exact. The bounds are on the parameters, also where there is a reference. Only
    convex sums over elements take a box.

    With smoothing γ, the penalty f, with its box, gives place to its Moreau envelope, the least of
    f(y) + |θ - y|² / 2γ over all y: finite everywhere, and smooth where f is convex. So kinks have slopes,
    and sets that must not be left become squared distances to them. Every penalty takes it; the proximal step
    is for convex ones only.

    Args:
        regularizer: One of the schema's messages; None for bounds alone.
        box: Bounds on every element: lower, upper or both.
        smoothing: γ, finite, > 0, in units of parameter² / loss: the more, the smoother.

    Raises:
        ArgumentError: If one of them is of another type. The server checks the rest.

    Example:
        >>> from regularization_client import Box, Client, L1Norm, Modified
        >>> positive = Modified(L1Norm(strength=0.5), box=Box(lower=0))
        >>> huber = Modified(L1Norm(strength=0.5), smoothing=1.0)
        >>> with Client() as client:
        ...     print(client.proximal_step([1.0, 0.25, -2.0], positive, step_size=1.0).parameters)
        ...     print(client.gradient([1.0, 0.25, -2.0], huber).gradient)
        [0.5 0.  0. ]
        [ 0.5   0.25 -0.5 ]
    """

    regularizer: Message | None
    box: regularizers_pb2.Box | None = None
    smoothing: float | None = None

    def __post_init__(self) -> None:
        wrap(self.regularizer)  # which says what it must be
        if self.box is not None and not isinstance(self.box, regularizers_pb2.Box):
            raise ArgumentError(f"box must be a Box or None, got {type(self.box).__name__}")
        if self.smoothing is not None:
            try:
                object.__setattr__(self, "smoothing", float(self.smoothing))
            except (TypeError, ValueError) as error:
                raise ArgumentError(f"smoothing must be a number or None, got {self.smoothing!r}") from error


def without_modifiers(regularizer: Message | Modified | None) -> Message | None:
    """Return the regularizer that is modified, or that is not."""
    return regularizer.regularizer if isinstance(regularizer, Modified) else regularizer
