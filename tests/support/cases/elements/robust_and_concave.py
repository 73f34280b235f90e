"""Sums over elements beyond the norms: robust, concave, one-sided."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
from regularization_kernels import Hinge, Huber, L0Norm, LHalf, LogSum, LTwoThirds, Mcp, NegativeEntropy, Scad
from regularization_kernels.errors import FieldOutOfRange
from scipy.special import xlogy

from tests.support.cases.parameters import bad_numbers
from tests.support.cases.row import Rejected, Row
from tests.support.oracles.elements import rule_cube_root, rule_entropy, rule_log1p
from tests.support.oracles.minimizers import Array, by_element
from tests.support.oracles.summation import Rule, summands


def not_above(build: Callable[[float], Any], name: str, border: float) -> tuple[Rejected, ...]:
    """The numbers that a parameter may not be which must be above a border."""
    return (*bad_numbers(build, name), Rejected(FieldOutOfRange, name, partial(build, border)))


def off_even_slope(derivative: Callable[[Array], Array], at_zero: float, point: Array, slope: Array) -> float:
    """Distance of a slope from the subdifferential of an even penalty, by its derivative for magnitudes > 0.

    At 0 that is everything up to the derivative's limit in magnitude.
    """
    with np.errstate(divide="ignore", invalid="ignore"):
        off_zero = np.abs(slope - np.sign(point) * derivative(np.abs(point)))
    kept = np.maximum(np.abs(slope) - at_zero, 0.0)
    return float(np.max(np.where(point == 0, kept, off_zero), initial=0.0))


def huber_terms(r: Huber, x: Array) -> Array:
    """The documented penalty's terms, in its two branches."""
    near = np.where(np.abs(x) <= r.delta, x, 0.0)
    return r.strength * np.where(np.abs(x) <= r.delta, near * near / (2 * r.delta), np.abs(x) - r.delta / 2)


def huber_rule(r: Huber, e: float) -> float:
    """A term by the contract's operations."""
    near = min(abs(e), r.delta)
    return near / r.delta * (abs(e) - 0.5 * near)


def mcp_terms(r: Mcp, x: Array) -> Array:
    """The documented penalty's terms, in its two branches."""
    border = r.concavity * r.strength
    near = np.where(np.abs(x) <= border, np.abs(x), 0.0)
    inside = r.strength * near - near * near / (2 * r.concavity)
    return np.where(np.abs(x) <= border, inside, r.concavity * r.strength**2 / 2)


def mcp_rule(r: Mcp, e: float) -> float:
    """A term by the contract's operations."""
    near = min(abs(e), r.concavity * r.strength)
    return near * (r.strength - near / (2 * r.concavity))


def scad_terms(r: Scad, x: Array) -> Array:
    """The documented penalty's terms, in its three branches."""
    s, a = r.strength, r.concavity
    magnitude = np.abs(x)
    near = np.where(magnitude <= a * s, magnitude, 0.0)
    parabola = (2 * a * s * near - near * near - s * s) / (2 * (a - 1))
    inside = np.where(magnitude <= s, s * near, parabola)
    return np.where(magnitude <= a * s, inside, s * s * (a + 1) / 2)


def scad_rule(r: Scad, e: float) -> float:
    """A term by the contract's operations."""
    near = min(abs(e), r.concavity * r.strength)
    over = max(near - r.strength, 0.0)
    return r.strength * near - over * over / (2 * (r.concavity - 1))


def scad_slope(r: Scad, magnitude: Array) -> Array:
    """The documented gradient where x > 0."""
    parabola = (r.concavity * r.strength - magnitude) / (r.concavity - 1)
    outside = np.where(magnitude <= r.concavity * r.strength, parabola, 0.0)
    return np.where(magnitude <= r.strength, r.strength, outside)


