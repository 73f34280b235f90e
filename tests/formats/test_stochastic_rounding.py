"""Stochastic rounding: bits that a seed and an element's index decide, and means that are exact."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from regularization_kernels import Box, L1Norm, SquaredL2Norm, errors, gradient, penalty, proximal_step
from regularization_kernels.engine import (
    Call,
    Chunk,
    Layout,
    MemoryBudget,
    Method,
    Rounding,
    RoundingMode,
    Segment,
    run_whole,
)
from regularization_kernels.formats import limits, numbers_of, random_bits, round_into, round_stochastically

from tests.support.cases import Case
from tests.support.engine_streams import PLENTY, a_call, stream, whole_call
from tests.support.inputs import cases_with, feasible, rng
from tests.support.oracles.number_formats import FIXED, FLOATING, FixedPoint, FloatingPoint, random_word
from tests.support.together import for_each

Form = FixedPoint | FloatingPoint
FORMS: tuple[Form, ...] = (*FLOATING, *FIXED)
BFLOAT16 = FLOATING[2]
BLOCK = 1 << 18
SIGMAS = 5.0

every_form = pytest.mark.parametrize("form", FORMS, ids=str)
every_floating_form = pytest.mark.parametrize("form", FLOATING, ids=str)


def stochastic(seed: int = 7) -> Rounding:
    """Stochastic rounding with a seed."""
    return Rounding(RoundingMode.STOCHASTIC, seed)


def rounded(numbers: NDArray[np.float64], form: Form, seed: int = 7, first: int = 0) -> NDArray[Any]:
    """Numbers, rounded to elements."""
    out = np.empty(numbers.size, form.data_type)
    with np.errstate(over="ignore"):
        round_stochastically(numbers, out, seed, first)
    return out


def interesting(form: Form) -> NDArray[np.float64]:
    """Numbers of every size, of the format and beside it, with those around its ends."""
    random = np.random.default_rng(80)
    largest, smallest = limits(form.data_type).max, limits(form.data_type).smallest_subnormal
    sizes = largest * 2.0 ** random.uniform(-40, 0, size=200)
    small = smallest * random.uniform(0, 40, size=100)
    ends = largest * np.array([1 - 2.0**-40, 1.0, 1 + 2.0**-40, 1 + 2.0**-12, 1 + 2.0**-7, 1.5, 1e3])
    odd = np.array([0.0, 5e-324, 1e-310, smallest, smallest * (1 - 2.0**-53), smallest * 2.5, np.inf])
    numbers = np.concatenate([sizes, small, ends, odd])
    return np.concatenate([numbers, -numbers])


def test_random_bits_are_the_documented_function() -> None:
    """SplitMix64 as it was published, and from there in plain Python, far into the vector, for any seed."""
    published = [6457827717110365317, 3203168211198807973, 9817491932198370423]
    assert _outputs(1234567, 3) == published
    # A seed's first output is the state from which an element's bits are counted.
    assert random_bits(1234567, 0, 100).tolist() == _outputs(published[0], 100)
    for seed in (0, 1, (1 << 64) - 1):
        for first in (0, 12_345, (1 << 60) - 2):
            words = random_bits(seed, first, 5).tolist()
            assert words == [random_word(seed, first + index) for index in range(5)]


def _outputs(state: int, count: int) -> list[int]:
    """The first outputs of SplitMix64 from a state."""
    words = []
    for _ in range(count):
        state = (state + 0x9E3779B97F4A7C15) % (1 << 64)
        word = ((state ^ (state >> 30)) * 0xBF58476D1CE4E5B9) % (1 << 64)
        word = ((word ^ (word >> 27)) * 0x94D049BB133111EB) % (1 << 64)
        words.append(word ^ (word >> 31))
    return words


@every_form
@pytest.mark.parametrize("first", [0, (1 << 40) + 3])
def test_elements_are_those_of_the_documented_rule(form: Form, first: int) -> None:
    """In exact rationals: subnormals, the ends and what is beyond them, for several seeds."""
    numbers = interesting(form)
    before = numbers.copy()
    for seed in (0, 7, (1 << 64) - 1):
        out = rounded(numbers, form, seed, first)
        if isinstance(form, FixedPoint):
            assert out.tolist() == form.stochastic(np.nan_to_num(numbers), seed, first)
        else:
            finite = np.isfinite(numbers)
            expected = form.stochastic(np.where(finite, numbers, 0.0), seed, first)
            assert out.astype(np.float64)[finite].tolist() == np.array(expected)[finite].tolist()
            assert np.isinf(out.astype(np.float64)[~finite]).all()
            assert np.signbit(out.astype(np.float64)).tolist() == np.signbit(numbers).tolist()
    assert numbers.tobytes() == before.tobytes()


@every_form
def test_numbers_of_the_format_stay(form: Form) -> None:
    """With any seed, subnormals and the ends among them."""
    elements = np.empty(4096, form.data_type)
    with np.errstate(over="ignore"):
        round_into(np.resize(interesting(form), 4096), elements)
    for seed in range(3):
        out = rounded(numbers_of(elements).astype(np.float64), form, seed)
        assert out.tobytes() == elements.tobytes()


@every_form
@pytest.mark.parametrize("fraction", [0.5, 0.1, 1 / 256, 0.999])
def test_the_mean_is_exact(form: Form, fraction: float) -> None:
    """Of 2^18 elements, within five standard deviations; above and below 0, small and large."""
    about = limits(form.data_type)
    sigma = math.sqrt(fraction * (1.0 - fraction) / BLOCK)
    places = {0.0: about.smallest_subnormal, 0.5: about.spacing or about.eps / 2}
    for at, unit in places.items():
        for sign in (1.0, -1.0):
            out = rounded(np.full(BLOCK, sign * (at + fraction * unit)), form, seed=11)
            steps = (sign * numbers_of(out).astype(np.float64) - at) / unit
            assert set(steps.tolist()) == {0.0, 1.0}
            assert abs(steps.mean() - fraction) < SIGMAS * sigma


def test_bits_of_neighbours_and_of_other_seeds_have_nothing_in_common() -> None:
    """Of halves, what one element does says nothing of the next, or of itself under another seed."""
    count = 1 << 17
    halves = np.full(count, 1.5 * 2.0**-15)

    def ups(seed: int, first: int = 0) -> NDArray[np.float64]:
        return (rounded(halves, FIXED[1], seed, first) == 2) - 0.5

    ours, bound = ups(7), SIGMAS * 0.25 / math.sqrt(count)
    for lag in (1, 2, 3, 255, 256, 1024, 1 << 15):
        assert abs(np.mean(ours[lag:] * ours[:-lag])) < 2 * bound
    for seed in (0, 6, 8, 7 + (1 << 32), 7 ^ (1 << 63), (7 + 0x9E3779B97F4A7C15) % (1 << 64)):
        assert abs(np.mean(ours * ups(seed))) < bound
        assert abs(np.mean(ours[1:] * ups(seed)[:-1])) < 2 * bound
    assert (ups(7, 5)[:-5] == ours[5:]).all()


def test_a_decay_below_half_a_unit_acts_in_expectation() -> None:
    """A thousand steps by 1e-4: bfloat16 near 1 never moves to nearest, and decays as it should at random."""
    steps, size = 1000, 1 << 12
    start = np.empty(size, BFLOAT16.data_type)
    round_into(np.random.default_rng(81).uniform(0.9, 1.1, size), start)
    decay = SquaredL2Norm(strength=0.01)
    still, moving = start.copy(), start.copy()
    for step in range(steps):
        proximal_step(still, decay, 0.01, out=still)
        proximal_step(moving, decay, 0.01, out=moving, rounding=stochastic(step))
    assert still.tobytes() == start.tobytes()
    expected = start.astype(np.float64).mean() * math.exp(-1e-4 * steps)
    # A step moves an element by a unit u with probability 1e-4/u at most: its variance is at most 1e-4 * u.
    sigma = math.sqrt(steps * 1.1e-4 * 2.0**-7 / size)
    assert abs(moving.astype(np.float64).mean() - expected) < SIGMAS * sigma
    assert expected < start.astype(np.float64).mean() - 50 * sigma


@every_floating_form
def test_beyond_the_largest_number_it_is_as_to_nearest(form: FloatingPoint) -> None:
    """Infinite from half a unit beyond it on, the largest number before that, whatever the seed."""
    largest = float(form.largest)
    half = 2.0 ** (form.highest_exponent - form.mantissa_bits - 1)
    numbers = np.array([largest + half / 2, largest + half, -largest - half * 0.99, -largest * 2])
    for seed in range(20):
        out = rounded(numbers, form, seed).astype(np.float64)
        assert out.tolist() == [largest, math.inf, -largest, -math.inf]


@every_form
def test_nan(form: Form) -> None:
    """It stays where the data type has it, and is 0 where there is none."""
    nan = np.array([0x7FF0000000000001, 0x7FFFFFFFFFFFFFFF, 0xFFF8000000000000], np.uint64).view(np.float64)
    with np.errstate(invalid="ignore"):
        out = numbers_of(rounded(nan, form)).astype(np.float64)
    assert (out == 0.0).all() if isinstance(form, FixedPoint) else np.isnan(out).all()


def test_float64_is_not_rounded() -> None:
    """Its bits are those of any mode."""
    x = np.random.default_rng(82).normal(size=1000)
    expected, summary = proximal_step(x, L1Norm(strength=0.1), 1.0)
    out, other = proximal_step(x, L1Norm(strength=0.1), 1.0, rounding=stochastic())
    assert (out.tobytes(), other) == (expected.tobytes(), summary)


@every_form
def test_a_seed_is_a_result_and_another_is_another(form: Form) -> None:
    """Of gradients and steps; a penalty has no result, and is the same."""
    x = rounded(np.random.default_rng(83).normal(size=2000) * 0.2, form)
    for method in (gradient, lambda x, r, **more: proximal_step(x, r, 0.7, **more)):
        outs = [method(x, SquaredL2Norm(strength=0.3), rounding=stochastic(seed))[0] for seed in (1, 2, 1)]
        nearest = method(x, SquaredL2Norm(strength=0.3))[0]
        assert outs[0].tobytes() == outs[2].tobytes() != outs[1].tobytes()
        assert nearest.tobytes() not in {out.tobytes() for out in outs}
    seeded = penalty(x, L1Norm(strength=0.3), rounding=stochastic())
    assert seeded == penalty(x, L1Norm(strength=0.3))


@every_form
@settings(max_examples=4)
@given(data=st.data())
def test_chunks_do_not_change_a_bit(form: Form, data: st.DataObject) -> None:
    """Cut anywhere, with regularizers of every locality: the index in the whole vector decides."""
    whole = whole_call(Method.PROXIMAL_STEP, ("loss_gradients",), form.data_type, stochastic())
    cuts = data.draw(st.lists(st.integers(0, whole.layout.size), min_size=1, max_size=20))
    assert stream(whole.call, whole.operands, cuts).bits() == whole.bits


@every_form
def test_ranges_and_threads_do_not_change_a_bit(form: Form) -> None:
    """An element's bits are those of its index in the whole vector, whoever computes it."""
    size = 3 * BLOCK + 11
    x = rounded(np.random.default_rng(84).normal(size=size) * 0.2, form)
    layout = Layout(form.data_type, (Segment("a", (5,)), Segment("b", (size - 5,), L1Norm(strength=0.01))))
    call = a_call(Method.PROXIMAL_STEP, layout, rounding=stochastic())
    whole = np.empty_like(x)
    summary = run_whole(call, Chunk(0, x), whole, MemoryBudget(PLENTY))
    over = x.copy()
    assert run_whole(call, Chunk(0, over), over, MemoryBudget(PLENTY), threads=3) == summary
    assert over.tobytes() == whole.tobytes()
    begin, end = 5 + BLOCK, 5 + 2 * BLOCK
    part = Call(call.method, layout, (begin, end), call.step_size, rounding=call.rounding)
    out = np.empty(BLOCK, form.data_type)
    run_whole(part, Chunk(begin, x[begin:end]), out, MemoryBudget(PLENTY))
    assert out.tobytes() == whole[begin:end].tobytes()


