"""The id of a request: what a caller, a log line, an error and a trace have in common."""

from __future__ import annotations

import re
import secrets
from collections.abc import Iterable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from typing import TypeAlias

    Metadata: TypeAlias = Iterable[tuple[str, str | bytes]]

HEADER = "x-request-id"
"""Name of the header that a caller may give an id in, and of the trailer that it comes back in."""

TRACE_HEADER = "traceparent"
"""Name of the header with a caller's place in a trace (W3C Trace Context)."""

# No more than what is safe in a log line, a URL and a file's name.
_GIVEN = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")

# Later versions may have more behind these four; version ff and an id of zeros are none.
_TRACE = re.compile(r"(?!ff)[0-9a-f]{2}-(?!0{32})([0-9a-f]{32})-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}(?:-.*)?")

_MADE_BYTES = 8


def request_id_of(metadata: Metadata) -> str:
    """The id of a request, 1 to 64 characters: letters, digits, ``.``, ``_`` and ``-``.

    It is that of the header ``x-request-id`` where there is one such that is well-formed, else the trace id
    of ``traceparent``, else 16 random hexadecimal digits.

    Args:
        metadata: The request's headers.
    """
    given = traced = None
    for name, value in metadata:
        if name == HEADER:
            given = _match(_GIVEN, value) if given is None else ""
        elif name == TRACE_HEADER:
            traced = _match(_TRACE, value) if traced is None else ""
    return given or traced or secrets.token_hex(_MADE_BYTES)


def _match(pattern: re.Pattern[str], value: str | bytes) -> str:
    """The id in a header's value; empty where it has none."""
    found = pattern.fullmatch(value) if isinstance(value, str) else None
    return "" if found is None else found[found.lastindex or 0]
