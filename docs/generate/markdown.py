"""Markdown as the other documents are written."""

from __future__ import annotations

import tomllib
from functools import cache
from pathlib import Path
from typing import Any

import mdformat

_SETTINGS = Path(__file__).parents[2] / ".mdformat.toml"


def formatted(text: str) -> str:
    """The same text, wrapped as `make format` wraps documents."""
    return mdformat.text(text, options=_settings(), extensions=("gfm", "tables"))


@cache
def _settings() -> dict[str, Any]:
    return tomllib.loads(_SETTINGS.read_text(encoding="utf-8"))