@every_form
def test_a_clipped_element_is_in_its_box(form: Form) -> None:
    """Bounds are numbers of the data type: what is between them has its neighbours between them."""
    x = rounded(np.random.default_rng(85).normal(size=2000) * 0.4, form)
    g = rounded(np.random.default_rng(86).normal(size=2000) * 0.4, form)
    box = Box(lower=-0.1, upper=1 / 3)
    for seed in range(3):
        out, summary = proximal_step(x, box, 0.3, loss_gradients=g, rounding=stochastic(seed))
        assert summary.total.penalty is not None
        assert summary.total.penalty.value == 0.0
        bounds = np.empty(2, form.data_type)
        round_into(np.array([-0.1, 1 / 3]), bounds)
        assert (out.min(), out.max()) == (bounds[0], bounds[1])


@pytest.mark.parametrize("case", cases_with(indicator=True), ids=lambda case: case.label)
@for_each("form", FLOATING)
def test_what_a_projection_gave_is_inside(case: Case, form: FloatingPoint) -> None:
    """Sets whose border is a sum allow for an element's step to either neighbour."""
    x = (feasible(case, rng(case, 87).normal(size=case.shape)) * 1.5).astype(form.data_type)
    for seed in range(5):
        _, summary = proximal_step(x, case.regularizer, 1.0, rounding=stochastic(seed))
        assert summary.total.penalty is not None
        assert summary.total.penalty.value == 0.0


def test_a_seed_is_required_and_fits_64_bits() -> None:
    """Where rounding is stochastic; where it is to nearest, none is needed and one does no harm."""
    with pytest.raises(errors.FieldMissing) as missing:
        Rounding(RoundingMode.STOCHASTIC)
    assert missing.value.field == "seed"
    for seed in (-1, 1 << 64):
        with pytest.raises(errors.FieldOutOfRange) as caught:
            Rounding(RoundingMode.STOCHASTIC, seed)
        assert caught.value.field == "seed"
    x = np.array([1.0, 2.0], np.float32)
    expected = proximal_step(x, L1Norm(strength=0.3), 1.0)[0]
    seeded = Rounding(RoundingMode.NEAREST_EVEN, 5)
    assert proximal_step(x, L1Norm(strength=0.3), 1.0, rounding=seeded)[0].tobytes() == expected.tobytes()
