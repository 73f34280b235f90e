"""What a call shows to be let in: the server's bearer token (RFC 6750)."""

from __future__ import annotations

import hmac
from collections.abc import Iterable

from ..contract.refusals import TokenRefused

HEADER = "authorization"
"""Name of the header that shows the token."""

SCHEME = b"bearer"
"""What stands before the token, in letters of either case (RFC 9110, section 11.1)."""


def check_token(metadata: Iterable[tuple[str, str | bytes]], token: bytes) -> None:
    """Check that a call shows the token.

    Args:
        metadata: What the call came with, as gRPC has read it. What a caller wrote is never repeated.
        token: The token that callers must show.

    Raises:
        TokenRefused: If there is not exactly one such header, or it shows something else.
    """
    shown = [value for name, value in metadata if name == HEADER]
    if len(shown) != 1:
        raise TokenRefused(f"the call must have one header 'authorization: Bearer <token>', got {len(shown)}")
    # What is not UTF-8 comes from gRPC as Latin-1: not the token, whatever the bytes were.
    raw = shown[0] if isinstance(shown[0], bytes) else shown[0].encode(errors="replace")
    scheme, _, rest = raw.strip(b" ").partition(b" ")
    if scheme.lower() != SCHEME or not hmac.compare_digest(rest.lstrip(b" "), token):
        raise TokenRefused("the call must show the server's token as 'authorization: Bearer <token>'")
