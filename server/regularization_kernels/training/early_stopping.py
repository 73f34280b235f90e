"""When to stop training: pure functions of a rule and of the values of a metric so far.

The schema, training/v1/early_stopping.proto, has the rules in words, with their sources.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import Enum
from fractions import Fraction
from itertools import islice
from statistics import median
from typing import ClassVar

from ..errors import FieldOutOfRange
from ..interruption import STRETCH, go_on, interruptible
from ..regularizer import COUNT, NOT_NEGATIVE, Parameters, Range, parameter

MAX_RUNS = 10_000
"""Completed runs of a request."""

_FINITE = Range("a number", lambda value: True)
_AT_LEAST_ONE = Range(">= 1", lambda value: value >= 1, whole=True)

History = Sequence[float]
"""Values of a metric, in the order of their checks."""


class Mode(Enum):
    """Which values of a metric are better."""

    MIN = "min"
    MAX = "max"

    def better(self, value: float, other: float) -> bool:
        """Whether a value is strictly better than another; NaN is not, and nothing is better than it."""
        return value > other if self is Mode.MAX else value < other

    def less(self, value: float, amount: float) -> float:
        """A value that is worse by some amount."""
        return value - amount if self is Mode.MAX else value + amount

    @property
    def worst(self) -> float:
        """The worst infinity."""
        return -math.inf if self is Mode.MAX else math.inf


class StopReason(Enum):
    """Why to stop."""

    PATIENCE = "patience"
    NOT_FINITE = "not_finite"
    DIVERGED = "diverged"
    GOAL = "goal"
    MEDIAN = "median"


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a rule says of a history.

    Args:
        reason: Why to stop; None to go on.
        best_index: Of the best value up to the one that stops; None where there is none.
        wait: How many values have been waited for a better one.
        stop_index: Of the value that stops; None where none does.
    """

    reason: StopReason | None = None
    best_index: int | None = None
    wait: int = 0
    stop_index: int | None = None

    @property
    def stop(self) -> bool:
        """Whether to stop."""
        return self.reason is not None


class StoppingRule(Parameters, ABC):
    """When to stop; an immutable value."""

    __slots__ = ()

    takes_completed_runs: ClassVar[bool] = False
    """Whether it looks at other runs."""

    @abstractmethod
    def check(self, history: History, completed_runs: Sequence[History] = ()) -> Verdict:
        """Say whether to stop after these values.

        Args:
            history: The run's values so far, NaN and infinities among them.
            completed_runs: Those of runs that are over, where the rule takes them.

        Raises:
            FieldOutOfRange: If the rule takes no completed runs, or there are more than ``MAX_RUNS``.
        """

    def require(self, completed_runs: Sequence[History]) -> None:
        """Check that the rule takes these runs.

        Raises:
            FieldOutOfRange: If it does not.
        """
        most = MAX_RUNS if self.takes_completed_runs else 0
        if len(completed_runs) > most:
            text = f"must be at most {most}, got {len(completed_runs)}"
            raise FieldOutOfRange(text, field="completed_runs")


@dataclass(frozen=True, slots=True)
class Patience(StoppingRule):
    """Stop once the metric has not improved for a while.

    Source: Prechelt (1998), Early stopping, but when?; the fields are those of Keras' and of Lightning's
    ``EarlyStopping``.
    """

    mode: Mode
    patience: int = parameter(COUNT, "values in a row that are no improvement, the last of which stops")
    min_delta: float = parameter(NOT_NEGATIVE, "what an improvement must be better by", default=0.0)
    inclusive: bool = parameter(None, "whether exactly min_delta is enough", default=False)
    cooldown: int = parameter(COUNT, "values after an improvement that are not counted", default=0)
    baseline: float | None = parameter(_FINITE, "what must be improved on, too", default=None)
    start_from: int = parameter(COUNT, "index of the first value that is looked at", default=0)
    earliest_stop: int = parameter(COUNT, "index of the first value that may stop for this", default=0)
    first_is_best: bool = parameter(None, "whether the first value is an improvement anyway", default=False)
    check_finite: bool = parameter(None, "whether to stop at NaN and infinities", default=False)
    stopping_threshold: float | None = parameter(_FINITE, "what is better than this stops", default=None)
    divergence_threshold: float | None = parameter(_FINITE, "what is worse than this stops", default=None)

    def check(self, history: History, completed_runs: Sequence[History] = ()) -> Verdict:
        """Say whether to stop after these values."""
        self.require(completed_runs)
        best, best_index, wait, cooling = self.mode.worst, None, 0, 0
        for index, value in enumerate(islice(history, self.start_from, None), self.start_from):
            if index % STRETCH == 0:
                go_on()
            reason = self._at_once(value)
            improved = self._improves(value, best) or (self.first_is_best and best_index is None)
            if improved and reason in (None, StopReason.GOAL):
                best, best_index = value, index
            if reason is not None:
                return Verdict(reason, best_index, wait, index)
            if improved and (self.baseline is None or self._improves(value, self.baseline)):
                wait, cooling = 0, self.cooldown
            elif cooling:
                cooling -= 1
            else:
                wait += 1
                if not improved and wait >= self.patience and index >= self.earliest_stop:
                    return Verdict(StopReason.PATIENCE, best_index, wait, index)
        return Verdict(None, best_index, wait)

    def _at_once(self, value: float) -> StopReason | None:
        """Why a value stops whatever came before."""
        better = self.mode.better
        if self.check_finite and not math.isfinite(value):
            return StopReason.NOT_FINITE
        if self.stopping_threshold is not None and better(value, self.stopping_threshold):
            return StopReason.GOAL
        if self.divergence_threshold is not None and better(self.divergence_threshold, value):
            return StopReason.DIVERGED
        return None

    def _improves(self, value: float, on: float) -> bool:
        moved = self.mode.less(value, self.min_delta)
        return self.mode.better(moved, on) or (self.inclusive and moved == on)


