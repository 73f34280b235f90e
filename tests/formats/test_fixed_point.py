"""Q7, Q15 and Q31: integers that stand for numbers, computed with in float64, rounded once, saturated."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from regularization_kernels import (
    Box,
    L1Norm,
    NuclearNorm,
    SquaredL2Norm,
    errors,
    gradient,
    penalty,
    proximal_step,
)
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
from regularization_kernels.formats import (
    are_finite,
    contract_name,
    limits,
    next_inwards,
    numbers_of,
    round_into,
    rounded,
    slack,
)

from tests.support.cases import CASES, Case
from tests.support.engine_streams import PLENTY, stream, whole_call
from tests.support.inputs import cases_of_elements, cases_with, feasible, rng, rounded_to_nearest
from tests.support.oracles.number_formats import FIXED, Q7, Q15, Q31, FixedPoint
from tests.support.together import for_each

Wide = NDArray[np.float64]

every_form = pytest.mark.parametrize("form", FIXED, ids=str)
each_form = for_each("form", FIXED)
every_case = pytest.mark.parametrize("case", CASES, ids=lambda case: case.label)
STOCHASTIC = Rounding(RoundingMode.STOCHASTIC, 3)


def given_vector(case: Case, form: FixedPoint, salt: int) -> NDArray[Any]:
    """Numbers of a format, some of them zero, where the case's method is defined if that is in its range."""
    x = rng(case, salt).normal(size=case.shape) * 0.3
    x[rng(case, salt + 1).random(case.shape) < 0.2] = 0.0
    return form.elements(feasible(case, form.numbers(form.elements(feasible(case, x)))))


def kernel_shape(case: Case, x: Wide) -> Wide:
    """The array as the kernel takes it."""
    whole = case.ready.locality.name == "SEGMENT"
    return np.ascontiguousarray(x.reshape(case.shape if whole else -1))


def exactly(case: Case, form: FixedPoint, method: str, x: Wide, *arguments: Any) -> Wide | None:
    """The kernel's float64 answer to the numbers; None where there is none."""
    wide = kernel_shape(case, x)
    out = np.empty_like(wide)
    try:
        getattr(case.regularizer.on(case.shape, form.data_type), method)(wide, *arguments, out)
    except errors.RegularizationError:
        return None
    return out.reshape(-1)


@pytest.mark.parametrize("case", rounded_to_nearest(), ids=lambda case: case.label)
@for_each("form", [Q7, Q15])
def test_a_step_is_the_float64_step_rounded_once(case: Case, form: FixedPoint) -> None:
    """For every such row: the kernel's answer to the numbers, rounded and saturated by this test."""
    x = given_vector(case, form, 60)
    exact = exactly(case, form, "prox", form.numbers(x), 0.37)
    assert exact is not None
    out, _ = proximal_step(x, case.regularizer, 0.37)
    assert (out.dtype, out.shape) == (form.data_type, case.shape)
    assert out.reshape(-1).tolist() == form.nearest(exact)


@pytest.mark.parametrize("case", [c for c in CASES if not c.regularizer.traits.map], ids=lambda c: c.label)
def test_a_gradient_is_the_float64_gradient_rounded_once(case: Case) -> None:
    """Likewise, a loss gradient being added before; off an indicator's set there is none."""
    x, g = given_vector(case, Q15, 61), Q15.elements(rng(case, 62).normal(size=case.shape) * 0.3)
    exact = exactly(case, Q15, "gradient", Q15.numbers(x))
    if exact is None:
        with pytest.raises(errors.GradientUndefined):
            gradient(x, case.regularizer)
        return
    assert gradient(x, case.regularizer)[0].reshape(-1).tolist() == Q15.nearest(exact)
    out, _ = gradient(x, case.regularizer, loss_gradients=g)
    assert out.reshape(-1).tolist() == Q15.nearest(exact + Q15.numbers(g).reshape(-1))


