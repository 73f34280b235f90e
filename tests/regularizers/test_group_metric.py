"""Groups with a step size for each element: the step in a diagonal metric."""

from __future__ import annotations

import math
from decimal import Decimal, localcontext
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from regularization_kernels import Box, GroupLasso, Groups, SparseGroupLasso, proximal_step
from regularization_kernels.engine import Layout, Method, Segment
from regularization_kernels.errors import ValueNotFinite
from scipy.optimize import minimize

from tests.support.engine_streams import a_call, stream
from tests.support.oracles.groupings import weighted_groups

Array = NDArray[np.float64]

STEP = 0.37
SHAPE = (12, 5)
GROUPS = {
    "runs": Groups(size=10, sqrt_size=True),
    "ragged": Groups(sizes=(1, 2, 7, 20, 30), weights=(1.0, 0.5, 2.0, 0.0, 1.5)),
    "rows": Groups(axis=0),
    "columns": Groups(axis=1, weights=(0.2, 0.4, 0.8, 1.6, 3.2)),
    "one": Groups(size=60),
}
REGULARIZERS = {
    **{f"group_lasso-{name}": GroupLasso(strength=0.8, groups=groups) for name, groups in GROUPS.items()},
    **{
        f"sparse_group_lasso-{name}": SparseGroupLasso(l1_strength=0.3, group_strength=0.6, groups=groups)
        for name, groups in GROUPS.items()
    },
}
every_regularizer = pytest.mark.parametrize("regularizer", REGULARIZERS.values(), ids=REGULARIZERS)


def strengths_of(regularizer: Any) -> tuple[float, float]:
    """The strengths of the L1 norm and of the groups' norms."""
    if isinstance(regularizer, GroupLasso):
        return 0.0, regularizer.strength
    return regularizer.l1_strength, regularizer.group_strength


def penalty(regularizer: Any, x: Array) -> float:
    """The documented penalty."""
    l1, group = strengths_of(regularizer)
    norms = [weight * math.hypot(*x.flat[part]) for weight, part in weighted_groups(regularizer, SHAPE)]
    return l1 * float(np.abs(x).sum()) + group * math.fsum(norms)


def cost(regularizer: Any, y: Array, v: Array, step_sizes: Array) -> float:
    """What the step minimizes."""
    return penalty(regularizer, y) + float(np.sum((y - v) ** 2 / (2 * step_sizes)))


def given(seed: int) -> tuple[Array, Array]:
    """Elements, and scales over three orders of magnitude."""
    random = np.random.default_rng(seed)
    return random.normal(size=SHAPE) * random.choice([0.1, 1.0, 4.0]), 10.0 ** random.uniform(-2, 1, SHAPE)


def searched(regularizer: Any, v: Array, step_sizes: Array) -> Array:
    """A point that SciPy's quasi-Newton method finds from the documented cost, with no step in it."""

    def slope(flat: Array) -> Array:
        l1, group = strengths_of(regularizer)
        y = flat.reshape(SHAPE)
        slopes = (y - v) / step_sizes + l1 * np.sign(y)
        for weight, part in weighted_groups(regularizer, SHAPE):
            norm = math.hypot(*y.flat[part])
            slopes.flat[part] += group * weight * y.flat[part] / norm if norm else 0.0
        return slopes.ravel()

    found = minimize(
        lambda flat: cost(regularizer, flat.reshape(SHAPE), v, step_sizes),
        v.ravel(),
        jac=slope,
        method="L-BFGS-B",
        options={"maxiter": 100},
    )
    return np.asarray(found.x).reshape(SHAPE)


@every_regularizer
@pytest.mark.parametrize("seed", range(3))
def test_the_step_minimizes_its_objective(regularizer: Any, seed: int) -> None:
    """No point has less of penalty plus scaled squared distance, by its scaled distance from the step."""
    v, scales = given(seed)
    y = proximal_step(v, regularizer, STEP, step_scales=scales)[0]
    least, random = cost(regularizer, y, v, STEP * scales), np.random.default_rng(seed + 100)
    others = [v, np.zeros(SHAPE), 0.99 * y, 1.01 * y]
    others += [y + size * random.normal(size=SHAPE) for size in (1e-4, 1e-2, 1.0) for _ in range(10)]
    for z in others:
        gap = float(np.sum((z - y) ** 2 / (2 * STEP * scales)))
        assert cost(regularizer, z, v, STEP * scales) >= least + gap - 1e-12 * max(1.0, least)


@every_regularizer
def test_an_independent_search_finds_no_better_point(regularizer: Any) -> None:
    """And where it ends it is near."""
    v, scales = given(10)
    y = proximal_step(v, regularizer, STEP, step_scales=scales)[0]
    z = searched(regularizer, v, STEP * scales)
    found, least = (cost(regularizer, point, v, STEP * scales) for point in (z, y))
    assert least <= found <= least + 1e-3 * max(1.0, least)


