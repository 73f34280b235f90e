"""The bearer tokens that callers must show (RFC 6750)."""

from __future__ import annotations

import hmac
from collections.abc import Callable, Iterable
from typing import NamedTuple

from ..contract.refusals import TokenMissing, TokenRefused

HEADER = "authorization"
"""Name of the header that shows the token."""

SCHEME = b"bearer"
"""The word before the token, in upper or lower case (RFC 9110, section 11.1)."""

Metadata = Iterable[tuple[str, str | bytes]]
"""A call's headers, as gRPC has read them."""

Authorize = Callable[[Metadata], str | None]
"""Gives the name of the token that a call shows, or raises as ``name_of`` does."""


class Token(NamedTuple):
    """A token that opens."""

    name: str | None
    """What the operator calls whoever has it; None where all share the only one."""
    secret: bytes


def name_of(metadata: Metadata, tokens: Iterable[Token]) -> str | None:
    """The name of the token that a call shows; None where it has none.

    Args:
        metadata: The call's headers. Errors never repeat what a caller wrote.
        tokens: Those that open.

    Raises:
        TokenMissing: If there is no such header.
        TokenRefused: If there are several, or it shows something else.
    """
    shown = [value for name, value in metadata if name == HEADER]
    if not shown:
        raise TokenMissing("the server asks for a token, as 'authorization: Bearer <token>', got none")
    if len(shown) != 1:
        raise TokenRefused(f"the call must have one header 'authorization: Bearer <token>', got {len(shown)}")
    # gRPC reads what is not UTF-8 as Latin-1: that is not the token, whatever the bytes were.
    raw = shown[0] if isinstance(shown[0], bytes) else shown[0].encode(errors="replace")
    scheme, _, rest = raw.strip(b" ").partition(b" ")
    secret = rest.lstrip(b" ")
    # With every one of them, so that the time tells nothing.
    fitting = [token for token in tokens if hmac.compare_digest(secret, token.secret)]
    if scheme.lower() != SCHEME or not fitting:
        raise TokenRefused("the call must show a token of the server's as 'authorization: Bearer <token>'")
    return fitting[0].name
