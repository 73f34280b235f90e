"""A set is a set in every data type: what a projection gives is inside and near; all else is outside."""

from __future__ import annotations

import math
from functools import partial
from itertools import cycle, islice
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from numpy.typing import NDArray
from regularization_kernels import (
    BlockSparsity,
    Box,
    Grid,
    Groups,
    Isotonic,
    L1Ball,
    L2Ball,
    Levels,
    MaxNorm,
    MinMaxNorm,
    NOfM,
    NuclearBall,
    PositiveSemidefinite,
    RankBall,
    Simplex,
    SpectralBall,
    Stiefel,
    TopK,
    TopKGroups,
    TransposableSparsity,
    UnitNorm,
    penalty,
    proximal_step,
)
from regularization_kernels.engine import Rounding, RoundingMode
from regularization_kernels.regularizer import REGULARIZERS

from tests.support.oracles.groupings import sets_of
from tests.support.oracles.number_formats import FIXED, Q7, Q15, FixedPoint
from tests.support.oracles.sets import (
    COARSE,
    EVERY,
    INSIDE,
    Format,
    Wide,
    data_type_of,
    reachable,
    rounded_levels,
    steps,
)
from tests.support.together import for_each

if TYPE_CHECKING:
    from collections.abc import Iterator

SHAPE = (6, 8)
SETS: dict[str, Any] = {
    "box": Box(lower=-0.3, upper=0.7),
    "box-nonnegative": Box(lower=0.0),
    "grid": Grid(levels=Levels(step=0.1)),
    "grid-aside": Grid(levels=Levels(step=0.3, offset=0.7)),
    "grid-fine": Grid(levels=Levels(step=1e-6, offset=1 / 3)),
    "grid-binary": Grid(levels=Levels(explicit=(-0.7, 0.7))),
    "grid-explicit": Grid(levels=Levels(explicit=(-3.0, -0.3, 0.0, 1 / 7, 0.52))),
    "l1_ball": L1Ball(radius=1.0),
    "l1_ball-small": L1Ball(radius=0.1),
    "l1_ball-wide": L1Ball(radius=3.3),
    "l1_ball-rows": L1Ball(radius=0.7, groups=Groups(axis=0)),
    "l1_ball-columns": L1Ball(radius=0.1, groups=Groups(axis=1, sqrt_size=True)),
    "l1_ball-runs": L1Ball(radius=0.5, groups=Groups(sizes=(1, 20, 3, 24), weights=(1.0, 0.5, 0.0, 2.0))),
    "l2_ball": L2Ball(radius=1.0),
    "l2_ball-small": L2Ball(radius=0.1),
    "l2_ball-wide": L2Ball(radius=2.3),
    "l2_ball-rows": L2Ball(radius=0.7, groups=Groups(axis=0)),
    "max_norm": MaxNorm(radius=1.0, groups=Groups(axis=0)),
    "max_norm-columns": MaxNorm(radius=0.3, groups=Groups(axis=1, sqrt_size=True)),
    "max_norm-runs": MaxNorm(radius=0.7, groups=Groups(sizes=(1, 20, 3, 24), weights=(1.0, 0.5, 0.0, 2.0))),
    "unit_norm": UnitNorm(groups=Groups(axis=0)),
    "unit_norm-columns": UnitNorm(groups=Groups(axis=1, weights=(0.0, 0.5, 1.0, 0.9, 0.7, 0.3, 0.01, 1.0))),
    "unit_norm-runs": UnitNorm(groups=Groups(sizes=(2, 20, 3, 23))),
    "min_max_norm": MinMaxNorm(lower=0.3, upper=0.9, groups=Groups(axis=0)),
    "min_max_norm-columns": MinMaxNorm(lower=0.1, upper=0.3, groups=Groups(axis=1, sqrt_size=True)),
    "min_max_norm-open": MinMaxNorm(lower=0.7, upper=1e300, groups=Groups(size=12)),
    "simplex": Simplex(radius=1.0),
    "simplex-small": Simplex(radius=0.1),
    "simplex-wide": Simplex(radius=5.7),
    "simplex-rows": Simplex(radius=1.0, groups=Groups(axis=0)),
    "simplex-columns": Simplex(radius=0.3, groups=Groups(axis=1, sqrt_size=True)),
    "simplex-runs": Simplex(radius=0.7, groups=Groups(sizes=(1, 20, 3, 24), weights=(1.0, 0.5, 0.0, 8.0))),
    "top_k": TopK(count=5),
    "top_k-rows": TopK(count=3, groups=Groups(axis=0)),
    "top_k-columns": TopK(fraction=0.4, groups=Groups(axis=1)),
    "top_k_groups": TopKGroups(count=2, groups=Groups(axis=0)),
    "top_k_groups-columns": TopKGroups(fraction=0.3, groups=Groups(axis=1)),
    "block_sparsity": BlockSparsity(fraction=0.4, rows=2, columns=4),
    "block_sparsity-rows": BlockSparsity(count=1, rows=1, columns=8),
    "n_of_m": NOfM(n=2, m=4),
    "n_of_m-columns": NOfM(n=1, m=3, axis=0),
    "transposable_sparsity": TransposableSparsity(n=2),
    "transposable_sparsity-one": TransposableSparsity(n=1),
    "isotonic": Isotonic(),
    "isotonic-decreasing": Isotonic(decreasing=True, axis=0),
    "spectral_ball": SpectralBall(radius=1.0),
    "spectral_ball-small": SpectralBall(radius=0.05),
    "nuclear_ball": NuclearBall(radius=2.0),
    "nuclear_ball-small": NuclearBall(radius=0.05),
    "positive_semidefinite": PositiveSemidefinite(),
    "rank_ball": RankBall(rank=2),
    "rank_ball-zero": RankBall(rank=0),
    "stiefel": Stiefel(),
}
every_set = pytest.mark.parametrize("name", SETS)
every_form = pytest.mark.parametrize("form", EVERY, ids=lambda form: str(form or "float64"))
every_coarse_form = pytest.mark.parametrize("form", COARSE, ids=str)
STOCHASTIC = Rounding(RoundingMode.STOCHASTIC, 11)


