"""When training stops, by the comments of early_stopping.proto."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from fractions import Fraction

from regularization.training.v1.early_stopping_pb2 import (
    MODE_MAX,
    STOP_REASON_DIVERGED,
    STOP_REASON_GOAL,
    STOP_REASON_MEDIAN,
    STOP_REASON_NOT_FINITE,
    STOP_REASON_PATIENCE,
    CheckRequest,
    CheckResponse,
    Goal,
    MedianOfRuns,
    Mode,
    Patience,
    StopReason,
)


def checked(request: CheckRequest) -> CheckResponse:
    """The answer to Check."""
    rule = request.rule
    if rule.HasField("patience"):
        return _patience(rule.patience, request.history)
    if rule.HasField("goal"):
        return _goal(rule.goal, request.history)
    runs = [list(run.values) for run in request.completed_runs]
    return _median(rule.median_of_runs, request.history, runs)


def _better(mode: Mode.ValueType, a: float, b: float) -> bool:
    """Whether a is strictly better than b; NaN is neither better nor worse."""
    return a > b if mode == MODE_MAX else a < b


def _answer(
    reason: StopReason.ValueType | None, best: int | None, wait: int, stop: int | None = None
) -> CheckResponse:
    """A message, with what is there."""
    answer = CheckResponse(wait=wait)
    if reason is not None:
        answer.stop, answer.reason = True, reason
    if best is not None:
        answer.best_index = best
    if stop is not None:
        answer.stop_index = stop
    return answer


def _improves(rule: Patience) -> Callable[[float, float], bool]:
    """Whether a value improves on another by what the rule wants."""

    def improves(value: float, on: float) -> bool:
        moved = value - rule.min_delta if rule.mode == MODE_MAX else value + rule.min_delta
        return _better(rule.mode, moved, on) or (rule.inclusive and moved == on)

    return improves


def _outright(rule: Patience, value: float) -> StopReason.ValueType | None:
    """What a value stops for by itself."""
    if rule.check_finite and not math.isfinite(value):
        return STOP_REASON_NOT_FINITE
    if rule.HasField("stopping_threshold") and _better(rule.mode, value, rule.stopping_threshold):
        return STOP_REASON_GOAL
    if rule.HasField("divergence_threshold") and _better(rule.mode, rule.divergence_threshold, value):
        return STOP_REASON_DIVERGED
    return None


def _patience(rule: Patience, history: Sequence[float]) -> CheckResponse:
    improves = _improves(rule)
    best = -math.inf if rule.mode == MODE_MAX else math.inf
    best_index, counted, renewed = None, 0, -math.inf
    for index in range(rule.start_from, len(history)):
        value, first = history[index], index == rule.start_from
        outright = _outright(rule, value)
        improved = improves(value, best) or (first and rule.first_is_best)
        improved = improved and outright in (None, STOP_REASON_GOAL)
        if improved:
            best, best_index = value, index
        if outright is not None:
            return _answer(outright, best_index, counted, index)
        if improved and (not rule.HasField("baseline") or improves(value, rule.baseline)):
            counted, renewed = 0, index
        elif index - renewed > rule.cooldown:
            counted += 1
        if not improved and counted >= max(rule.patience, 1) and index >= rule.earliest_stop:
            return _answer(STOP_REASON_PATIENCE, best_index, counted, index)
    return _answer(None, best_index, counted)


def _best_index(mode: Mode.ValueType, values: Sequence[float]) -> int | None:
    """The first of the best values; none where all are NaN."""
    best: int | None = None
    for index, value in enumerate(values):
        if not math.isnan(value) and (best is None or _better(mode, value, values[best])):
            best = index
    return best


def _goal(rule: Goal, history: Sequence[float]) -> CheckResponse:
    for index, value in enumerate(history):
        if _better(rule.mode, value, rule.target) or value == rule.target:
            best = _best_index(rule.mode, history[: index + 1])
            return _answer(STOP_REASON_GOAL, best, index - (best or 0), index)
    best = _best_index(rule.mode, history)
    return _answer(None, best, _since(best, len(history)))


def _since(best: int | None, count: int) -> int:
    """How many of so many values came after the best one; all where there is none."""
    return count if best is None else count - 1 - best


def _mean(values: Sequence[float]) -> float | None:
    """The mean of what is not NaN; none where nothing is, or infinities of both signs are."""
    there = [value for value in values if not math.isnan(value)]
    infinite = {value for value in there if math.isinf(value)}
    if not there or len(infinite) == 2:
        return None
    if infinite:
        return infinite.pop()
    total = sum(map(Fraction, there), Fraction(0))
    try:
        return float(total) / len(there)
    except OverflowError:
        return float(total / len(there))


def _median(rule: MedianOfRuns, history: Sequence[float], runs: list[list[float]]) -> CheckResponse:
    count, last = len(history), len(history) - 1
    best = _best_index(rule.mode, history)
    wait = _since(best, count)
    means = sorted(mean for run in runs if (mean := _mean(run[:count])) is not None)
    least = rule.min_runs if rule.HasField("min_runs") else 1
    if not count or len(means) < least or last < rule.start_from:
        return _answer(None, best, wait)
    lower, upper = means[(len(means) - 1) // 2], means[len(means) // 2]
    median = (lower + upper) / 2 if len(means) % 2 == 0 else upper
    if best is not None and not _better(rule.mode, median, history[best]):
        return _answer(None, best, wait)
    return _answer(STOP_REASON_MEDIAN, best, wait, last)
