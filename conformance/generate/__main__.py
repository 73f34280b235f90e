"""Writes the vectors: ``python -m conformance.generate``."""

from __future__ import annotations

from .writing import VECTORS, write

write(VECTORS)
