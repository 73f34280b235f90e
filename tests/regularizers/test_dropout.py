"""Dropout is a map whose zeros are a function of seed, step and place alone."""

from __future__ import annotations

import math
from fractions import Fraction
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from regularization_kernels import Dropout, proximal_step
from regularization_kernels.engine import Call, Layout, Method, Segment
from regularization_kernels.errors import MethodUnsupported

from tests.support.cases import elements
from tests.support.engine_streams import stream
from tests.support.oracles.number_formats import FLOATING, Q15, random_word

Wide = NDArray[np.float64]

INSTANCES = [
    pytest.param(*instance, id=repr(instance[0]))
    for row in elements.MAPS
    for instance in row.instances.values()
]


def dropped(regularizer: Dropout, size: int, first: int = 0) -> NDArray[np.bool_]:
    """Which elements become 0, by the schema's words, in exact rationals."""
    of_step = random_word(regularizer.seed, regularizer.step)
    words = [random_word(of_step, first + i) for i in range(size)]
    return np.array([Fraction(word, 1 << 64) < Fraction(regularizer.rate) for word in words], bool)


def documented(regularizer: Dropout, x: Wide) -> Wide:
    """The map of a whole segment."""
    left = x / (1.0 - regularizer.rate) if regularizer.rescale else x
    return np.where(dropped(regularizer, x.size).reshape(x.shape), 0.0, left)


def mapped(regularizer: Dropout, x: NDArray[Any], **options: Any) -> NDArray[Any]:
    """The map, by the engine."""
    return proximal_step(x, regularizer, 0.6, **options)[0]


@pytest.mark.parametrize(("regularizer", "shape"), INSTANCES)
def test_elements_become_zero_as_documented(regularizer: Dropout, shape: tuple[int, ...]) -> None:
    """What stays is divided by what the rate leaves, or stays to the bit; zeros are positive."""
    x = np.random.default_rng(0).normal(size=shape)
    expected = documented(regularizer, x)
    apart, over = np.full_like(x, np.nan), x.copy()
    regularizer.on(shape).prox(x, 0.6, apart)
    regularizer.on(shape).prox(over, 0.6, over)
    assert apart.tobytes() == over.tobytes() == expected.tobytes()
    assert not np.signbit(apart[apart == 0]).any()
    assert mapped(regularizer, x).tobytes() == expected.tobytes()


def test_the_step_size_does_not_matter() -> None:
    """For there is nothing to weigh."""
    x = np.random.default_rng(1).normal(size=50)
    regularizer = Dropout(rate=0.5, seed=3)
    steps = [proximal_step(x, regularizer, step_size)[0].tobytes() for step_size in (0.0, 0.5, 1e308)]
    assert len(set(steps)) == 1


def test_the_mean_stays() -> None:
    """Over many steps of training the mean of an element is the element, within four deviations."""
    x, steps, rate = np.array([1.0, -2.0, 0.25]), 4_000, 0.3
    sums = np.sum([mapped(Dropout(rate=rate, seed=5, step=step), x) for step in range(steps)], axis=0)
    deviation = np.abs(x) * math.sqrt(rate / (1 - rate) / steps)
    assert (np.abs(sums / steps - x) <= 4 * deviation).all()


@pytest.mark.parametrize("form", [*FLOATING, Q15], ids=str)
def test_masks_are_the_same_in_every_data_type(form: Any) -> None:
    """And what stays is rounded once."""
    regularizer = Dropout(rate=0.4, seed=9, step=2)
    random = np.random.default_rng(2)
    x = random.uniform(0.1, 0.5, 500)
    given = form.elements(x) if form is Q15 else x.astype(form.data_type)
    numbers = form.numbers(given) if form is Q15 else given.astype(np.float64)
    expected = documented(regularizer, numbers)
    result = mapped(regularizer, given)
    rounded = form.elements(expected) if form is Q15 else expected.astype(form.data_type)
    assert result.dtype == given.dtype
    if form.data_type.name != "bfloat16":  # which its library rounds by way of float32
        assert result.tobytes() == rounded.tobytes()
    assert ((result == 0) == dropped(regularizer, x.size)).all()


def test_nan_stays_and_infinity_may_go() -> None:
    """A NaN is never hidden; an infinity that is dropped is 0."""
    x = np.array([np.nan, np.inf, -np.inf] * 20)
    result = mapped(Dropout(rate=0.5, seed=1), x, propagate_non_finite=True)
    gone = dropped(Dropout(rate=0.5, seed=1), x.size)
    assert (np.isnan(result) == np.isnan(x)).all()
    finite = result[~np.isnan(x)]
    assert (finite == np.where(gone, 0.0, x)[~np.isnan(x)]).all()


def test_any_chunks_and_ranges_give_the_same_bits() -> None:
    """Elements count from their segment's first, whatever came before it and wherever a range begins."""
    sizes, seeds = (40_000, 5, 70_000), (1, 2, 1)
    segments = tuple(
        Segment(f"s{index}", (size,), Dropout(rate=0.5, seed=seed))
        for index, (size, seed) in enumerate(zip(sizes, seeds, strict=True))
    )
    layout = Layout(np.dtype(np.float32), segments)
    x = np.random.default_rng(3).normal(size=layout.size).astype(np.float32)
    parts = [
        documented(Dropout(rate=0.5, seed=seed), part.astype(np.float64)).astype(np.float32)
        for seed, part in zip(seeds, np.split(x, np.cumsum(sizes)[:-1]), strict=True)
    ]
    expected = np.concatenate(parts)
    random = np.random.default_rng(4)
    for _ in range(3):
        cuts = [0, *sorted(random.integers(0, layout.size, 4).tolist()), layout.size]
        for begin, end in pairwise(cuts):
            call = Call(Method.PROXIMAL_STEP, layout, (begin, end), step_size=1.0)
            outcome = stream(
                call, {"parameters": x[begin:end]}, random.integers(0, end - begin + 1, 9).tolist()
            )
            assert outcome.bits()[0] == expected[begin:end].tobytes()


def test_short_neighbours_each_count_from_their_first_element() -> None:
    """Segments that other regularizers would let go together have the same mask, if the seed is the same."""
    regularizer = Dropout(rate=0.5, seed=6)
    layout = Layout(np.dtype(np.float64), tuple(Segment(f"s{i}", (9,), regularizer) for i in range(20)))
    x = np.ones(layout.size)
    call = Call(Method.PROXIMAL_STEP, layout, step_size=1.0)
    got = stream(call, {"parameters": x}).values
    assert (got.reshape(20, 9) == documented(regularizer, np.ones(9))).all()


def test_it_has_no_gradient_and_no_penalty() -> None:
    """The kernel refuses the one, and adds nothing for the other."""
    x = np.ones(3)
    with pytest.raises(MethodUnsupported, match="dropout is a map"):
        Dropout(rate=0.5, seed=0).gradient(x, x)
    assert Dropout(rate=0.5, seed=0).value(x) == 0.0