def off_hinge(r: Hinge, point: Array, slope: Array) -> float:
    """Distance of a slope from the subdifferential of the hinge: anything from -strength to 0 at 1."""
    least = np.where(point <= 1, -r.strength, 0.0)
    most = np.where(point < 1, -r.strength, 0.0)
    return float(np.max(np.maximum(least - slope, slope - most), initial=0.0))


def entropy_terms(r: NegativeEntropy, x: Array) -> Array:
    """The documented penalty's terms."""
    return np.where(x < 0, np.inf, r.strength * xlogy(np.abs(x), np.abs(x)))


def off_entropy(r: NegativeEntropy, point: Array, slope: Array) -> float:
    """Distance of a slope from the derivative; at 0, where tiny steps end, by how much it asks for more."""
    tiny = point == 0
    slopes = r.strength * (1 + np.log(np.where(tiny, 1e-304, point)))
    return float(np.max(np.where(tiny, slope - slopes, np.abs(slope - slopes)), initial=0.0))


def two_thirds_power(magnitude: float) -> float:
    """The cube root times itself: a power of 2 may be rounded otherwise."""
    root = rule_cube_root(magnitude)
    return root * root


ROWS: tuple[Row, ...] = (
    Row(
        name="huber",
        terms=huber_terms,
        oracle=by_element,
        certificate=lambda r, p, s: float(
            np.max(np.abs(s - r.strength * np.clip(p / r.delta, -1, 1)), initial=0.0)
        ),
        rule=Rule(summands(huber_rule), scale=lambda r: float(r.strength)),
        instances={
            "": (Huber(strength=0.3, delta=0.5), (12,)),
            "-narrow": (Huber(strength=0.7, delta=0.01), (6,)),
            "-heavy": (Huber(strength=50.0, delta=2.0), (3, 2)),
            "-free": (Huber(strength=0.0, delta=1.0), (6,)),
        },
        rejected=(
            *bad_numbers(lambda v: Huber(strength=v, delta=1.0), "strength"),
            *not_above(lambda v: Huber(strength=1.0, delta=v), "delta", 0.0),
        ),
    ),
    Row(
        name="l0_norm",
        terms=lambda r, x: r.strength * (x != 0),
        oracle=by_element,
        certificate=lambda r, p, s: off_even_slope(np.zeros_like, math.inf, p, s),
        rule=Rule(summands(lambda _, e: float(e != 0)), scale=lambda r: float(r.strength)),
        instances={
            "": (L0Norm(strength=0.3), (12,)),
            "-heavy": (L0Norm(strength=50.0), (3, 4)),
            "-free": (L0Norm(strength=0.0), (6,)),
        },
        rejected=bad_numbers(lambda v: L0Norm(strength=v), "strength"),
    ),
    Row(
        name="l_half",
        terms=lambda r, x: r.strength * np.sqrt(np.abs(x)),
        oracle=by_element,
        certificate=lambda r, p, s: off_even_slope(lambda m: r.strength / (2 * np.sqrt(m)), math.inf, p, s),
        rule=Rule(summands(lambda _, e: math.sqrt(abs(e))), scale=lambda r: float(r.strength)),
        instances={
            "": (LHalf(strength=0.3), (12,)),
            "-heavy": (LHalf(strength=50.0), (3, 4)),
            "-free": (LHalf(strength=0.0), (6,)),
        },
        rejected=bad_numbers(lambda v: LHalf(strength=v), "strength"),
    ),
    Row(
        name="l_two_thirds",
        terms=lambda r, x: r.strength * np.cbrt(x * x),
        oracle=by_element,
        certificate=lambda r, p, s: off_even_slope(lambda m: r.strength * 2 / 3 / np.cbrt(m), math.inf, p, s),
        rule=Rule(summands(lambda _, e: two_thirds_power(abs(e))), scale=lambda r: float(r.strength)),
        instances={
            "": (LTwoThirds(strength=0.3), (12,)),
            "-heavy": (LTwoThirds(strength=50.0), (3, 4)),
            "-free": (LTwoThirds(strength=0.0), (6,)),
        },
        rejected=bad_numbers(lambda v: LTwoThirds(strength=v), "strength"),
    ),
    Row(
        name="mcp",
        terms=mcp_terms,
        oracle=by_element,
        certificate=lambda r, p, s: off_even_slope(
            lambda m: np.maximum(r.strength - m / r.concavity, 0), r.strength, p, s
        ),
        rule=Rule(summands(mcp_rule)),
        instances={
            "": (Mcp(strength=0.3, concavity=3.0), (12,)),
            "-steep": (Mcp(strength=1.5, concavity=0.6), (3, 4)),
            "-free": (Mcp(strength=0.0, concavity=2.0), (6,)),
        },
        rejected=(
            *bad_numbers(lambda v: Mcp(strength=v, concavity=1.0), "strength"),
            *not_above(lambda v: Mcp(strength=1.0, concavity=v), "concavity", 0.0),
        ),
    ),
    Row(
        name="scad",
        terms=scad_terms,
        oracle=by_element,
        certificate=lambda r, p, s: off_even_slope(partial(scad_slope, r), r.strength, p, s),
        rule=Rule(summands(scad_rule)),
        instances={
            "": (Scad(strength=0.3, concavity=3.7), (12,)),
            "-steep": (Scad(strength=1.5, concavity=2.2), (3, 4)),
            "-border": (Scad(strength=0.8, concavity=8.0), (12,)),
            "-free": (Scad(strength=0.0, concavity=3.7), (6,)),
        },
        rejected=(
            *bad_numbers(lambda v: Scad(strength=v, concavity=3.0), "strength"),
            *not_above(lambda v: Scad(strength=1.0, concavity=v), "concavity", 2.0),
        ),
    ),
    Row(
        name="log_sum",
        terms=lambda r, x: r.strength * np.log1p(np.abs(x) / r.epsilon),
        oracle=by_element,
        certificate=lambda r, p, s: off_even_slope(
            lambda m: r.strength / (m + r.epsilon), r.strength / r.epsilon, p, s
        ),
        rule=Rule(summands(lambda r, e: rule_log1p(abs(e) / r.epsilon)), scale=lambda r: float(r.strength)),
        instances={
            "": (LogSum(strength=0.3, epsilon=0.5), (12,)),
            "-steep": (LogSum(strength=2.0, epsilon=0.05), (3, 4)),
            "-free": (LogSum(strength=0.0, epsilon=1.0), (6,)),
        },
        rejected=(
            *bad_numbers(lambda v: LogSum(strength=v, epsilon=1.0), "strength"),
            *not_above(lambda v: LogSum(strength=1.0, epsilon=v), "epsilon", 0.0),
        ),
    ),
    Row(
        name="hinge",
        terms=lambda r, x: r.strength * np.maximum(0, 1 - x),
        oracle=by_element,
        certificate=off_hinge,
        rule=Rule(summands(lambda _, e: max(1 - e, 0.0)), scale=lambda r: float(r.strength)),
        instances={
            "": (Hinge(strength=0.3), (12,)),
            "-heavy": (Hinge(strength=50.0), (3, 4)),
            "-free": (Hinge(strength=0.0), (6,)),
        },
        rejected=bad_numbers(lambda v: Hinge(strength=v), "strength"),
    ),
    Row(
        name="negative_entropy",
        terms=entropy_terms,
        oracle=by_element,
        certificate=off_entropy,
        rule=Rule(summands(lambda r, e: r.strength * rule_entropy(e) if e >= 0 else math.inf)),
        instances={
            "": (NegativeEntropy(strength=0.3), (12,)),
            "-heavy": (NegativeEntropy(strength=50.0), (3, 4)),
            "-free": (NegativeEntropy(strength=0.0), (6,)),
        },
        rejected=bad_numbers(lambda v: NegativeEntropy(strength=v), "strength"),
        onto_domain=lambda _, x: np.maximum(x, 0.0),
        with_gradient=lambda _, x: np.maximum(x, 0.05),
    ),
)