@every_regularizer
@pytest.mark.parametrize("seed", range(3))
def test_what_the_step_took_off_is_a_subgradient(regularizer: Any, seed: int) -> None:
    """Over the step sizes, it belongs to the subdifferential of the penalty at the new point."""
    v, scales = given(seed)
    y = proximal_step(v, regularizer, STEP, step_scales=scales)[0]
    l1, group = strengths_of(regularizer)
    slopes = (v - y) / (STEP * scales)
    for weight, part in weighted_groups(regularizer, SHAPE):
        x, slope = y.flat[part], slopes.flat[part]
        length = math.hypot(*x)
        left = slope - (group * weight * x / length if length else 0.0)
        missed = np.where(x == 0, np.maximum(np.abs(left) - l1, 0.0), left - l1 * np.sign(x))
        bound = 0.0 if length else group * weight
        assert math.hypot(*missed) <= bound + 1e-12 * (1 + np.abs(slope).max())


def exact_group(v: Array, thresholds: Array) -> list[Decimal]:
    """The new elements of one group in sixty digits, by halving the powers between which the norm lies."""
    with localcontext() as context:
        context.prec, context.Emin, context.Emax = 60, -100_000, 100_000
        pairs = [(Decimal(float(x)), Decimal(float(t))) for x, t in zip(v, thresholds, strict=True)]

        def exceeds(norm: Decimal) -> bool:
            return sum((x / (norm + t)) ** 2 for x, t in pairs) > 1

        low, high = Decimal("1e-1000"), sum(abs(x) for x, _ in pairs) + 1
        if not exceeds(low):
            return [Decimal(0)] * len(pairs)
        for _ in range(240):
            middle = (low * high).sqrt()
            low, high = (middle, high) if exceeds(middle) else (low, middle)
        return [x * low / (low + t) for x, t in pairs]


def groups_of_all_kinds() -> dict[str, tuple[Array, Array]]:
    """Elements and scales of one group each."""
    random = np.random.default_rng(4)
    made: dict[str, tuple[Array, Array]] = {}
    for at in range(6):
        made[f"plain-{at}"] = random.normal(size=9) * 2, 10.0 ** random.uniform(-1, 0, 9)
    for at, (elements, scales) in enumerate([(0, 20), (20, 0), (30, 30), (150, 150)]):
        sizes = 10.0 ** random.uniform(-elements, elements, 40)
        made[f"wide-{at}"] = random.normal(size=40) * sizes, 10.0 ** random.uniform(-scales, scales, 40)
    made["tiny"] = np.array([3e-310, -4e-310, 5e-324]), np.array([1e-310, 2e-311, 0.0])
    made["huge"] = np.array([1e300, -1.2e308, 1e290]), np.array([1e300, 1e306, 1e308])
    made["one-stays"] = np.array([1.0, 1e-300, 2e-310]), np.array([20.0, 0.0, 0.0])
    made["some-zeros"] = np.array([0.0, 3.0, 0.0, -4.0]), np.array([0.0, 1.0, 9.0, 0.5])
    made["as-many-scales-as-elements"] = (thresholds := 2.0 ** np.arange(-500, 500, 10.0)), thresholds
    edge = np.array([1.0, 2.0, 2.0])
    made["just-vanishes"] = edge, edge * 1.75
    made["just-stays"] = edge, edge * 1.7
    return made


@pytest.mark.parametrize("kind", groups_of_all_kinds())
def test_the_step_is_exact_to_rounding(kind: str) -> None:
    """Against sixty digits no element is off by more than four roundings of the element that was given."""
    v, scales = groups_of_all_kinds()[kind]
    regularizer = GroupLasso(strength=1.0, groups=Groups(size=v.size))
    y = proximal_step(v, regularizer, 1.0, step_scales=scales)[0]
    slack = 4 * np.finfo(np.float64).eps
    for got, want, x in zip(y, exact_group(v, scales), v, strict=True):
        assert abs(Decimal(float(got)) - want) <= Decimal(slack) * abs(Decimal(float(x))) + Decimal("1e-323")


def test_a_group_does_not_depend_on_others() -> None:
    """Fast and slow groups, of one size or not, have the bits that they have alone."""
    groups = list(groups_of_all_kinds().values())
    sizes = tuple(v.size for v, _ in groups)
    v, scales = (np.concatenate([group[side] for group in groups]) for side in (0, 1))
    together = GroupLasso(strength=1.0, groups=Groups(sizes=sizes))
    y = proximal_step(v, together, 1.0, step_scales=scales)[0]
    for (own, own_scales), (begin, end) in zip(groups, pairwise(np.cumsum((0, *sizes))), strict=True):
        alone = GroupLasso(strength=1.0, groups=Groups(size=own.size))
        expected = proximal_step(own, alone, 1.0, step_scales=own_scales)[0]
        assert y[begin:end].tobytes() == expected.tobytes()


