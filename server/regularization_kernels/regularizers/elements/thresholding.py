"""Soft thresholding S(x, t) = sign(x)·max(|x| − t, 0), a step that many regularizers share, and hard."""

from __future__ import annotations

from typing import Any

from ...formulas.operations import clip, is_zero


def soft_threshold(x: Any, threshold: Any) -> Any:
    """S(x, threshold), of thresholds >= 0."""
    if is_zero(threshold):
        return x  # x - x would lose the sign of a zero, or not, as the processor has it
    return x - clip(x, -threshold, threshold)


def hard_threshold(x: Any, threshold: Any) -> Any:
    """X where its magnitude is above the threshold, else 0; NaN stays."""
    if is_zero(threshold):
        return x
    return x * (abs(x) > threshold) + 0.0  # several times as fast as to choose; no negative zeros
