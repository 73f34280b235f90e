"""What a call may raise.

::

    RegularizationError
    ├── ArgumentError (also ValueError)             refused here; nothing was sent
    │   └── DataTypeError (also TypeError)          an array of a data type that is not supported
    ├── InvalidRequestError                         INVALID_ARGUMENT, OUT_OF_RANGE; another plan
    ├── GradientUndefinedError                      FAILED_PRECONDITION
    ├── ResourceExhaustedError                      RESOURCE_EXHAUSTED
    ├── UnavailableError                            UNAVAILABLE, after the last attempt
    │   └── TlsError                                the two ends do not agree on encryption
    ├── DeadlineExceededError (also TimeoutError)   DEADLINE_EXCEEDED
    ├── AuthenticationError                         UNAUTHENTICATED, PERMISSION_DENIED
    ├── SharedMemoryError                           no memory can be shared, or not so much
    ├── UnimplementedError                          UNIMPLEMENTED: the target is no such service
    ├── InternalError                               INTERNAL, UNKNOWN and every other code
    ├── ProtocolError                               the answer breaks the contract
    │   └── TruncatedStreamError                    the answer ended before its summary
    ├── PartFailedError                             another rank's part could not be measured
    └── EmbeddedServerError (also ImportError)      no target, and no server extra installed

Branch on the class, on ``RegularizationError.code`` and on ``RegularizationError.reason``; never on the text.
"""

from __future__ import annotations

from collections.abc import Mapping

import grpc


class RegularizationError(Exception):
    """Base of everything that this package raises on purpose."""

    message: str
    """What went wrong, for people: the rule, the value, the place."""

    code: grpc.StatusCode | None
    """The status code of the call; None where the error arose in the client."""

    reason: str | None
    """Name of the schema's ``ErrorReason``, such as "ERROR_REASON_FIELD_OUT_OF_RANGE"; None without one."""

    field: str | None
    """Path of the request's field at fault, such as "header.step_size"; None without one."""

    segment: str | None
    """Name of the parameter array at fault; None where none is."""

    element: int | None
    """Index, in the whole flat vector, of the element at fault; None where none is."""

    request_id: str | None
    """What the server's log knows the call by; None where the server did not say. The text ends with it."""

    metadata: Mapping[str, str]
    """The figures that the reason comes with, such as "expected" and "received"."""

    retry_after: float | None
    """Seconds after which the server would have the call tried again; None where it does not say so."""

    def __init__(
        self,
        message: str,
        *,
        code: grpc.StatusCode | None = None,
        reason: str | None = None,
        field: str | None = None,
        segment: str | None = None,
        element: int | None = None,
        request_id: str | None = None,
        metadata: Mapping[str, str] | None = None,
        retry_after: float | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.code = code
        self.reason = reason
        self.field = field
        self.segment = segment
        self.element = element
        self.request_id = request_id
        self.metadata = dict(metadata or {})
        self.retry_after = retry_after

    def __str__(self) -> str:
        """Return the message, the place where it does not name one, and the request's id."""
        place = [f"segment {self.segment!r}"] if self.segment is not None else []
        place += [f"element {self.element}"] if self.element is not None else []
        # A fault's text has the id already.
        if self.request_id is not None and self.request_id not in self.message:
            place.append(f"request {self.request_id}")
        return f"{self.message} ({', '.join(place)})" if place and self.code is not None else self.message


class ArgumentError(RegularizationError, ValueError):
    """The arguments do not fit together; nothing was sent."""


class DataTypeError(ArgumentError, TypeError):
    """An array has a data type that is not supported; nothing was sent."""


class InvalidRequestError(RegularizationError):
    """The server refuses the request: see ``reason``, ``field``, ``segment`` and ``element``."""


class GradientUndefinedError(RegularizationError):
    """No subgradient exists at these parameters, for instance outside a box."""


class ResourceExhaustedError(RegularizationError):
    """The server has no memory, or no room for another call, just now, after the last attempt.

    ``metadata["scope"]`` says for whom: "caller" where it is this caller who has as much as one may have,
    "server" where all callers together have it all.
    """


class UnavailableError(RegularizationError):
    """No server could be reached, or it went away, in every attempt that the deadline left time for."""


class TlsError(UnavailableError):
    """No connection could be made because of its encryption; no other attempt would end otherwise."""


class DeadlineExceededError(RegularizationError, TimeoutError):
    """The call's timeout passed before its answer was there."""


class AuthenticationError(RegularizationError):
    """The server does not accept the token or the certificate."""


class SharedMemoryError(RegularizationError):
    """The server shares no memory with this client, or not so much, or not that which a call names."""


class UnimplementedError(RegularizationError):
    """Whatever answers at the target does not offer this service."""


class InternalError(RegularizationError):
    """A fault of the server, or a status that no other class stands for."""


class ProtocolError(RegularizationError):
    """The answer breaks the contract, so that it is not to be trusted."""


class TruncatedStreamError(ProtocolError):
    """The answer ended without its summary, so that it is not whole."""


class PartFailedError(RegularizationError):
    """Of a vector in several places another part could not be measured; its own call says why."""


class EmbeddedServerError(RegularizationError, ImportError):
    """There is no target, and the package that the embedded server comes from is not installed."""
