"""Rules that stop training, and histories at which they do and do not."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

from google.protobuf.json_format import ParseDict
from regularization.training.v1.early_stopping_pb2 import CheckRequest, CompletedRun, StoppingRule

from ..training.stopping import checked
from ..vector import Vector

METHOD = "training.v1.EarlyStoppingService/Check"
NAN, INFINITY = math.nan, math.inf
LOSSES = [3.0, 2.0, 1.5, 1.6, 1.45, 1.7, 1.5, 1.5, 1.4]
MIN, MAX = "MODE_MIN", "MODE_MAX"


def patience(number: int, mode: str = MIN, **more: Any) -> dict[str, Any]:
    """A rule with patience."""
    return {"patience": {"mode": mode, "patience": number, **more}}


CASES: dict[str, tuple[dict[str, Any], list[float]]] = {
    "patience/no_history": (patience(2), []),
    "patience/goes_on": (patience(4), LOSSES),
    "patience/stops": (patience(3), LOSSES),
    "patience/values_after_the_stop": (patience(1), [2.0, 3.0, 1.0, 1.0]),
    "patience/of_0_is_1": (patience(0), [2.0, 2.0, 1.0]),
    "patience/largest": (patience(2, MAX), [0.5, 0.7, 0.7, 0.6]),
    "patience/ties_are_no_improvements": (patience(2), [1.0, 1.0, 1.0]),
    "patience/ties_that_are": (patience(2, inclusive=True), [1.0, 1.0, 1.0]),
    "patience/min_delta": (patience(3, min_delta=0.25), [2.0, 1.75, 1.5, 1.25]),
    "patience/min_delta_inclusive": (patience(3, min_delta=0.25, inclusive=True), [2.0, 1.75, 1.5, 1.25]),
    "patience/min_delta_in_binary64": (patience(1, MAX, min_delta=0.1), [0.2, 0.3, 0.4]),
    "patience/nan_is_no_improvement": (patience(3), [1.0, NAN, NAN, NAN, 0.5]),
    "patience/nan_alone": (patience(2), [NAN, NAN]),
    "patience/infinities": (patience(4), [INFINITY, 1.0, -INFINITY, -INFINITY]),
    "patience/cooldown": (patience(2, cooldown=2), [1.0, 2.0, 2.0, 2.0, 2.0]),
    "patience/cooldown_and_an_improvement_in_it": (patience(1, cooldown=2), [3.0, 4.0, 2.0, 4.0, 4.0, 4.0]),
    "patience/baseline_not_reached": (patience(3, baseline=1.0), [3.0, 2.5, 2.0, 2.25]),
    "patience/baseline_reached": (patience(3, baseline=2.75), [3.0, 2.5, 2.6, 2.6]),
    "patience/start_from": (patience(2, start_from=2), [0.0, 0.0, 5.0, 4.0, 6.0, 6.0]),
    "patience/earliest_stop": (patience(1, earliest_stop=4), [1.0, 2.0, 2.0, 2.0, 2.0, 2.0]),
    "patience/first_is_best": (patience(2, first_is_best=True), [NAN, 1.0, 0.5]),
    "patience/first_is_best_from_a_start": (patience(2, start_from=1, first_is_best=True), [0.0, NAN, 1.0]),
    "patience/check_finite": (patience(5, check_finite=True), [2.0, 3.0, NAN, 1.0]),
    "patience/check_finite_infinity": (patience(5, MAX, check_finite=True), [2.0, INFINITY]),
    "patience/stopping_threshold": (patience(5, stopping_threshold=1.5), [2.0, 1.5, 1.25, 1.0]),
    "patience/stopping_threshold_after_a_wait": (patience(5, stopping_threshold=1.5), [2.0, 3.0, 1.0]),
    "patience/stopping_threshold_without_an_improvement": (
        patience(5, min_delta=0.5, stopping_threshold=1.5),
        [1.75, 2.0, 1.375],
    ),
    "patience/diverged_at_once": (patience(5, divergence_threshold=4.0), [4.5]),
    "patience/cooldown_and_a_baseline": (
        patience(2, cooldown=2, baseline=1.0),
        [3.0, 4.0, 0.5, 4.0, 4.0, 4.0],
    ),
    "patience/divergence_threshold": (patience(5, divergence_threshold=4.0), [2.0, 4.0, 4.5, 1.0]),
    "patience/order_of_checks": (
        patience(1, MAX, check_finite=True, stopping_threshold=1.0),
        [0.0, INFINITY],
    ),
    "goal/reached": ({"goal": {"mode": MIN, "target": 1.5}}, LOSSES),
    "goal/not_reached": ({"goal": {"mode": MAX, "target": 3.5}}, [1.0, 3.0, 3.0, 2.0]),
    "goal/of_0": ({"goal": {"mode": MIN, "target": 0.0}}, [1.0, -0.0]),
    "goal/nan_alone": ({"goal": {"mode": MAX, "target": 1.0}}, [NAN, NAN]),
    "goal/nan_is_none": ({"goal": {"mode": MAX, "target": 1.0}}, [NAN, 0.5, NAN]),
}
TENTHS = [0.1] * 10
RUNS: dict[str, tuple[dict[str, Any], list[float], list[list[float]]]] = {
    "stops": ({}, [5.0, 4.5], [[3.0, 2.0, 0.0], [4.0, 4.0], [6.0, 6.0]]),
    "a_tie_goes_on": ({}, [5.0, 4.0], [[3.0, 2.0], [4.0, 4.0], [6.0, 6.0]]),
    "goes_on": ({}, [3.5, 9.0], [[3.0, 2.0], [4.0, 4.0], [6.0, 6.0]]),
    "an_even_number_of_runs": ({}, [4.25], [[3.0], [5.0], [1.0], [9.0]]),
    "largest": ({"mode": MAX}, [0.4, 0.5], [[0.6, 0.8], [0.2, 0.4], [0.7, 0.7]]),
    "shorter_runs": ({}, [2.0, 2.0, 2.0], [[1.0], [3.0, 2.0, 2.0, 9.0], [1.5, 1.5]]),
    "too_few_runs": ({"minRuns": 3}, [9.0], [[1.0], [1.0]]),
    "no_runs": ({}, [9.0], []),
    "too_early": ({"startFrom": 2}, [9.0, 9.0], [[1.0, 1.0]]),
    "early_enough": ({"startFrom": 1}, [9.0, 9.0], [[1.0, 1.0]]),
    "nan_is_left_out": ({}, [NAN, 2.5], [[NAN, 2.0], [2.0, NAN], [NAN, NAN]]),
    "nan_alone_is_worse": ({}, [NAN, NAN], [[1e300, 1e300]]),
    "infinities_of_both_signs_do_not_count": (
        {"minRuns": 2},
        [9.0, 9.0],
        [[1.0, 1.0], [INFINITY, -INFINITY]],
    ),
    "sums_are_exact": ({}, [0.1] * 9 + [math.nextafter(0.1, 1.0)], [TENTHS]),
    "sums_beyond_binary64": ({}, [1.6e308, 1.6e308], [[1.5e308, 1.5e308], [1.7e308, 1.7e308], [0.0, 0.0]]),
}


def vectors() -> Iterator[Vector]:
    """All of them."""
    for name, (rule, history) in CASES.items():
        yield _vector(name, CheckRequest(rule=ParseDict(rule, StoppingRule()), history=history))
    for name, (more, history, runs) in RUNS.items():
        median = ParseDict({"medianOfRuns": {"mode": MIN, **more}}, StoppingRule())
        completed = [CompletedRun(values=run) for run in runs]
        yield _vector(f"median/{name}", CheckRequest(rule=median, history=history, completed_runs=completed))


def _vector(name: str, request: CheckRequest) -> Vector:
    rule, _, case = name.partition("/")
    about = f"{rule.capitalize()}: {case.replace('_', ' ')}."
    return Vector(f"early_stopping/{name}", about, METHOD, [request], [checked(request)])
