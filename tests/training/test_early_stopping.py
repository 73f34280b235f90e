"""Rules of early stopping against callbacks that keep a state, and against their words."""

from __future__ import annotations

import math
import statistics
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from regularization_kernels.errors import FieldOutOfRange
from regularization_kernels.training.early_stopping import (
    MAX_RUNS,
    Goal,
    MedianOfRuns,
    Mode,
    Patience,
    StopReason,
    Verdict,
)

from tests.support.oracles.early_stopping import KerasCallback, LightningCallback

HISTORIES = 10_000
LONGEST = 30


def history_of(random: np.random.Generator) -> list[float]:
    """A history with ties, NaN and infinities; some go down, as losses do."""
    length = int(random.integers(0, LONGEST))
    values = random.normal(size=length).round(1 if random.random() < 0.7 else 12)
    if random.random() < 0.5:
        values = np.cumsum(np.where(random.random(length) < 0.3, 0.0, values)).round(3)
    strange = random.random(length)
    values = np.where(strange < 0.04, np.nan, values)
    values = np.where((strange > 0.98) & (strange <= 0.99), np.inf, values)
    values = np.where(strange > 0.99, -np.inf, values)
    return [float(value) for value in values]


def perhaps(random: np.random.Generator, value: float) -> float | None:
    """A value in half of all cases."""
    return value if random.random() < 0.5 else None


def mode_of(random: np.random.Generator) -> Mode:
    """Either."""
    return Mode.MIN if random.random() < 0.5 else Mode.MAX


@pytest.mark.parametrize("best_is_none_at_first", [False, True])
def test_keras_semantics_in_ten_thousand_histories(best_is_none_at_first: bool) -> None:
    """The stop, the best epoch and the count are those of Keras' callback, of older and newer releases."""
    random = np.random.default_rng(1)
    stopped = 0
    for _ in range(HISTORIES):
        mode, history = mode_of(random), history_of(random)
        patience, start = int(random.integers(0, 6)), int(random.choice([0, 0, 1, 4]))
        delta, baseline = float(random.choice([0.0, 0.1, 0.5])), perhaps(random, round(random.normal(), 1))
        keras = KerasCallback(mode.value, patience, delta, baseline, start, best_is_none_at_first)
        for epoch, value in enumerate(history):
            keras.on_epoch_end(epoch, value)
            if keras.stopped_epoch is not None:
                break
        rule = Patience(
            mode=mode,
            patience=patience,
            min_delta=delta,
            baseline=baseline,
            start_from=start,
            earliest_stop=1,
            first_is_best=best_is_none_at_first,
        )
        verdict = rule.check(history)
        assert verdict.stop_index == keras.stopped_epoch
        assert (verdict.best_index, verdict.wait) == (keras.best_epoch, keras.wait)
        assert verdict.reason is (StopReason.PATIENCE if verdict.stop else None)
        stopped += verdict.stop
    assert 0.2 * HISTORIES < stopped < 0.95 * HISTORIES


def test_lightning_semantics_in_ten_thousand_histories() -> None:
    """The stop, why, and the count are those of Lightning's callback, with all of its thresholds."""
    random = np.random.default_rng(2)
    reasons: dict[Any, int] = {}
    for _ in range(HISTORIES):
        mode, history = mode_of(random), history_of(random)
        lightning = LightningCallback(
            mode.value,
            patience=int(random.integers(0, 6)),
            min_delta=float(random.choice([0.0, 0.1, 0.5])),
            check_finite=bool(random.random() < 0.5),
            stopping_threshold=perhaps(random, round(2 * random.normal(), 1)),
            divergence_threshold=perhaps(random, round(2 * random.normal(), 1)),
        )
        for check, value in enumerate(history):
            lightning.on_check(check, value)
            if lightning.stopped_check is not None:
                break
        rule = Patience(
            mode=mode,
            patience=lightning.patience,
            min_delta=lightning.min_delta,
            check_finite=lightning.check_finite,
            stopping_threshold=lightning.stopping_threshold,
            divergence_threshold=lightning.divergence_threshold,
        )
        verdict = rule.check(history)
        why = None if verdict.reason is None else verdict.reason.value
        assert (verdict.stop_index, why) == (lightning.stopped_check, lightning.why)
        assert verdict.wait == lightning.wait_count
        if verdict.best_index is not None and why in (None, "patience"):
            assert history[verdict.best_index] == lightning.best_score
        reasons[why] = reasons.get(why, 0) + 1
    assert min(reasons.values()) > HISTORIES // 50
    assert len(reasons) == 5


