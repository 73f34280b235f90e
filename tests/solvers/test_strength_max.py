"""The least strength at which the penalty is 0."""

from __future__ import annotations

import math

import numpy as np
import pytest
from regularization_client import (
    ArgumentError,
    Box,
    Client,
    ElasticNet,
    GroupLasso,
    Groups,
    Huber,
    InvalidRequestError,
    Joint,
    L1Norm,
    L2Norm,
    Mcp,
    Modified,
    SquaredL2Norm,
)
from regularization_client.solvers import path, strength_max
from regularization_kernels import REGULARIZERS

from tests.support.cases import CASES
from tests.support.cases.row import Case
from tests.support.instances import message_of
from tests.support.least_squares import LeastSquares, first_of_each


def has_strength(case: Case) -> bool:
    """Whether a case is a convex, positively homogeneous penalty with a strength above 0."""
    traits = case.regularizer.traits
    if not (traits.convex and traits.positively_homogeneous) or traits.indicator:
        return False
    return case.penalty(np.random.default_rng(0).standard_normal(case.shape)) > 0


HOMOGENEOUS = [case for case in CASES if has_strength(case)]


def test_every_such_regularizer_is_tried() -> None:
    """All rows of the catalogue that are convex and positively homogeneous, and no sets."""
    fit = {
        name
        for name, row in REGULARIZERS.items()
        if row.traits.convex and row.traits.positively_homogeneous and not row.traits.indicator
    }
    assert {case.row.name for case in HOMOGENEOUS} == fit


@pytest.mark.parametrize("case", first_of_each(HOMOGENEOUS), ids=lambda case: case.label)
def test_there_the_penalty_is_zero_and_just_below_it_is_not(client: Client, case: Case) -> None:
    """Of solutions of a least squares problem, by the documented penalty."""
    problem = LeastSquares.random(3 * case.size, case.shape, seed=2)
    found = path(
        problem, np.zeros(case.shape), message_of(case.regularizer), client, count=2, ratio=0.99, tol=1e-8
    )
    assert found.converged
    held, free = (case.penalty(solution.x) for solution in found.solutions)
    unheld = case.penalty(np.linalg.lstsq(problem.rows, problem.targets)[0])
    assert held <= 1e-8 * unheld
    assert free > 1e-5 * unheld


@pytest.mark.parametrize("case", HOMOGENEOUS, ids=lambda case: case.label)
def test_it_is_where_the_step_from_the_negative_gradient_ends(client: Client, case: Case) -> None:
    """The step of size 1 has penalty 0 from there on, and not before, also where g has free directions."""
    gradient = np.random.default_rng(3).standard_normal(case.shape) + 1.0
    strongest = strength_max(gradient, message_of(case.regularizer), client)
    held, free = (
        case.penalty(
            client.proximal_step(
                -gradient, message_of(case.regularizer), step_size=factor * strongest
            ).parameters
        )
        for factor in (1 + 1e-7, 1 - 1e-3)
    )
    assert held <= 1e-8 * case.penalty(gradient)
    assert free > 1e-8 * case.penalty(gradient)


def test_known_numbers(client: Client) -> None:
    """By hand: the largest magnitude, norms of groups over their weights, what a strength multiplies."""
    gradient = np.array([3.0, -4.0, 6.0])
    groups = Groups(sizes={"values": [2, 1]}, weights={"values": [1.0, 10.0]})
    assert strength_max(gradient, L1Norm(), client) == 6.0
    assert strength_max(gradient, L1Norm(strength=2.0), client) == 3.0
    assert strength_max(gradient, L2Norm(strength=1.0), client) == math.sqrt(61.0)
    assert strength_max(gradient, GroupLasso(strength=1.0, groups=groups), client) == 5.0
    assert strength_max(gradient, ElasticNet(l1_strength=0.5, l2_strength=9.0), client) == 12.0
    assert strength_max(np.zeros(3), L1Norm(), client) == 0.0


def test_of_several_arrays_it_is_the_most_that_one_needs(client: Client) -> None:
    """Exempt ones and sets do not count; those that share a regularizer count as one."""
    gradient = {"a": np.array([3.0]), "b": np.array([-4.0]), "c": np.array([100.0]), "d": np.array([100.0])}
    both = Joint(L2Norm(strength=1.0))
    apart = {"a": L1Norm(), "b": L1Norm(strength=0.5), "c": None, "d": Box(lower=0)}
    assert strength_max(gradient, apart, client) == 8.0
    assert strength_max(gradient, {"a": both, "b": both, "*": None}, client) == 5.0


def test_a_box_leaves_what_it_holds_by_itself(client: Client) -> None:
    """With the bound 0 below only slopes that pull upwards need a strength."""
    positive = Modified(L1Norm(), box=Box(lower=0))
    assert strength_max([3.0, -2.0], positive, client) == pytest.approx(2.0, rel=1e-8)


@pytest.mark.parametrize(
    ("regularizer", "message"),
    [
        (SquaredL2Norm(strength=1.0), "SquaredL2Norm is flat at 0, or not convex"),
        (Huber(strength=1.0, delta=1.0), "Huber is flat at 0, or not convex"),
        (Mcp(strength=1.0, concavity=3.0), "Mcp is flat at 0, or not convex"),
        (Modified(L1Norm(), smoothing=1.0), "L1Norm is flat at 0, or not convex"),
        (L1Norm(strength=0.0), "no multiple of strength 0 is enough: L1Norm"),
        (ElasticNet(l1_strength=0.0, l2_strength=1.0), "no strength is enough: ElasticNet is flat"),
        (Box(lower=0), "must have a strength, got Box"),
        (None, "must have a strength, got None"),
    ],
)
def test_where_there_is_none_the_error_says_why(client: Client, regularizer: object, message: str) -> None:
    """Of squares, penalties that are not convex, sets, and strengths of 0."""
    with pytest.raises(ArgumentError, match=message):
        strength_max([1.0, -2.0], regularizer, client)  # type: ignore[arg-type] # some are none


def test_the_server_checks_regularizer_and_gradient(client: Client) -> None:
    """Also of those with a formula: its reason is what the caller sees."""
    with pytest.raises(InvalidRequestError) as caught:
        strength_max([1.0, math.nan], L1Norm(), client)
    assert caught.value.element == 1
    with pytest.raises(InvalidRequestError) as caught:
        strength_max([1.0, 2.0, 3.0], GroupLasso(strength=1.0, groups=Groups(size=2)), client)
    assert caught.value.reason == "ERROR_REASON_GROUPS_INVALID"
