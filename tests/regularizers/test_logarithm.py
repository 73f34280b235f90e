"""The logarithm, the exponential and the cube root that have the same bits everywhere."""

from __future__ import annotations

import decimal
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from regularization_kernels import LHalf, LTwoThirds, NegativeEntropy
from regularization_kernels.regularizers.elements.cube_root import cube_root
from regularization_kernels.regularizers.elements.logarithm import exp_roughly, log, log1p, log_of_normal
from scipy.special import wrightomega

from tests.support.oracles.elements import rule_cube_root, rule_log, rule_log1p

SIZES = (1e-320, 1e-300, 1e-30, 1e-10, 1.0, 1e10, 1e30, 1e300)


def numbers(size: float) -> Any:
    """Numbers > 0 of a size, and some near 1."""
    random = np.random.default_rng(3)
    return np.concatenate([size * random.uniform(0.1, 10, 2000), random.uniform(0.6, 1.6, 2000), [1.0, 2.0]])


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize(("function", "exact"), [(log, math.log), (log1p, math.log1p)])
def test_logarithms_are_off_by_a_unit_in_the_last_place_at_most(
    function: Callable[[Any], Any], exact: Callable[[float], float], size: float
) -> None:
    """By the C library's, also of subnormal numbers and next to 1."""
    x = numbers(size)
    expected = np.array([exact(number) for number in x.tolist()])
    assert np.max(np.abs(function(x) - expected) / np.spacing(np.abs(expected))) <= 1.0


@pytest.mark.parametrize("size", SIZES[1:])
def test_logarithms_have_the_bits_of_the_rule(size: float) -> None:
    """Those of the published description in plain Python, one number at a time or many."""
    x = numbers(size)
    assert log_of_normal(x).tolist() == log(x).tolist() == [rule_log(number) for number in x.tolist()]
    assert log1p(x).tolist() == [rule_log1p(number) for number in x.tolist()]
    assert [float(log(number)) for number in x[:50]] == log(x)[:50].tolist()


def test_the_exponential_has_four_digits() -> None:
    """Over its whole range."""
    x = np.linspace(-708.0, 700.0, 30_011)
    np.testing.assert_allclose(exp_roughly(x), np.exp(x), rtol=1e-4)


@pytest.mark.parametrize("size", SIZES)
def test_cube_roots_have_the_bits_of_the_rule_and_its_accuracy(size: float, share: int) -> None:
    """Those of the published description, and 0.667 units in the last place; one number at a time or many."""
    x = numbers(size)[::share]
    roots = cube_root(x)
    assert roots.tolist() == [rule_cube_root(number) for number in x.tolist()]
    assert [float(cube_root(number)) for number in x[:50]] == roots[:50].tolist()
    with decimal.localcontext(prec=50):
        for number, root in zip(x[:500].tolist(), roots.tolist(), strict=False):
            exact = decimal.Decimal(number) ** (decimal.Decimal(1) / 3)
            error = abs(decimal.Decimal(root) - exact) / decimal.Decimal(math.ulp(root))
            assert error < decimal.Decimal("0.667")


def test_cube_roots_of_cubes_and_of_what_has_none() -> None:
    """Small cubes have exact roots; 0, infinity and NaN stay."""
    whole = np.arange(1.0, 200.0)
    np.testing.assert_array_equal(cube_root(whole**3), whole)
    borders = np.array([0.0, np.inf, np.nan])
    with np.errstate(all="ignore"):
        np.testing.assert_array_equal(cube_root(borders), borders)


@pytest.mark.parametrize(("low", "high"), [(-690, -20), (-20, -2), (-2, 2), (2, 20), (20, 1e3), (1e3, 1e15)])
def test_the_entropy_s_step_is_wright_s_function(low: float, high: float) -> None:
    """As SciPy computes it, to what rounding of the logarithm leaves."""
    x = np.random.default_rng(4).uniform(low, high, 5000)
    p = np.empty_like(x)
    NegativeEntropy(strength=1.0).prox(x, 1.0, p)
    np.testing.assert_allclose(p, wrightomega(x - 1.0), rtol=4e-16 * max(4.0, -low))


@pytest.mark.parametrize("t", [1e-45, 1e-9, 1.0, 1e9, 1e45])
@pytest.mark.parametrize("x", [-1e30, -1.0, -1e-30, 0.0, 1e-30, 1.0, 1e30, 1e300])
def test_the_entropy_s_step_solves_its_equation(x: float, t: float) -> None:
    """It is p + t·(1 + ln p) = x, unless p is 0: then no normal number is small enough."""
    p = np.empty(1)
    NegativeEntropy(strength=1.0).prox(np.array([x]), t, p)
    if p[0] == 0.0:
        assert 1e-304 + t * (1 + math.log(1e-304)) > x
    else:
        left = p[0] + t * (1 + math.log(p[0]))
        assert left == pytest.approx(x, rel=1e-15, abs=1e-14 * t * max(1.0, abs(math.log(p[0]))))


@pytest.mark.parametrize("t", [1e-30, 0.3, 1e30])
def test_the_step_of_the_half_norm_is_the_arccosine_s(t: float) -> None:
    """The documented formula, from the threshold on."""
    x = 1.5 * t ** (2 / 3) * np.geomspace(1 + 1e-9, 1e6, 5000)
    p = np.empty_like(x)
    LHalf(strength=1.0).prox(x, t, p)
    angles = np.arccos(-(3**1.5) / 4 * t * x**-1.5)
    np.testing.assert_allclose(p, 2 / 3 * x * (1 + np.cos(2 / 3 * angles)), rtol=2e-15)


@pytest.mark.parametrize("t", [1e-30, 0.3, 1e30])
def test_the_step_of_the_two_thirds_norm_is_the_hyperbolic_cosine_s(t: float) -> None:
    """The documented formula, from the threshold on."""
    x = 2.0 * (2 / 3 * t) ** 0.75 * np.geomspace(1 + 1e-9, 1e6, 5000)
    p = np.empty_like(x)
    LTwoThirds(strength=1.0).prox(x, t, p)
    a = (
        2
        / math.sqrt(3)
        * (2 * t) ** 0.25
        * np.sqrt(np.cosh(np.arccosh(27 / 16 * x**2 * (2 * t) ** -1.5) / 3))
    )
    np.testing.assert_allclose(p, ((a + np.sqrt(2 * x / a - a**2)) / 2) ** 3, rtol=1e-14)
    np.testing.assert_allclose(p + 2 / 3 * t / np.cbrt(p), x, rtol=1e-15)