@every_regularizer
def test_groups_of_one_scale_have_the_bits_of_that_step_size(regularizer: Any) -> None:
    """A power of two for each group, and the step is the plain one of each."""
    v, _ = given(5)
    parts = [part for _, part in weighted_groups(regularizer, SHAPE)]
    scales = np.empty(SHAPE)
    for at, part in enumerate(parts):
        scales.flat[part] = 2.0 ** (at % 4 - 2)
    y = proximal_step(v, regularizer, STEP, step_scales=scales)[0]
    for at, part in enumerate(parts):
        plain = proximal_step(v, regularizer, STEP * 2.0 ** (at % 4 - 2))[0]
        assert y.flat[part].tobytes() == plain.flat[part].tobytes()


@every_regularizer
def test_an_element_with_scale_zero_stays(regularizer: Any) -> None:
    """Whatever becomes of its group."""
    v, scales = given(6)
    scales.flat[::7] = 0.0
    y = proximal_step(v, regularizer, 50.0, step_scales=scales)[0]
    np.testing.assert_array_equal(y.flat[::7], v.flat[::7])
    assert np.count_nonzero(y != v) > 30


def test_the_step_may_go_where_it_came_from() -> None:
    """In place, and zeros are positive."""
    for regularizer in REGULARIZERS.values():
        v, scales = given(7)
        expected = proximal_step(v, regularizer, 2.0, step_scales=scales)[0]
        got = proximal_step(v, regularizer, 2.0, step_scales=scales, out=v)[0]
        assert got.tobytes() == expected.tobytes()
        assert not np.signbit(got[got == 0]).any()


@every_regularizer
def test_bound_to_one_sign_the_step_minimizes_over_it(regularizer: Any) -> None:
    """With a lower bound of 0 no point without negative elements has a lower objective."""
    v, scales = given(8)
    layout = Layout(np.dtype(np.float64), (Segment("w", SHAPE, regularizer, box=Box(lower=0.0)),))
    operands = {"parameters": v.ravel(), "step_scales": scales.ravel()}
    y = stream(a_call(Method.PROXIMAL_STEP, layout), operands).values.reshape(SHAPE)
    assert (y >= 0).all()
    least, random = cost(regularizer, y, v, STEP * scales), np.random.default_rng(108)
    for size in (1e-4, 1e-2, 1.0):
        for _ in range(20):
            z = np.maximum(y + size * random.normal(size=SHAPE), 0.0)
            gap = float(np.sum((z - y) ** 2 / (2 * STEP * scales)))
            assert cost(regularizer, z, v, STEP * scales) >= least + gap - 1e-12 * max(1.0, least)


@every_regularizer
def test_smoothed_the_step_is_a_part_of_the_longer_one(regularizer: Any) -> None:
    """X + s / (s + γ) · (q − x), with q the step of sizes s + γ."""
    v, scales = given(9)
    layout = Layout(np.dtype(np.float64), (Segment("w", SHAPE, regularizer, smoothing=0.5),))
    operands = {"parameters": v.ravel(), "step_scales": scales.ravel()}
    y = stream(a_call(Method.PROXIMAL_STEP, layout), operands).values.reshape(SHAPE)
    s = STEP * scales
    q = proximal_step(v, regularizer, 1.0, step_scales=s + 0.5)[0]
    np.testing.assert_allclose(y, v + s / (s + 0.5) * (q - v), rtol=0, atol=1e-14)


def test_what_is_not_finite_makes_nan_of_its_group_alone() -> None:
    """NaN and infinity are refused, or on request spoil their group and no other."""
    v = np.arange(1.0, 13.0)
    v[1], v[7] = np.nan, np.inf
    scales = np.linspace(0.1, 1.0, 12)
    scales[[0, 6]] = 0.0
    regularizer = GroupLasso(strength=1.0, groups=Groups(size=3))
    with pytest.raises(ValueNotFinite):
        proximal_step(v, regularizer, STEP, step_scales=scales)
    y = proximal_step(v, regularizer, STEP, step_scales=scales, propagate_non_finite=True)[0]
    assert np.isnan(y).reshape(4, 3).tolist() == [[True] * 3, [False] * 3, [True] * 3, [False] * 3]


@pytest.mark.parametrize("shape", [(0, 3), (3, 0), (0,)])
def test_an_empty_segment_has_a_step(shape: tuple[int, ...]) -> None:
    """Without elements there is nothing to do."""
    regularizer = GroupLasso(strength=1.0, groups=Groups(axis=0))
    empty = np.empty(shape)
    assert proximal_step(empty, regularizer, STEP, step_scales=empty)[0].shape == shape
