"""float16 and bfloat16: the float64 result, rounded once to nearest-even; else the same rules as ever."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from regularization_kernels import Box, L1Norm, SquaredL2Norm, errors, gradient, penalty, proximal_step
from regularization_kernels.engine import Method
from regularization_kernels.formats import are_finite, limits, round_into, rounded

from tests.support.cases import CASES, Case
from tests.support.engine_streams import stream, whole_call
from tests.support.inputs import cases_of_elements, feasible, rng, rounded_to_nearest
from tests.support.oracles import summation as reference
from tests.support.together import for_each

Wide = NDArray[np.float64]


@dataclass(frozen=True)
class Format:
    """A 16-bit format by its definition: sign, exponent, mantissa."""

    data_type: np.dtype[Any]
    mantissa_bits: int

    def __str__(self) -> str:
        return self.data_type.name

    @cached_property
    def numbers(self) -> Wide:
        """What the bit patterns from 0 up to infinity stand for, in order."""
        ones = (1 << self.mantissa_bits) - 1
        exponent_bits = 15 - self.mantissa_bits
        bias = (1 << (exponent_bits - 1)) - 1
        patterns = np.arange(((1 << exponent_bits) - 1) << self.mantissa_bits)
        exponents, mantissas = patterns >> self.mantissa_bits, patterns & ones
        normal = np.ldexp(1.0 + np.ldexp(mantissas.astype(float), -self.mantissa_bits), exponents - bias)
        subnormal = np.ldexp(mantissas.astype(float), 1 - bias - self.mantissa_bits)
        return np.append(np.where(exponents == 0, subnormal, normal), np.inf)

    @cached_property
    def middles(self) -> Wide:
        """Between each finite number and the next; behind the largest, where infinity begins."""
        finite = self.numbers[:-1]
        return np.asarray(finite + np.append(np.diff(finite), finite[-1] - finite[-2]) / 2)

    def nearest(self, exact: Wide) -> NDArray[np.uint16]:
        """The bit patterns of the nearest numbers, ties to even; past the last step's middle, of infinity."""
        middles, size = self.middles, np.abs(exact)
        below = np.searchsorted(middles, size, side="left")
        tie = (below < middles.size) & (size == middles[np.minimum(below, middles.size - 1)])
        # A tie is put below its middle; where that is odd, the even one is the next.
        patterns = below + (tie & (below % 2 == 1))
        signs = np.where(np.signbit(exact), 0x8000, 0)
        return np.asarray(patterns | signs, np.uint16)


FORMATS = (Format(np.dtype(np.float16), 10), Format(np.dtype(ml_dtypes.bfloat16), 7))
every_format = pytest.mark.parametrize("form", FORMATS, ids=str)
each_format = for_each("form", FORMATS)
every_case = pytest.mark.parametrize("case", CASES, ids=lambda case: case.label)


def bits(array: NDArray[Any]) -> list[int]:
    """The elements' bit patterns, of NaN and of both zeros too."""
    return array.reshape(-1).view(np.uint16).tolist()


def given_vector(case: Case, form: Format, salt: int) -> NDArray[Any]:
    """Numbers of a format, some of them zero, on which the case's method is defined."""
    random = rng(case, salt)
    x = random.normal(size=case.shape) * 10.0 ** random.uniform(-3, 1, size=case.shape)
    x[random.random(case.shape) < 0.2] = 0.0
    if case.regularizer.traits.indicator:
        return proximal_step(x.astype(form.data_type), case.regularizer, 1.0)[0]
    return feasible(case, feasible(case, x).astype(form.data_type).astype(np.float64)).astype(form.data_type)


def ready(case: Case, form: Format) -> Any:
    """The regularizer for the case's shape in a format."""
    return case.regularizer.on(case.shape, form.data_type)


def kernel_shape(case: Case, x: NDArray[Any]) -> Wide:
    """The array as the kernel takes it."""
    whole = case.ready.locality.name == "SEGMENT"
    return np.ascontiguousarray(x.astype(np.float64).reshape(case.shape if whole else -1))


@pytest.mark.parametrize("case", rounded_to_nearest(), ids=lambda case: case.label)
@each_format
@for_each("step_size", [0.01, 0.37, 7.0])
def test_a_step_is_the_float64_step_rounded_once(case: Case, form: Format, step_size: float) -> None:
    """For every such row, by the kernel's own float64 answer and this test's own rounding."""
    x = given_vector(case, form, 40)
    wide = kernel_shape(case, x)
    exact = np.empty_like(wide)
    ready(case, form).prox(wide, step_size, exact)
    out, _ = proximal_step(x, case.regularizer, step_size)
    assert (out.dtype, out.shape) == (form.data_type, case.shape)
    assert bits(out) == form.nearest(exact.reshape(-1)).tolist()