@dataclass(frozen=True, slots=True)
class Goal(StoppingRule):
    """Stop at the first value that is at least as good as the target."""

    mode: Mode
    target: float = parameter(_FINITE, "in units of the metric")

    def check(self, history: History, completed_runs: Sequence[History] = ()) -> Verdict:
        """Say whether to stop after these values."""
        self.require(completed_runs)
        reached = (i for i, value in enumerate(history) if self._is_reached(i, value))
        stop_index = next(reached, None)
        seen = len(history) if stop_index is None else stop_index + 1
        best_index = _index_of_best(self.mode, history, seen)
        reason = None if stop_index is None else StopReason.GOAL
        return Verdict(reason, best_index, _since(best_index, seen), stop_index)

    def _is_reached(self, index: int, value: float) -> bool:
        if index % STRETCH == 0:
            go_on()
        return value == self.target or self.mode.better(value, self.target)


@dataclass(frozen=True, slots=True)
class MedianOfRuns(StoppingRule):
    """Stop a run whose best value is worse than the median of what completed runs had on the average.

    Source: Golovin, Solnik, Moitra, Kochanski, Karro and Sculley (2017), Google Vizier: a service for
    black-box optimization.
    """

    mode: Mode
    min_runs: int = parameter(_AT_LEAST_ONE, "completed runs below which it never stops", default=1)
    start_from: int = parameter(COUNT, "index of the first value at which it may stop", default=0)

    takes_completed_runs: ClassVar[bool] = True

    def check(self, history: History, completed_runs: Sequence[History] = ()) -> Verdict:
        """Say whether to stop after these values."""
        self.require(completed_runs)
        last = len(history) - 1
        best_index = _index_of_best(self.mode, history, len(history))
        going_on = Verdict(None, best_index, _since(best_index, len(history)))
        if last < self.start_from:
            return going_on
        averages = [mean for run in completed_runs if (mean := _average(run, len(history))) is not None]
        if len(averages) < self.min_runs:
            return going_on
        best = self.mode.worst if best_index is None else history[best_index]
        if best_index is not None and not self.mode.better(median(averages), best):
            return going_on
        return Verdict(StopReason.MEDIAN, best_index, going_on.wait, last)


def verdict_of(
    rule: StoppingRule,
    history: History,
    completed_runs: Sequence[History] = (),
    check: Callable[[], None] | None = None,
) -> Verdict:
    """What a rule says, found out for as long as somebody waits for it.

    Args:
        rule: The rule.
        history: See ``StoppingRule.check``.
        completed_runs: See there.
        check: Called now and then; what it raises ends this. None to go on in any case.

    Raises:
        FieldOutOfRange: See there.
        Exception: What the check raises.
    """
    with interruptible(check):
        return rule.check(history, completed_runs)


def _index_of_best(mode: Mode, history: History, end: int) -> int | None:
    """Index of the first of the best values up to ``end``; None where all are NaN."""
    best_index = None
    for index, value in enumerate(islice(history, end)):
        if index % STRETCH == 0:
            go_on()
        if value == value and (best_index is None or mode.better(value, history[best_index])):
            best_index = index
    return best_index


def _since(best_index: int | None, seen: int) -> int:
    return seen if best_index is None else seen - 1 - best_index


def _average(run: History, count: int) -> float | None:
    """The mean of a run's first values without NaN; None if there is none, or infinities of both signs."""
    go_on()
    values = [value for value in islice(run, count) if value == value]
    if not values:
        return None
    infinities = {value for value in values if math.isinf(value)}
    if infinities:
        return infinities.pop() if len(infinities) == 1 else None
    try:
        return math.fsum(values) / len(values)
    except OverflowError:  # of the sum alone: the mean is in range
        return float(sum(map(Fraction, values)) / len(values))