@pytest.mark.parametrize("case", cases_of_elements(), ids=lambda case: case.label)
@each_form
def test_operands_are_numbers_too(case: Case, form: FixedPoint) -> None:
    """Forward step, scales of the step and weights: in float64, with no rounding in between."""
    traits = case.regularizer.traits
    taken = {
        "loss_gradients": True,
        "weights": traits.takes_weights,
        "step_scales": case.regularizer.takes_step_scales,
    }
    random = rng(case, 63)
    operands: dict[str, Any] = {
        name: form.elements(np.abs(random.normal(size=case.shape)) * 0.5)
        for name, yes in taken.items()
        if yes
    }
    wide = {name: form.numbers(array).reshape(-1) for name, array in operands.items()}
    x = given_vector(case, form, 64)
    step = 0.3 * wide.get("step_scales", np.ones(x.size))
    v = form.numbers(x).reshape(-1) - step * wide["loss_gradients"]
    step = step * wide.get("weights", 1.0)
    each_its_own = taken["weights"] or taken["step_scales"]
    exact = exactly(case, form, "prox", v, step if each_its_own else 0.3)
    assert exact is not None
    out, _ = proximal_step(x, case.regularizer, 0.3, **operands)
    assert out.reshape(-1).tolist() == form.nearest(exact)


@every_form
def test_what_is_penalized_is_x_less_the_reference(form: FixedPoint) -> None:
    """Also where the difference is not in the data type's range, such as 0.9 - (-0.9)."""
    x, r = form.elements([0.9, -0.5, 0.25]), form.elements([-0.9, 0.5, 0.25])
    difference = form.numbers(x) - form.numbers(r)
    total = penalty(x, L1Norm(strength=2.0), reference=r).total.penalty
    assert total is not None
    assert total.value == pytest.approx(2.0 * np.abs(difference).sum(), rel=1e-15)
    out, _ = proximal_step(x, L1Norm(strength=0.1), 1.0, reference=r)
    exact = np.sign(difference) * np.maximum(np.abs(difference) - 0.1, 0.0) + form.numbers(r)
    assert np.abs(form.numbers(out) - exact).max() <= 2.0 ** -(form.bits + 1)


def test_the_penalty_of_small_weights_is_not_rounded_to_the_data_type() -> None:
    """Strength 0.001 of half the squared norm of (.01, .02, .05, .08): 4.7e-6, which in Q15 would be 0."""
    weights = Q15.elements([0.01, 0.02, 0.05, 0.08])
    squares = sum(Fraction(int(each), 1 << 15) ** 2 for each in weights)
    total = penalty(weights, SquaredL2Norm(strength=0.001)).total.penalty
    assert total is not None
    assert total.value == pytest.approx(float(Fraction(1, 2000) * squares), rel=1e-15)
    assert total.value == pytest.approx(4.7e-6, rel=1e-3)
    assert Q15.nearest(np.array([total.value])) == [0]


@every_case
def test_figures_are_those_of_the_same_numbers_in_float64(case: Case) -> None:
    """Penalty, nonzeros and squared distance are over what was returned, and wide."""
    x = given_vector(case, Q15, 65)
    out, summary = proximal_step(x, case.regularizer, 0.37)
    old, new = Q15.numbers(x), Q15.numbers(out)
    traits = case.regularizer.traits
    if not (traits.indicator or traits.map):
        assert summary.total.penalty == penalty(new, case.regularizer).total.penalty
    assert summary.total.nonzeros == np.count_nonzero(new)
    assert summary.total.squared_distance is not None
    exact = sum(Fraction(float(each)) ** 2 for each in (new - old).flat)
    assert summary.total.squared_distance.value == pytest.approx(float(exact), rel=1e-14)


@pytest.mark.parametrize("case", cases_with(indicator=True), ids=lambda case: case.label)
@each_form
@for_each("rounding", [Rounding(), STOCHASTIC])
def test_what_a_projection_gave_is_inside(case: Case, form: FixedPoint, rounding: Rounding) -> None:
    """Its penalty is 0 as rounded, wherever the set's nearest point is in the data type's range."""
    x = given_vector(case, form, 66)
    exact = exactly(case, form, "prox", form.numbers(x), 1.0)
    assert exact is not None
    _, summary = proximal_step(x, case.regularizer, 1.0, rounding=rounding)
    assert summary.total.penalty is not None
    if np.abs(exact).max(initial=0.0) <= 1.0 - 2.0**-form.bits:
        assert summary.total.penalty.value == 0.0


