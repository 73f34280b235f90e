"""What the transport itself refuses, beside the errors of the mathematics."""

from __future__ import annotations

from regularization_kernels.errors import RegularizationError


class MessageUnreadable(RegularizationError):
    """The bytes of a message are not the message that the method takes."""


class TokenRefused(RegularizationError):
    """The call does not show the bearer token that the server asks for."""


class TooManyCalls(RegularizationError):
    """As many calls as the server takes are in flight."""