@every_case
@each_format
def test_a_gradient_is_the_float64_gradient_rounded_once(case: Case, form: Format) -> None:
    """Likewise, and with a loss gradient it is added before the rounding."""
    x = given_vector(case, form, 41)
    wide = kernel_shape(case, x)
    exact = np.empty_like(wide)
    ready(case, form).gradient(wide, exact)
    assert bits(gradient(x, case.regularizer)[0]) == form.nearest(exact.reshape(-1)).tolist()
    g = rng(case, 42).normal(size=case.shape).astype(form.data_type)
    out, _ = gradient(x, case.regularizer, loss_gradients=g)
    assert bits(out) == form.nearest(exact.reshape(-1) + g.reshape(-1).astype(np.float64)).tolist()


@pytest.mark.parametrize("case", cases_of_elements(), ids=lambda case: case.label)
@each_format
def test_operands_are_computed_with_in_float64(case: Case, form: Format) -> None:
    """Forward step, scales of the step and weights: no rounding in between."""
    names = [
        name
        for name, taken in (
            ("loss_gradients", True),
            ("weights", case.regularizer.traits.takes_weights),
            ("step_scales", case.regularizer.takes_step_scales),
        )
        if taken
    ]
    random = rng(case, 43)
    operands: dict[str, Any] = {
        name: np.abs(random.normal(size=case.shape)).astype(form.data_type) for name in names
    }
    wide = {name: array.reshape(-1).astype(np.float64) for name, array in operands.items()}
    x = given_vector(case, form, 44)
    step = 0.3 * wide["step_scales"] if "step_scales" in wide else 0.3
    v = x.reshape(-1).astype(np.float64) - step * wide["loss_gradients"]
    if "weights" in wide:
        step = step * wide["weights"]
    exact = np.empty_like(v)
    ready(case, form).prox(v, step, exact)
    out, _ = proximal_step(x, case.regularizer, 0.3, **operands)
    assert bits(out) == form.nearest(exact).tolist()


@every_case
@each_format
def test_figures_are_those_of_the_same_numbers_in_float64(case: Case, form: Format) -> None:
    """The rule of sums does not know the format: the sums are over what was returned, exactly."""
    x = given_vector(case, form, 45)
    out, summary = proximal_step(x, case.regularizer, 0.37)
    old, new = (each.reshape(-1).astype(np.float64) for each in (x, out))
    if not case.regularizer.traits.indicator:
        total = penalty(new.reshape(case.shape), case.regularizer).total
        assert summary.total.penalty == total.penalty
    else:
        assert summary.total.penalty is not None
        assert summary.total.penalty.value == 0.0
    assert summary.total.nonzeros == np.count_nonzero(new)
    lanes = reference.lane_products(enumerate(((new - old) * (new - old)).tolist()), 1.0)
    distance = summary.total.squared_distance
    assert distance is not None
    assert (distance.value, distance.expansion) == reference.exactly(lanes)


@every_format
@pytest.mark.parametrize(
    ("method", "names"),
    [
        (Method.PENALTY, ("reference", "weights")),
        (Method.PROXIMAL_STEP, ("loss_gradients", "reference")),
        (Method.PROXIMAL_STEP, ("loss_gradients", "reference", "weights", "step_scales")),
    ],
)
@settings(max_examples=4)
@given(data=st.data())
def test_chunks_do_not_change_a_bit(
    form: Format, method: Method, names: tuple[str, ...], data: st.DataObject
) -> None:
    """Cut anywhere, results and summary are those of one chunk."""
    whole = whole_call(method, names, form.data_type)
    cuts = data.draw(st.lists(st.integers(0, whole.layout.size), min_size=1, max_size=20))
    assert stream(whole.call, whole.operands, cuts).bits() == whole.bits


@every_format
@pytest.mark.parametrize("threads", [2, 3])
def test_threads_do_not_change_a_bit(form: Format, threads: int) -> None:
    """Over several blocks, and over the input itself."""
    x = np.random.default_rng(46).normal(size=(1 << 18) * 2 + 9).astype(form.data_type)
    expected, summary = proximal_step(x, L1Norm(strength=0.3), 1.0)
    over = x.copy()
    out, other = proximal_step(over, L1Norm(strength=0.3), 1.0, out=over, threads=threads)
    assert out is over
    assert out.tobytes() == expected.tobytes()
    assert other == summary


