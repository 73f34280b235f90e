"""The file of bearer tokens: one, or several with names."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from ..calls.authorization import Token
from ..settings import SettingInvalid

if TYPE_CHECKING:
    from pathlib import Path

MOST = 1000
"""Tokens of a file: each call's is compared with all."""

_NAME = re.compile(rb"[A-Za-z0-9._-]{1,64}")
_VISIBLE = re.compile(rb"[!-~]+")


def tokens_in(raw: bytes, path: Path) -> tuple[Token, ...]:
    """The tokens that a file has.

    A file is one token, or has lines ``name: token``, of which several may have one name: while a caller
    changes its token, the old and the new one hold. Empty lines and those that begin with # say nothing.

    Args:
        raw: What is in the file.
        path: The file, for errors. They never repeat what is in it.

    Raises:
        SettingInvalid: If it has no token, one that no header can show, the same twice, or too many.
    """
    lines = [(number, line.strip()) for number, line in enumerate(raw.splitlines(), 1)]
    lines = [(number, line) for number, line in lines if line and not line.startswith(b"#")]
    if not lines:
        raise _invalid(f"{path} is empty")
    if len(lines) == 1 and _VISIBLE.fullmatch(lines[0][1]):
        return (Token(None, lines[0][1]),)
    if len(lines) > MOST:
        raise _invalid(f"{path} must have at most {MOST} tokens, has {len(lines)}")
    tokens = [_named(line, number, path) for number, line in lines]
    known: dict[bytes, int] = {}
    for (number, _), token in zip(lines, tokens, strict=True):
        if token.secret in known:
            text = f"{path}, line {number}: has the token of line {known[token.secret]} once more"
            raise _invalid(text)
        known[token.secret] = number
    return tuple(tokens)


def _named(line: bytes, number: int, path: Path) -> Token:
    name, _, secret = line.partition(b":")
    # A space stands between them, for a token may have colons.
    if not _NAME.fullmatch(name) or not secret[:1].isspace() or not _VISIBLE.fullmatch(secret.strip()):
        raise _invalid(
            f"{path}, line {number}: must be one token of visible ASCII characters alone in the file, or "
            "'name: token', with a name of at most 64 letters, digits, '.', '_' and '-'"
        )
    return Token(name.decode(), secret.strip())


def _invalid(text: str) -> SettingInvalid:
    return SettingInvalid("token_file", text)