def roundings_in_turn(form: Format) -> Iterator[Rounding]:
    """Both, one after the other; of the next format the other one first."""
    both = cycle((Rounding(), STOCHASTIC))
    return islice(both, EVERY.index(form) % 2, None)


def elements(form: Format, numbers: Any) -> NDArray[Any]:
    """Numbers as elements of a format."""
    if isinstance(form, FixedPoint):
        return form.elements(np.asarray(numbers, np.float64))
    return np.asarray(numbers, np.float64).astype(data_type_of(form))


def numbers(form: Format, of: NDArray[Any]) -> Wide:
    """What elements stand for."""
    return form.numbers(of) if isinstance(form, FixedPoint) else of.astype(np.float64)


def shape_of(name: str) -> tuple[int, ...]:
    """Of columns that may be orthonormal, where they are to be, and of tiles."""
    if name == "positive_semidefinite":
        return (7, 7)
    if name.startswith("transposable_sparsity"):
        return (8, 8)
    return SHAPE[::-1] if name == "stiefel" else SHAPE


def starts(shape: tuple[int, ...], form: Format, seed: int = 3) -> list[Wide]:
    """Random vectors, and some that are hard on rounding: ties, equal ones, one that outweighs all, ends."""
    random = np.random.default_rng(seed)
    size = math.prod(shape)
    signs = random.choice([-1.0, 1.0], size)
    top = 0.99 if isinstance(form, FixedPoint) else 3.0
    spike = np.full(size, 2.0**-9)
    spike[size // 2] = top
    vectors = [
        *(random.normal(size=size) * scale for scale in (0.02, 0.2, 0.5)),
        random.uniform(-1.0, 1.0, size),
        np.full(size, top),
        np.full(size, 0.1) * signs,
        0.0101 * signs * np.arange(size),
        spike,
        -spike * signs,
        top * 0.7 ** np.arange(size),
        np.full(size, -1.0),
        np.outer(np.linspace(0.2, 0.9, shape[0]), np.linspace(-0.9, 0.8, shape[1])).ravel(),
        np.eye(*shape).ravel() * top,
    ]
    return [numbers(form, elements(form, vector.reshape(shape))) for vector in vectors]


def value(x: NDArray[Any], regularizer: Any, **options: Any) -> float:
    """The penalty."""
    found = penalty(x, regularizer, **options).total.penalty
    assert found is not None
    return found.value


def nearest(regularizer: Any, x: Wide, form: Format) -> Wide:
    """The exact projection, of the set as the format can reach it; of sets of groups each by itself."""
    if getattr(regularizer, "groups", None) is not None and isinstance(
        regularizer, L1Ball | L2Ball | Simplex | TopK
    ):
        new = np.empty(x.shape)
        for one, part in sets_of(regularizer, x.shape):
            new.ravel()[part] = nearest(one, x.ravel()[part], form)
        return new
    if isinstance(regularizer, Simplex):
        regularizer = Simplex(radius=float(reachable(regularizer.radius, form)))
        if isinstance(form, FixedPoint) and regularizer.radius >= 1.0:
            return capped(x, regularizer.radius, 1.0 - 2.0**-form.bits)
    if isinstance(regularizer, Grid) and regularizer.levels.explicit is not None:
        levels = sorted(set(rounded_levels(regularizer.levels.explicit, form)))
        regularizer = Grid(levels=Levels(explicit=tuple(levels)))
    return proximal_step(x, regularizer, 1.0)[0]


def capped(x: Wide, radius: float, cap: float) -> Wide:
    """The nearest point of a simplex whose elements are at most a cap, by halving."""
    low, high = float(np.min(x)) - cap, float(np.max(x))
    for _ in range(200):
        middle = 0.5 * (low + high)
        if float(np.sum(np.clip(x - middle, 0.0, cap))) > radius:
            low = middle
        else:
            high = middle
    return np.clip(x - low, 0.0, cap)


def off(name: str, new: Wide, exact: Wide, form: Format) -> float:
    """How far a result is from the exact projection, by the distance that it may be."""
    gaps, room = np.abs(new - exact), np.maximum(steps(form, new), steps(form, exact))
    room += 1e-15 + 4.0 * np.spacing(np.abs(exact)) * len(INSIDE)
    if name.startswith("simplex"):
        room[...] = np.max(room)
    if name.startswith(("rank", "stiefel", "positive", "unit_norm", "min_max_norm")):
        return float(np.linalg.norm(gaps) / np.linalg.norm(room))
    if name.startswith(("spectral_ball", "nuclear_ball")):
        return float(np.linalg.norm(gaps) / ((1.0 + math.sqrt(min(new.shape))) * np.linalg.norm(room)))
    return float(np.max(gaps / room))


def in_range(name: str, exact: Wide, form: Format) -> Wide:
    """A point within what a format can hold: cut off there, or made smaller where the rank is to stay."""
    if not isinstance(form, FixedPoint):
        return exact
    top = 1.0 - 2.0**-form.bits
    largest = float(np.max(np.abs(exact)))
    if name.startswith(("rank", "positive")) and largest > 1.0:
        return exact * (top / largest)
    return np.clip(exact, -1.0, top)


@every_form
@every_set
def test_what_a_projection_gives_is_inside_near_and_stays(name: str, form: Format) -> None:
    """By exact arithmetic; its penalty is 0, a second step changes no bit, and the exact point is near."""
    regularizer, inside = SETS[name], INSIDE[name.split("-")[0]]
    for x, rounding in zip(starts(shape_of(name), form), roundings_in_turn(form), strict=False):
        given = elements(form, x)
        if not inside(regularizer, x, form):
            assert value(given, regularizer) == math.inf
        exact = in_range(name, nearest(regularizer, x, form), form)
        out, summary = proximal_step(given, regularizer, 1.0, rounding=rounding)
        new = numbers(form, out)
        assert inside(regularizer, new, form)
        assert summary.total.penalty is not None
        assert summary.total.penalty.value == value(out, regularizer) == 0.0
        assert proximal_step(out, regularizer, 1.0)[0].tobytes() == out.tobytes()
        assert off(name, new, exact, form) <= 1.0


@every_form
@every_set
def test_a_forward_step_ends_inside(name: str, form: Format) -> None:
    """Where what is projected, or is inside already, is no point of the data type."""
    regularizer, inside = SETS[name], INSIDE[name.split("-")[0]]
    random, sizes = np.random.default_rng(4), cycle([1e-9, 1e-4, 0.1])
    for x, rounding in zip(starts(shape_of(name), form), roundings_in_turn(form), strict=False):
        given = elements(form, x)
        for start in (given, proximal_step(given, regularizer, 1.0)[0]):
            size, slopes = next(sizes), elements(form, random.uniform(-1, 1, x.shape))
            out, summary = proximal_step(start, regularizer, size, loss_gradients=slopes, rounding=rounding)
            assert inside(regularizer, numbers(form, out), form)
            assert summary.total.penalty is not None
            assert summary.total.penalty.value == 0.0


BALLS = [
    "l1_ball",
    "l1_ball-runs",
    "l2_ball",
    "l2_ball-small",
    "max_norm-runs",
    "spectral_ball",
    "nuclear_ball",
    "top_k",
    "n_of_m",
    "box",
]


@every_form
@pytest.mark.parametrize("name", BALLS)
@for_each("rounding", [Rounding(), STOCHASTIC])
def test_a_set_around_a_reference_is_not_left(name: str, form: Format, rounding: Rounding) -> None:
    """The new elements less the reference are inside, however many of their bits the reference takes."""
    regularizer, inside = SETS[name], INSIDE[name.split("-")[0]]
    random = np.random.default_rng(5)
    for size in (1e-3, 0.1, 0.5):
        reference = elements(form, random.uniform(-size, size, SHAPE))
        for x in starts(SHAPE, form):
            out, summary = proximal_step(
                elements(form, x), regularizer, 1.0, reference=reference, rounding=rounding
            )
            points = numbers(form, out) - numbers(form, reference)
            assert inside(regularizer, points, form)
            assert summary.total.penalty is not None
            assert summary.total.penalty.value == 0.0


@pytest.mark.parametrize("form", FIXED, ids=str)
@pytest.mark.parametrize(
    "regularizer", [Simplex(radius=0.25), Isotonic(), Isotonic(decreasing=True, axis=0)], ids=repr
)
def test_sums_and_orders_around_a_reference_hold_in_fixed_point(form: FixedPoint, regularizer: Any) -> None:
    """Where neighbours are equally far apart, the reference changes nothing of what can be reached."""
    random = np.random.default_rng(6)
    for _ in range(20):
        reference = elements(form, random.uniform(-0.3, 0.3, SHAPE))
        x = elements(form, random.uniform(-0.3, 0.3, SHAPE))
        for rounding in (Rounding(), STOCHASTIC):
            out, _ = proximal_step(x, regularizer, 1.0, reference=reference, rounding=rounding)
            points = numbers(form, out) - numbers(form, reference)
            assert INSIDE[regularizer.name](regularizer, points, form)
            assert value(out, regularizer, reference=reference) == 0.0


def test_coarse_formats_do_not_hide_an_excess() -> None:
    """What n elements might have been rounded by is not allowed for: such vectors are projected."""
    q7, q15 = np.full(1024, 100, np.int8), np.full(128 * 9, 4096, np.int16)
    for given, form, regularizer in (
        (q7, Q7, L2Ball(radius=1.0)),
        (q15, Q15, L2Ball(radius=1.0)),
        (q15.reshape(1, 3, 3, 128), Q15, MaxNorm(radius=1.0, groups=Groups(axis=0))),
        (q15.reshape(32, 36), Q15, SpectralBall(radius=1.0)),
        (np.zeros(128, np.int8), Q7, Simplex(radius=1.0)),
    ):
        assert value(given, regularizer) == math.inf
        out, _ = proximal_step(given, regularizer, 1.0)
        new = numbers(form, out)
        assert INSIDE[regularizer.name](regularizer, new, form)
        size = float(np.sum(new)) if isinstance(regularizer, Simplex) else float(np.linalg.norm(new))
        assert size == pytest.approx(1.0, abs=0.02)


@every_coarse_form
def test_a_long_vector_is_half_a_step_from_the_exact_projection(form: Format) -> None:
    """On average: some elements give way, by little more than a half. Towards zero, all would."""
    x = elements(form, np.random.default_rng(7).uniform(-0.9, 0.9, 10_000))
    for regularizer in (L2Ball(radius=6.0), L1Ball(radius=500.0), Simplex(radius=512.0)):
        exact = nearest(regularizer, numbers(form, x), form)
        new = numbers(form, proximal_step(x, regularizer, 1.0)[0])
        assert INSIDE[regularizer.name](regularizer, new, form)
        halves = 0.5 * np.maximum(steps(form, new), steps(form, exact))[exact != 0]
        assert float(np.linalg.norm(new - exact)) <= 1.001 * float(np.linalg.norm(halves))


@pytest.mark.parametrize("kind", [L1Ball, L2Ball, Simplex], ids=lambda kind: kind.name)
@pytest.mark.parametrize("groups", [None, Groups(size=4)], ids=["whole", "groups"])
@pytest.mark.parametrize("dtype", [np.float16, np.float32])
def test_a_radius_past_the_range_leaves_finite_numbers(
    kind: Any, groups: Groups | None, dtype: type[Any]
) -> None:
    """A forward step may go past the largest number; then that is what an element becomes."""
    top = float(np.finfo(dtype).max)
    x = np.array([top, 0.9 * top, 0.0, -top], dtype)
    out, summary = proximal_step(x, kind(radius=2.5 * top, groups=groups), 1.0, loss_gradients=-x)
    assert np.isfinite(out).all()
    assert summary.total.penalty is not None
    assert summary.total.penalty.value == 0.0


@every_form
@pytest.mark.parametrize("radius", [1.7e308, 1e150, 6.0, 1e-300, 5e-324])
@pytest.mark.parametrize(
    "kind",
    [
        *(Simplex, L1Ball, L2Ball, SpectralBall, NuclearBall),
        *(partial(kind, groups=Groups(axis=axis)) for kind in (Simplex, L1Ball, L2Ball) for axis in (0, 1)),
    ],
)
def test_radii_and_references_of_all_sizes_have_an_answer(form: Format, radius: float, kind: Any) -> None:
    """Also where the neighbours of one element are farther apart than another's by more than float64 has."""
    data_type = data_type_of(form)
    numbers = [[100, -100], [0, 1]] if data_type.kind == "i" else [[1e150, -1e150], [0.0, 1e-310]]
    with np.errstate(over="ignore"):
        reference = np.array(numbers).astype(data_type)
    reference[~np.isfinite(reference)] = 3
    x = np.ones((2, 2), data_type)
    for operands in ({}, {"reference": reference}):
        result, _ = proximal_step(x, kind(radius=radius), 1.0, **operands)
        assert result.dtype == data_type


class Shifting(np.ndarray[Any, np.dtype[np.float64]]):
    """Elements that grow each time they are multiplied, as if another process wrote into them."""

    def __array_ufunc__(self, ufunc: Any, method: str, *inputs: Any, **options: Any) -> Any:
        given = [np.asarray(each) for each in inputs]
        if "out" in options:
            options["out"] = tuple(np.asarray(each) for each in options["out"])
        result = getattr(ufunc, method)(*given, **options)
        np.asarray(self)[...] *= 1.5
        return result


@pytest.mark.parametrize(
    "regularizer",
    [
        L2Ball(radius=1.0),
        MaxNorm(radius=1.0, groups=Groups(size=4)),
        L1Ball(radius=1.0, groups=Groups(size=4)),
        Simplex(radius=1.0, groups=Groups(sizes=(5, 11))),
    ],
    ids=lambda r: r.name,
)
def test_elements_that_change_meanwhile_do_not_keep_a_step_from_ending(regularizer: Any) -> None:
    """Whatever is read, the number of rounds is bounded."""
    x = np.full(16, 3.0).view(Shifting)
    out = np.empty(16)
    regularizer.on((16,)).prox(x, 1.0, out)
    assert np.isfinite(out).all()


@pytest.mark.parametrize("step", [1e-300, 1.0, 1e30, 1e300])
@every_form
def test_even_levels_of_all_sizes_have_a_finite_step(form: Format, step: float) -> None:
    """Where levels are closer than numbers everything is on one; past the range they are its ends."""
    grid = Grid(levels=Levels(step=step, offset=0.4 * step))
    x = elements(form, [0.3, -0.9, 1e-3])
    out, summary = proximal_step(x, grid, 1.0)
    assert np.isfinite(numbers(form, out)).all()
    assert proximal_step(out, grid, 1.0)[0].tobytes() == out.tobytes()
    assert summary.total.penalty is not None
    assert summary.total.penalty.value == 0.0
    if step == 1e-300:
        assert numbers(form, out).tolist() == numbers(form, x).tolist()


def test_levels_that_a_data_type_cannot_tell_apart_are_one() -> None:
    """And one that is out of its range is its end."""
    x = np.array([-128, -3, 0, 1, 2, 100], np.int8)
    out, _ = proximal_step(x, Grid(levels=Levels(explicit=(-5.0, 0.0, 0.001, 0.01, 7.0))), 1.0)
    assert out.tolist() == [-128, 0, 0, 1, 1, 127]


def test_every_set_has_an_oracle() -> None:
    """A new set says here when a point is inside."""
    indicators = {name for name, kind in REGULARIZERS.items() if kind.traits.indicator}
    assert set(INSIDE) == {name.split("-")[0] for name in SETS} == indicators
