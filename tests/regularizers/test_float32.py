"""float32 answers of element-wise rows are within one unit in the last place of the float64 ones."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from regularization_kernels import gradient, proximal_step

from tests.support.cases import Case
from tests.support.inputs import cases_of_elements, feasible, rng

Single = NDArray[np.float32]
AWKWARD = (0.1, 0.1 * 0.3, 1 / 3, 1e-4, 1e-8, 2.0**-149, 0.7)

every_element_case = pytest.mark.parametrize("case", cases_of_elements(), ids=lambda case: case.label)


def variants(case: Case) -> list[Any]:
    """The regularizer with strengths that float32 cannot represent."""
    names = [f.name for f in dataclasses.fields(case.regularizer) if "strength" in f.name]
    if not names:
        return [case.regularizer]
    return [dataclasses.replace(case.regularizer, **dict.fromkeys(names, number)) for number in AWKWARD]


def awkward_vector(case: Case, thresholds: list[float]) -> Single:
    """Random numbers of all sizes, and the float32 neighbours of every threshold."""
    random = rng(case, 10)
    spread = random.normal(size=400) * 10.0 ** random.uniform(-44, 37, size=400)
    normal = random.normal(size=400)
    edges: list[float] = [0.0, -0.0]
    for threshold in thresholds:
        at = np.float32(threshold)
        for number in (at, np.nextafter(at, np.float32(np.inf)), np.nextafter(at, np.float32(0))):
            edges += [float(number), -float(number), 2 * float(number)]
        edges += [float(at) * (1 + k * 2.0**-23) for k in range(2, 40)]
    return np.concatenate([spread, normal, edges]).astype(np.float32)


def ordinals(numbers: Single) -> NDArray[np.int64]:
    """Places of float32 numbers in their own order: neighbours are one apart, and both zeros are 0."""
    bits = numbers.view(np.int32).astype(np.int64)
    return np.where(bits < 0, -(bits + 2**31), bits)


def within_one_ulp(got: Single, exact: NDArray[np.float64]) -> None:
    """Assert that each number is the float64 answer rounded to float32, or its neighbour."""
    rounded = exact.astype(np.float32)
    apart = np.abs(ordinals(got) - ordinals(rounded))
    worst = int(np.argmax(apart))
    assert apart[worst] <= 1, (got[worst], exact[worst], int(apart[worst]))


@every_element_case
def test_step_within_one_ulp(case: Case) -> None:
    """Also just above the threshold, and for strengths and step sizes that float32 cannot represent."""
    for regularizer in variants(case):
        for step_size in (0.1, 0.3, 0.1 * 0.3, 1.0, 1 / 7):
            strength = getattr(regularizer, "strength", getattr(regularizer, "l1_strength", 0.5))
            x = awkward_vector(case, [strength * step_size])
            exact = np.empty(x.size)
            regularizer.on(x.shape).prox(x.astype(np.float64), step_size, exact)
            within_one_ulp(proximal_step(x, regularizer, step_size)[0], exact)


@every_element_case
def test_step_within_one_ulp_for_any_strength(case: Case) -> None:
    """For strengths of all sizes, around the threshold and where a difference crosses a power of two."""
    random = rng(case, 13)
    names = [f.name for f in dataclasses.fields(case.regularizer) if "strength" in f.name]
    for _ in range(50 if names else 1):
        threshold = float(10.0 ** random.uniform(-8, 2))
        regularizer = dataclasses.replace(case.regularizer, **dict.fromkeys(names, threshold))
        powers = np.array([threshold + 2.0**k for k in range(-40, 10)], dtype=np.float32)
        above = np.nextafter(powers, np.float32(np.inf))
        x = np.concatenate([awkward_vector(case, [threshold]), powers, above, -powers])
        exact = np.empty(x.size)
        regularizer.on(x.shape).prox(x.astype(np.float64), 1.0, exact)
        within_one_ulp(proximal_step(x, regularizer, 1.0)[0], exact)


@every_element_case
def test_step_with_a_size_for_each_element_within_one_ulp(case: Case) -> None:
    """An array of step sizes is as exact as one for all."""
    if not case.regularizer.takes_step_scales:
        return
    for regularizer in variants(case):
        x = awkward_vector(case, [])
        scales = np.abs(rng(case, 11).normal(size=x.size)).astype(np.float32)
        exact = np.empty(x.size)
        regularizer.on(x.shape).prox(x.astype(np.float64), 0.3 * scales.astype(np.float64), exact)
        within_one_ulp(proximal_step(x, regularizer, 0.3, step_scales=scales)[0], exact)


@every_element_case
def test_gradient_within_one_ulp(case: Case) -> None:
    """The gradient in float32 is the float64 gradient, rounded or next to it."""
    if case.regularizer.traits.indicator:
        return
    for regularizer in variants(case):
        x = feasible(case, awkward_vector(case, []).astype(np.float64)).astype(np.float32)
        exact = np.empty(x.size)
        regularizer.on(x.shape).gradient(x.astype(np.float64), exact)
        within_one_ulp(gradient(x, regularizer)[0], exact)


@every_element_case
def test_a_step_size_for_each_element_equals_one_for_all(case: Case) -> None:
    """An array of equal step sizes gives the answer of that one step size, within rounding."""
    if not case.regularizer.takes_step_scales:
        return
    x = rng(case, 12).normal(size=case.size)
    one, each = np.empty_like(x), np.empty_like(x)
    case.ready.prox(x, 0.37, one)
    case.ready.prox(x, np.full(x.size, 0.37), each)
    np.testing.assert_allclose(each, one, rtol=1e-15, atol=1e-16)
