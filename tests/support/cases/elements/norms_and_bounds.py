"""Sums over elements: norms and bounds."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from regularization_kernels import Box, ElasticNet, L1Norm, SquaredL2Norm
from regularization_kernels.errors import FieldMissing, FieldOutOfRange

from tests.support.cases.parameters import bad_numbers
from tests.support.cases.row import Rejected, Row
from tests.support.oracles.minimizers import Array, by_element
from tests.support.oracles.summation import Rule, summands


def off_scaled_sign(scale: float, point: Array, slope: Array) -> float:
    """Distance of a slope from the subdifferential of ``scale * sum |x|``."""
    off_zero = np.abs(slope - scale * np.sign(point))
    at_zero = np.maximum(np.abs(slope) - scale, 0.0)
    return float(np.max(np.where(point == 0, at_zero, off_zero), initial=0.0))


def within(box: Box, number: float) -> bool:
    """Whether a number is between the bounds."""
    return (box.lower is None or number >= box.lower) and (box.upper is None or number <= box.upper)


def rounded_bounds(box: Box, dtype: type[np.floating[Any]]) -> Box:
    """The box with its bounds rounded to a data type."""
    lower, upper = (None if bound is None else float(dtype(bound)) for bound in (box.lower, box.upper))
    return Box(lower=lower, upper=upper)


def off_normal_cone(box: Box, point: Array, slope: Array) -> float:
    """Distance of a slope from the cone of directions that point out of the box."""
    outward = (point == box.upper) & (slope > 0) | (point == box.lower) & (slope < 0)
    return float(np.max(np.where(outward, 0.0, np.abs(slope)), initial=0.0))


ROWS: tuple[Row, ...] = (
    Row(
        name="l1_norm",
        terms=lambda r, x: r.strength * np.abs(x),
        oracle=by_element,
        certificate=lambda r, p, s: off_scaled_sign(r.strength, p, s),
        rule=Rule(summands(lambda _, e: abs(e)), scale=lambda r: float(r.strength)),
        instances={
            "": (L1Norm(strength=0.3), (12,)),
            "-free": (L1Norm(strength=0.0), (6,)),
            "-heavy": (L1Norm(strength=50.0), (3, 4)),
        },
        rejected=bad_numbers(lambda v: L1Norm(strength=v), "strength"),
    ),
    Row(
        name="squared_l2_norm",
        terms=lambda r, x: r.strength * 0.5 * x * x,
        oracle=by_element,
        certificate=lambda r, p, s: float(np.max(np.abs(s - r.strength * p), initial=0.0)),
        rule=Rule(summands(lambda _, e: 0.5 * (e * e)), scale=lambda r: float(r.strength)),
        instances={
            "": (SquaredL2Norm(strength=0.7), (12,)),
            "-free": (SquaredL2Norm(strength=0.0), (6,)),
            "-heavy": (SquaredL2Norm(strength=50.0), (2, 3)),
        },
        rejected=bad_numbers(lambda v: SquaredL2Norm(strength=v), "strength"),
    ),
    Row(
        name="elastic_net",
        terms=lambda r, x: r.l1_strength * np.abs(x) + r.l2_strength * 0.5 * x * x,
        oracle=by_element,
        certificate=lambda r, p, s: off_scaled_sign(r.l1_strength, p, s - r.l2_strength * p),
        rule=Rule(summands(lambda r, e: abs(e) * (r.l1_strength + abs(e) * (0.5 * r.l2_strength)))),
        instances={
            "": (ElasticNet(l1_strength=0.3, l2_strength=0.7), (12,)),
            "-l1-only": (ElasticNet(l1_strength=0.3, l2_strength=0.0), (6,)),
            "-l2-only": (ElasticNet(l1_strength=0.0, l2_strength=0.7), (6,)),
            "-free": (ElasticNet(l1_strength=0.0, l2_strength=0.0), (6,)),
        },
        rejected=(
            *bad_numbers(lambda v: ElasticNet(l1_strength=v, l2_strength=1.0), "l1_strength"),
            *bad_numbers(lambda v: ElasticNet(l1_strength=1.0, l2_strength=v), "l2_strength"),
        ),
    ),
    Row(
        name="box",
        terms=lambda r, x: [0.0 if within(r, e) else math.inf for e in x.ravel().tolist()],
        oracle=by_element,
        certificate=off_normal_cone,
        rule=Rule(summands(lambda r, e: 0.0 if within(r, e) else math.inf), rounded=rounded_bounds),
        instances={
            "": (Box(lower=-0.3, upper=0.6), (12,)),
            "-nonnegative": (Box(lower=0.0), (6,)),
            "-capped": (Box(upper=0.1), (6,)),
            "-point": (Box(lower=0.25, upper=0.25), (6,)),
            "-off-zero": (Box(lower=0.5, upper=2.0), (2, 3)),
        },
        rejected=(
            Rejected(FieldMissing, None, Box),
            Rejected(FieldOutOfRange, "lower", lambda: Box(lower=2.0, upper=1.0)),
            Rejected(FieldOutOfRange, "lower", lambda: Box(lower=math.nan)),
            Rejected(FieldOutOfRange, "lower", lambda: Box(lower=-math.inf, upper=1.0)),
            Rejected(FieldOutOfRange, "upper", lambda: Box(upper=math.inf)),
            Rejected(FieldOutOfRange, "upper", lambda: Box(lower=0.0, upper=math.nan)),
        ),
    ),
)