@every_format
def test_every_number_and_every_middle_rounds_as_it_should(form: Format) -> None:
    """All numbers of the format, all middles between neighbours, and the float64 just beside these."""
    finite = form.numbers[:-1]
    middles = finite + np.append(np.diff(finite), finite[-1] - finite[-2]) / 2
    beside = [np.nextafter(middles, 0.0), middles, np.nextafter(middles, np.inf)]
    near = [middles * (1 - 2.0**-25), middles * (1 + 2.0**-25), middles * (1 + 2.0**-40)]
    exact = np.concatenate([finite, *beside, *near, [np.inf, 1e300, 5e-324]])
    for values in (exact, -exact):
        before = values.copy()
        out = np.empty(values.size, form.data_type)
        with np.errstate(over="ignore"):
            round_into(values, out)
        np.testing.assert_array_equal(out.view(np.uint16), form.nearest(values))
        assert values.tobytes() == before.tobytes()
    out = np.empty(2, form.data_type)
    nan = np.array([0x7FF0000000000001, 0xFFF8000000000000], np.uint64).view(np.float64)
    with np.errstate(invalid="ignore"):
        round_into(nan, out)
    assert np.isnan(out.astype(np.float64)).all()


@every_format
def test_every_bit_pattern_is_finite_or_not(form: Format) -> None:
    """All 65,536 of them: those below the pattern of infinity are, whatever their sign."""
    patterns = np.arange(1 << 16).astype(np.uint16)
    finite = are_finite(patterns.view(form.data_type), np.empty(1 << 16, np.bool_))
    np.testing.assert_array_equal(finite, (patterns & 0x7FFF) < form.numbers.size - 1)


@every_format
def test_beyond_the_largest_number_is_infinity(form: Format) -> None:
    """As IEEE 754 says; half a unit below that middle it is the largest number."""
    largest = float(form.numbers[-2])
    assert float(limits(form.data_type).max) == largest
    x = np.array([largest, -largest, largest], form.data_type)
    out, _ = gradient(x, SquaredL2Norm(strength=2.0))
    assert out.astype(np.float64).tolist() == [np.inf, -np.inf, np.inf]
    just_below = SquaredL2Norm(strength=float(np.nextafter(1 + 2.0 ** -(form.mantissa_bits + 2), 0.0)))
    out, _ = gradient(x, just_below)
    assert out.astype(np.float64).tolist() == [largest, -largest, largest]


@every_format
def test_bounds_are_rounded_to_the_format(form: Format) -> None:
    """So a clipped element is inside, and a bound beyond the largest number is that."""
    x = np.linspace(-3, 3, 101).astype(form.data_type)
    out, summary = proximal_step(x, Box(lower=-0.1, upper=1 / 3), 1.0)
    ends = form.nearest(np.array([-0.1, 1 / 3]))
    assert [bits(out)[0], bits(out)[-1]] == ends.tolist()
    assert summary.total.penalty is not None
    assert summary.total.penalty.value == 0.0
    assert gradient(out, Box(lower=-0.1, upper=1 / 3))[0].astype(float).max() == 0.0
    assert rounded(1e300, form.data_type) == float(form.numbers[-2])
    assert proximal_step(x, Box(upper=1e300), 1.0)[0].tobytes() == x.tobytes()


@every_format
def test_adding_the_reference_back_does_not_leave_the_set(form: Format) -> None:
    """An element that rounding put outside moves in by one unit of its format."""
    random = np.random.default_rng(47)
    x, r = (random.normal(size=500).astype(form.data_type) for _ in range(2))
    box = Box(lower=-0.3, upper=0.2)
    out, summary = proximal_step(x, box, 1.0, reference=r)
    assert summary.total.penalty is not None
    assert summary.total.penalty.value == 0.0
    gradient(out, box, reference=r)


@every_format
@pytest.mark.parametrize("wrong", [np.nan, np.inf])
def test_what_is_not_finite_is_refused(form: Format, wrong: float) -> None:
    """The first such element is named."""
    x = np.array([1.0, 2.0, wrong, np.nan], form.data_type)
    with pytest.raises(errors.ValueNotFinite, match=f"got {wrong} at element 2"):
        penalty(x, L1Norm(strength=1.0))
    with pytest.raises(errors.OperandOutOfRange):
        penalty(np.abs(x[:2]), L1Norm(strength=1.0), weights=-x[:2])
