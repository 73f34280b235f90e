"""Which level is the nearest: exactly, and of two the documented one."""

from __future__ import annotations

import math
from fractions import Fraction
from itertools import pairwise

import numpy as np
import pytest
from regularization_kernels import Grid, Levels, Quantization, gradient, proximal_step

from tests.support.oracles.levels import nearest_level

EXPLICIT = [
    (0.1, 0.2, 0.30000000000000004),
    (-1.0, 1e-300, 5e-324 + 1e-299, 1.0),
    (1.0, math.nextafter(1.0, 2.0), math.nextafter(math.nextafter(1.0, 2.0), 2.0)),
    (-1e308, -3.0, 1.0, 1.7e308),
    (-(2.0**53), 2.0**53 + 2),
]


@pytest.mark.parametrize("levels", EXPLICIT, ids=str)
def test_explicit_levels_are_compared_exactly(levels: tuple[float, ...]) -> None:
    """By rational arithmetic: around every middle, to the last bit of a number."""
    middles = [float((Fraction(a) + Fraction(b)) / 2) for a, b in pairwise(levels)]
    x = [n for m in middles for n in (math.nextafter(m, -math.inf), m, math.nextafter(m, math.inf))]
    given = Levels(explicit=levels)
    out, _ = proximal_step(np.array([*x, *levels]), Grid(levels=given), 1.0)
    assert out.tolist() == [nearest_level(given, n) for n in (*x, *levels)]


@pytest.mark.parametrize("levels", [Levels(step=1.0), Levels(explicit=tuple(map(float, range(-5, 6))))])
def test_of_two_levels_the_one_of_smaller_magnitude_is_the_nearest(levels: Levels) -> None:
    """Midway, on both sides of 0; a step, the slope and the set agree on it."""
    x = np.array([-1.5, -0.5, 0.5, 1.5, 2.5])
    nearest = np.array([-1.0, 0.0, 0.0, 1.0, 2.0])
    out, _ = proximal_step(x, Grid(levels=levels), 1.0)
    assert out.tolist() == nearest.tolist()
    assert not np.signbit(out[1:3]).any()
    quantization = Quantization(strength=0.25, levels=levels)
    assert proximal_step(x, quantization, 1.0)[0].tolist() == (x - 0.25 * np.sign(x - nearest)).tolist()
    assert gradient(x, quantization)[0].tolist() == (0.25 * np.sign(x - nearest)).tolist()


@pytest.mark.parametrize("levels", [Levels(explicit=(-1.0, 1.0)), Levels(step=2.0, offset=1.0)])
def test_of_a_number_and_its_negative_the_positive_one_is_the_nearest(levels: Levels) -> None:
    """To zeros of both signs."""
    out, _ = proximal_step(np.array([0.0, -0.0, -5e-324]), Grid(levels=levels), 1.0)
    assert out[:2].tolist() == [1.0, 1.0]


def test_an_offset_is_taken_modulo_the_step() -> None:
    """Exactly, however many steps it is away."""
    for offset in (0.25, 7.25, -2.75, 1e6 + 0.25):
        assert Levels(step=1.0, offset=offset).table == (1.0, 0.25)
    assert Levels(step=0.1, offset=1e300).table == (0.1, math.remainder(1e300, 0.1))


@pytest.mark.parametrize("levels", [Levels(step=0.1), Levels(explicit=(-0.3, 0.1, 0.7))])
def test_what_is_not_finite_has_an_answer(levels: Levels) -> None:
    """NaN stays NaN; an infinity is on no level, and goes to the last one that there is."""
    x = np.array([math.nan, 0.1])
    for regularizer in (Grid(levels=levels), Quantization(strength=0.1, levels=levels)):
        out, summary = proximal_step(x, regularizer, 1.0, propagate_non_finite=True)
        assert math.isnan(out[0])
        assert out[1] == 0.1
        assert summary.total.penalty is not None
        assert math.isnan(summary.total.penalty.value)
    grid, infinite = Grid(levels=levels), np.array([math.inf, -math.inf])
    assert grid.value(infinite) == math.inf
    out, _ = proximal_step(infinite, grid, 1.0, propagate_non_finite=True)
    last = levels.explicit or (-np.finfo(np.float64).max, np.finfo(np.float64).max)
    assert out.tolist() == [last[-1], last[0]]