def test_what_comes_after_the_stop_does_not_matter() -> None:
    """So a caller may ask with the whole history, whenever it was recorded."""
    random = np.random.default_rng(3)
    for _ in range(500):
        history = history_of(random)
        rules = (
            Patience(mode=mode_of(random), patience=2, cooldown=1, check_finite=True),
            Goal(mode=mode_of(random), target=0.5),
        )
        for rule in rules:
            verdict = rule.check(history)
            if verdict.stop_index is None:
                assert not any(rule.check(history[:end]).stop for end in range(len(history)))
            else:
                assert rule.check(history[: verdict.stop_index + 1]) == verdict
                assert not rule.check(history[: verdict.stop_index]).stop


def test_ties_are_improvements_where_asked() -> None:
    """With inclusive and min_delta, exactly the delta is enough, and without it, it is not."""
    history = [1.0, 0.75, 0.75, 0.5, 0.5, 0.5]
    for delta, strictly, inclusively in ((0.0, [0, 1, 3], [0, 1, 2, 3, 4, 5]), (0.25, [0, 3], [0, 1, 3])):
        for inclusive, improved in ((False, strictly), (True, inclusively)):
            rule = Patience(mode=Mode.MIN, patience=99, min_delta=delta, inclusive=inclusive)
            best = [rule.check(history[:end]).best_index for end in range(1, 7)]
            assert sorted(set(best)) == improved


def test_cooldown_leaves_values_uncounted_after_each_improvement() -> None:
    """So many, and an improvement among them begins it anew."""
    rule = Patience(mode=Mode.MIN, patience=2, cooldown=2)
    assert rule.check([1.0, 2, 2]).wait == 0
    assert rule.check([1.0, 2, 2, 2]).wait == 1
    assert rule.check([1.0, 2, 2, 2, 2]).stop_index == 4
    assert rule.check([1.0, 2, 0.5, 2, 2, 2, 2]).stop_index == 6


def test_the_best_is_never_one_that_stops_for_being_bad() -> None:
    """Neither an infinity nor a value that diverges, though it may be better than nothing."""
    rule = Patience(mode=Mode.MAX, patience=9, check_finite=True, divergence_threshold=0.0)
    assert rule.check([1.0, math.inf]) == Verdict(StopReason.NOT_FINITE, 0, 0, 1)
    assert rule.check([-1.0]) == Verdict(StopReason.DIVERGED, None, 0, 0)
    reached = Patience(mode=Mode.MAX, patience=9, stopping_threshold=2.0).check([1.0, 3.0])
    assert reached == Verdict(StopReason.GOAL, 1, 0, 1)


def test_a_goal_is_reached_at_the_target() -> None:
    """At it and beyond; NaN reaches nothing, and an empty history neither."""
    goal = Goal(mode=Mode.MIN, target=0.5)
    assert goal.check([]) == Verdict()
    assert goal.check([math.nan, 0.6, 0.7]) == Verdict(None, 1, 1)
    assert goal.check([0.9, 0.5, 0.1]) == Verdict(StopReason.GOAL, 1, 0, 1)
    assert Goal(mode=Mode.MAX, target=0.5).check([0.4, math.inf]).stop_index == 1


