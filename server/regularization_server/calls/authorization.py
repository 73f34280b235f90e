"""The bearer token that callers must show (RFC 6750)."""

from __future__ import annotations

import hmac
from collections.abc import Iterable

from ..contract.refusals import TokenRefused

HEADER = "authorization"
"""Name of the header that shows the token."""

SCHEME = b"bearer"
"""The word before the token, in upper or lower case (RFC 9110, section 11.1)."""


def check_token(metadata: Iterable[tuple[str, str | bytes]], token: bytes) -> None:
    """Check that a call shows the token.

    Args:
        metadata: The call's headers, as gRPC has read them. Errors never repeat what a caller wrote.
        token: The token that callers must show.

    Raises:
        TokenRefused: If there is not exactly one such header, or it shows something else.
    """
    shown = [value for name, value in metadata if name == HEADER]
    if len(shown) != 1:
        raise TokenRefused(f"the call must have one header 'authorization: Bearer <token>', got {len(shown)}")
    # gRPC reads what is not UTF-8 as Latin-1: that is not the token, whatever the bytes were.
    raw = shown[0] if isinstance(shown[0], bytes) else shown[0].encode(errors="replace")
    scheme, _, rest = raw.strip(b" ").partition(b" ")
    if scheme.lower() != SCHEME or not hmac.compare_digest(rest.lstrip(b" "), token):
        raise TokenRefused("the call must show the server's token as 'authorization: Bearer <token>'")
