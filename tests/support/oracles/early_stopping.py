"""Keras' and Lightning's early stopping, from what they document, as callbacks that keep a state.

Keras 3's ``EarlyStopping`` is told each epoch's value; releases differ in what its best is at first.
Lightning's is told the value of each check.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field


@dataclass
class KerasCallback:
    """``keras.callbacks.EarlyStopping``, of one metric."""

    mode: str
    patience: int = 0
    min_delta: float = 0.0
    baseline: float | None = None
    start_from_epoch: int = 0
    best_is_none_at_first: bool = False
    wait: int = field(default=0, init=False)
    best_epoch: int | None = field(default=None, init=False)
    stopped_epoch: int | None = field(default=None, init=False)

    def __post_init__(self) -> None:
        """Begin a training."""
        worst = math.inf if self.mode == "min" else -math.inf
        self.best = None if self.best_is_none_at_first else worst

    def on_epoch_end(self, epoch: int, current: float) -> None:
        """Look at an epoch's value."""
        if epoch < self.start_from_epoch:
            return
        self.wait += 1
        if self._is_improvement(current, self.best):
            self.best, self.best_epoch = current, epoch
            if self.baseline is None or self._is_improvement(current, self.baseline):
                self.wait = 0
            return
        if self.wait >= self.patience and epoch > 0:
            self.stopped_epoch = epoch

    def _is_improvement(self, value: float, reference: float | None) -> bool:
        if reference is None:
            return True
        if self.mode == "min":
            return value + abs(self.min_delta) < reference
        return value - abs(self.min_delta) > reference


@dataclass
class LightningCallback:
    """``lightning.pytorch.callbacks.EarlyStopping``, of one metric."""

    mode: str
    patience: int = 3
    min_delta: float = 0.0
    check_finite: bool = True
    stopping_threshold: float | None = None
    divergence_threshold: float | None = None
    wait_count: int = field(default=0, init=False)
    stopped_check: int | None = field(default=None, init=False)
    why: str | None = field(default=None, init=False)

    def __post_init__(self) -> None:
        """Begin a training."""
        self.best_score = math.inf if self.mode == "min" else -math.inf

    def on_check(self, check: int, current: float) -> None:
        """Look at a check's value."""
        if self.check_finite and not math.isfinite(current):
            self._stop(check, "not_finite")
        elif self.stopping_threshold is not None and self._better(current, self.stopping_threshold):
            self._stop(check, "goal")
        elif self.divergence_threshold is not None and self._better(-current, -self.divergence_threshold):
            self._stop(check, "diverged")
        elif self._better(current - self._signed_delta, self.best_score):
            self.best_score = current
            self.wait_count = 0
        else:
            self.wait_count += 1
            if self.wait_count >= self.patience:
                self._stop(check, "patience")

    @property
    def _signed_delta(self) -> float:
        return -self.min_delta if self.mode == "min" else self.min_delta

    def _better(self, value: float, other: float) -> bool:
        return value < other if self.mode == "min" else value > other

    def _stop(self, check: int, why: str) -> None:
        self.stopped_check, self.why = check, why