def documented_median_stop(
    mode: Mode, history: list[float], runs: list[list[float]], min_runs: int, start: int
) -> bool:
    """The rule by its words, in exact rationals."""
    if len(history) <= start or not history:
        return False
    means = []
    for run in runs:
        values = [Fraction(value) for value in run[: len(history)] if not math.isnan(value)]
        if values:
            means.append(sum(values) / len(values))
    if len(means) < min_runs:
        return False
    own = [Fraction(value) for value in history if not math.isnan(value)]
    if not own:
        return True
    middle = statistics.median(means)
    return middle < min(own) if mode is Mode.MIN else middle > max(own)


def test_the_median_rule_is_that_of_its_words() -> None:
    """In two thousand histories, with NaN, beside runs of all lengths; of eighths, so that sums are exact."""
    random = np.random.default_rng(4)

    def values(most: int) -> list[float]:
        numbers = np.round(random.normal(size=int(random.integers(0, most))) * 8) / 8
        return [float(v) for v in np.where(random.random(numbers.size) < 0.05, np.nan, numbers)]

    stopped = 0
    for _ in range(2_000):
        mode, worse = mode_of(random), random.choice([0.0, 1.0, 2.0])
        history = [value + (worse if mode is Mode.MIN else -worse) for value in values(9)]
        runs = [values(12) for _ in range(int(random.integers(0, 7)))]
        min_runs, start = int(random.integers(1, 4)), int(random.integers(0, 4))
        verdict = MedianOfRuns(mode=mode, min_runs=min_runs, start_from=start).check(history, runs)
        expected = documented_median_stop(mode, history, runs, min_runs, start)
        assert verdict.stop is expected, (mode, history, runs, min_runs, start)
        assert verdict.stop_index == (len(history) - 1 if expected else None)
        stopped += expected
    assert 300 < stopped < 1_700


def test_means_beyond_the_range_of_sums_are_exact() -> None:
    """Of numbers whose sum is infinite, the mean is still one of them; infinities of both signs have none."""
    rule = MedianOfRuns(mode=Mode.MIN)
    assert rule.check([1.6e308, 1.7e308], [[1.5e308, 1.5e308]]).stop
    assert not rule.check([1.5e308, 1.7e308], [[1.6e308, 1.6e308]]).stop
    assert not rule.check([1.0], [[math.inf, -math.inf]]).stop
    assert rule.check([1.0], [[-math.inf, 3.0]]).stop


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("patience", -1),
        ("min_delta", -0.5),
        ("min_delta", math.nan),
        ("min_delta", math.inf),
        ("cooldown", -1),
        ("baseline", math.nan),
        ("baseline", math.inf),
        ("start_from", -1),
        ("earliest_stop", -1),
        ("stopping_threshold", math.nan),
        ("divergence_threshold", -math.inf),
    ],
)
def test_parameters_of_patience_have_ranges(field: str, value: float) -> None:
    """What is outside is named."""
    parameters: dict[str, Any] = {"mode": Mode.MIN, "patience": 1, field: value}
    with pytest.raises(FieldOutOfRange) as caught:
        Patience(**parameters)
    assert caught.value.field == field


def test_parameters_of_the_other_rules_have_ranges() -> None:
    """Targets are finite, and a median needs a run."""
    with pytest.raises(FieldOutOfRange, match="target"):
        Goal(mode=Mode.MIN, target=math.nan)
    with pytest.raises(FieldOutOfRange, match="min_runs"):
        MedianOfRuns(mode=Mode.MIN, min_runs=0)
    with pytest.raises(FieldOutOfRange, match="start_from"):
        MedianOfRuns(mode=Mode.MIN, start_from=-1)


def test_only_the_median_takes_completed_runs() -> None:
    """And no more than so many."""
    with pytest.raises(FieldOutOfRange, match="completed_runs must be at most 0, got 1"):
        Goal(mode=Mode.MIN, target=0.0).check([1.0], [[1.0]])
    with pytest.raises(FieldOutOfRange, match=f"completed_runs must be at most {MAX_RUNS}"):
        MedianOfRuns(mode=Mode.MIN).check([1.0], [[1.0]] * (MAX_RUNS + 1))