@every_form
def test_beyond_the_range_is_its_end(form: FixedPoint) -> None:
    """It saturates and never wraps: by a unit, by a thousand, by all that float64 has."""
    low, high = form.ends
    x = np.array([low, high, high, low, 1, -1, 0], form.data_type)
    for strength in (1.5, 1e3, 1e30, 1e308):
        expected = [low, high, high, low, *form.nearest(np.array([1, -1]) * strength * 2.0**-form.bits), 0]
        assert gradient(x, SquaredL2Norm(strength=strength))[0].tolist() == expected
        out, _ = proximal_step(-(x // 2), None, strength, loss_gradients=x)
        exact = form.numbers(-(x // 2)) - strength * form.numbers(x)
        assert out.tolist() == form.nearest(exact)
    out, _ = gradient(x, None, loss_gradients=x)
    assert out.tolist() == x.tolist()


@every_form
def test_rounding_of_every_kind_of_number(form: FixedPoint) -> None:
    """Ties to even, both ends and just beside them, huge numbers, infinities; NaN is 0."""
    low, high = form.ends
    ties = np.array([0.5, 1.5, 2.5, -0.5, -1.5, high - 0.5, low + 0.5, low - 0.5, high + 0.5])
    beside = np.concatenate([np.nextafter(ties, np.inf), np.nextafter(ties, -np.inf)])
    ends = np.array([low, high, low - 1, high + 1, -0.0, 5e-324, 1e-300], np.float64)
    exact = np.concatenate([ties, beside, ends]) * 2.0**-form.bits
    exact = np.concatenate([exact, [1e300, -1e300, np.inf, -np.inf]])
    before, out = exact.copy(), np.empty(exact.size, form.data_type)
    round_into(exact, out)
    assert out.tolist() == form.nearest(exact)
    assert exact.tobytes() == before.tobytes()
    round_into(np.full(3, np.nan), out[:3])
    assert out[:3].tolist() == [0, 0, 0]


@every_form
def test_every_integer_of_8_bits_and_many_of_more_come_back(form: FixedPoint) -> None:
    """As the number that they stand for, exactly, and to the same integer."""
    low, high = form.ends
    integers = np.unique(np.linspace(low, high, 70_001).round()).astype(form.data_type)
    numbers, out = numbers_of(integers), np.empty_like(integers)
    assert numbers.tolist() == [int(each) / (1 << form.bits) for each in integers]
    round_into(numbers, out)
    assert out.tobytes() == integers.tobytes()
    identity, _ = proximal_step(integers, L1Norm(strength=0.0), 1.0)
    assert identity.tobytes() == integers.tobytes()


@every_form
def test_what_the_format_can_hold(form: FixedPoint) -> None:
    """Its ends, its one distance of neighbours, and what a sum may be off by."""
    step, data_type = 2.0**-form.bits, form.data_type
    about = limits(data_type)
    assert (about.min, about.max, about.spacing, about.smallest_subnormal) == (-1.0, 1.0 - step, step, step)
    assert contract_name(data_type) == str(form)
    assert slack(data_type, 10, 0.7) == pytest.approx(2 * 2.0**-52 * 0.7)
    assert [rounded(number, data_type) for number in (1.0, -1e300, step * 0.6)] == [1.0 - step, -1.0, step]
    ends = np.array([*form.ends, 0], data_type)
    up, down = np.full(3, True), np.full(3, False)
    assert next_inwards(ends, up).tolist() == [form.ends[0] + 1, form.ends[1], 1]
    assert next_inwards(ends, down).tolist() == [form.ends[0], form.ends[1] - 1, -1]
    # Patterns that are NaN or infinite in float16 and bfloat16 are numbers here.
    assert are_finite(np.arange(-128, 127).astype(data_type), np.empty(255, np.bool_)).all()
    assert are_finite(np.array(form.ends, data_type), np.empty(2, np.bool_)).all()


@every_form
def test_bounds_are_rounded_to_the_format(form: FixedPoint) -> None:
    """A bound of 1 is the largest number, 1 - 2^-bits; a bound beyond the range is its end."""
    x = form.elements(np.linspace(-1.0, 1.0, 101))
    for bound in (1.0, 1e300):
        out, summary = proximal_step(x, Box(lower=1 / 3, upper=bound), 1.0)
        assert (out.min(), out.max()) == (form.nearest(np.array([1 / 3]))[0], form.ends[1])
        assert summary.total.penalty is not None
        assert summary.total.penalty.value == 0.0
        assert not gradient(out, Box(lower=1 / 3, upper=bound))[0].any()


@every_form
def test_adding_the_reference_back_does_not_leave_the_set(form: FixedPoint) -> None:
    """Where the data type has such a number."""
    random = np.random.default_rng(67)
    x, r = (form.elements(random.uniform(-0.5, 0.5, size=500)) for _ in range(2))
    box = Box(lower=-0.3, upper=0.2)
    for rounding in (Rounding(), STOCHASTIC):
        out, summary = proximal_step(x, box, 1.0, reference=r, rounding=rounding)
        assert summary.total.penalty is not None
        assert summary.total.penalty.value == 0.0
        gradient(out, box, reference=r)


def test_rank_is_told_from_rounding_errors() -> None:
    """A rounded matrix of rank one has a gradient of the nuclear norm of about rank one, small or not."""
    for size in (0.5, 0.01):
        x = Q15.elements(size * np.outer(np.linspace(0.2, 1.0, 12), np.linspace(1.0, -1.0, 9)))
        out, _ = gradient(x, NuclearNorm(strength=0.5))
        values = np.linalg.svd(Q15.numbers(out), compute_uv=False)
        assert values[0] == pytest.approx(0.5, abs=1e-3)
        assert values[1] < 1e-3


@every_form
@pytest.mark.parametrize("operand", ["weights", "step_scales"])
def test_negative_operands_are_refused_as_numbers(form: FixedPoint, operand: str) -> None:
    """The message has the number, not the integer."""
    x = form.elements([0.5, 0.5, 0.5])
    wrong = {operand: form.elements([0.5, -0.25, 0.5])}
    with pytest.raises(errors.OperandOutOfRange, match=r"got -0\.25 at element 1"):
        proximal_step(x, L1Norm(strength=1.0), 1.0, **wrong)


@pytest.mark.parametrize("form", [Q7, Q15], ids=str)
@pytest.mark.parametrize("rounding", [Rounding(), STOCHASTIC], ids=lambda r: r.mode.value)
@pytest.mark.parametrize("names", [("loss_gradients", "reference"), ("reference", "weights", "step_scales")])
@settings(max_examples=4)
@given(data=st.data())
def test_chunks_do_not_change_a_bit(
    form: FixedPoint, rounding: Rounding, names: tuple[str, ...], data: st.DataObject
) -> None:
    """Cut anywhere, results and summary are those of one chunk."""
    whole = whole_call(Method.PROXIMAL_STEP, names, form.data_type, rounding)
    cuts = data.draw(st.lists(st.integers(0, whole.layout.size), min_size=1, max_size=20))
    assert stream(whole.call, whole.operands, cuts).bits() == whole.bits


@every_form
def test_threads_and_places_do_not_change_a_bit(form: FixedPoint) -> None:
    """Over several blocks, over the input or an operand itself, and askew in memory."""
    random = np.random.default_rng(68)
    size = 2 * (1 << 18) + 9
    layout = Layout(form.data_type, (Segment("w", (size,), L1Norm(strength=0.1)),))
    low, high = form.ends
    x, g = (random.integers(low, high, size, endpoint=True).astype(form.data_type) for _ in range(2))
    call = Call(Method.PROXIMAL_STEP, layout, step_size=0.5)
    expected = np.empty_like(x)
    summary = run_whole(call, Chunk(0, x, g), expected, MemoryBudget(PLENTY))
    for place in ("parameters", "loss_gradients"):
        arrays = {"parameters": x.copy(), "loss_gradients": g.copy()}
        assert run_whole(call, Chunk(0, **arrays), arrays[place], MemoryBudget(PLENTY), 3) == summary
        assert arrays[place].tobytes() == expected.tobytes()
    askew = [np.frombuffer(b"\0" + array.tobytes(), np.uint8)[1:].view(form.data_type) for array in (x, g)]
    out = np.empty_like(x)
    assert run_whole(call, Chunk(0, *askew), out, MemoryBudget(PLENTY)) == summary
    assert out.tobytes() == expected.tobytes()


def test_q31_keeps_more_than_float32_could() -> None:
    """All of its 31 bits: a step by nothing changes none, and one of 2^-31 is seen."""
    x = np.array([(1 << 31) - 1, -(1 << 31), (1 << 30) + 1, 1], np.int32)
    out, summary = proximal_step(x, L1Norm(strength=2.0**-31), 1.0)
    assert out.tolist() == [(1 << 31) - 2, 1 - (1 << 31), 1 << 30, 0]
    assert summary.total.nonzeros == 3
    assert Q31.numbers(x).tolist() == numbers_of(x).tolist()
