"""Modifiers in a layout: which are refused, what the sums are, and what the summary says of convexity."""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, ClassVar

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from regularization_kernels import Box, GroupLasso, Groups, L1Norm, NuclearNorm
from regularization_kernels.engine import Call, Chunk, Layout, MemoryBudget, Method, Segment, run_whole
from regularization_kernels.errors import (
    FieldOutOfRange,
    MethodUnsupported,
    ModifierUnsupported,
    OperandUnsupported,
    RegularizationError,
)
from regularization_kernels.regularizer import Description, Locality, Regularizer, Traits
from regularization_kernels.regularizers.elements.base import ElementRegularizer, Formulas
from regularization_kernels.summation import BlockSum, ExactSum

from tests.engine.test_memory import CHUNK, Watched, run_through
from tests.support.cases import CASES
from tests.support.engine_streams import PLENTY, a_call, chunks_of, operands_of, segment_of, stream
from tests.support.oracles import summation as reference

NO_WORDS = Description(title="", penalty="", terms="", gradient="", prox="", parameters={}, source="a test")
every_method = pytest.mark.parametrize("method", list(Method), ids=lambda method: method.value)


def _nobody_asks(x: Any) -> Any:
    raise AssertionError


@dataclass(frozen=True, slots=True)
class Halving(ElementRegularizer):
    """A map, of which there is a step and nothing else: x / 2."""

    name: ClassVar[str] = "halving"
    description: ClassVar[Description] = NO_WORDS
    formulas: ClassVar[Formulas] = Formulas(_nobody_asks, lambda x, step_size: x * 0.5, _nobody_asks)
    traits: ClassVar[Traits] = Traits(map=True)


@dataclass(frozen=True, slots=True)
class Sunken(ElementRegularizer):
    """The penalty −½·x², which is not convex; step sizes are below 1."""

    name: ClassVar[str] = "sunken"
    description: ClassVar[Description] = NO_WORDS
    formulas: ClassVar[Formulas] = Formulas(
        lambda x: x * (-0.5 * x), lambda x, step_size: x / (1.0 - step_size), lambda x: -x
    )
    traits: ClassVar[Traits] = Traits(separable=True, smooth=True)


def one(regularizer: Regularizer | None, size: int = 3, **modifiers: Any) -> Layout:
    """A layout of one segment."""
    return Layout(np.dtype(np.float64), (Segment("w", (size,), regularizer, **modifiers),))


def refused(error: type[RegularizationError], field: str, build: Any) -> None:
    """Check that building fails, by the field's and the segment's name."""
    with pytest.raises(error) as caught:
        build()
    assert (caught.value.field, caught.value.segment) == (field, "w")


def test_a_box_is_refused_where_clipping_is_not_the_step() -> None:
    """By every row that is no convex sum over elements, and taken by every other."""
    box, taken = Box(lower=-1e6, upper=1e6), 0
    for case in CASES:
        traits = case.regularizer.traits
        if traits.convex and traits.separable:
            Layout(np.dtype(np.float64), (segment_of(case, box=box),))
            taken += 1
            continue
        with pytest.raises(ModifierUnsupported) as caught:
            Layout(np.dtype(np.float64), (segment_of(case, box=box),))
        assert (caught.value.field, caught.value.segment) == ("segments[0].box", case.label)
        if case.regularizer.takes_orthant:
            for half in (Box(lower=0.0), Box(upper=0.0)):
                Layout(np.dtype(np.float64), (segment_of(case, box=half),))
            for other in (Box(lower=-1.0), Box(lower=1e-300), Box(lower=0.0, upper=1e300)):
                with pytest.raises(ModifierUnsupported, match="must be lower 0 or upper 0 alone"):
                    Layout(np.dtype(np.float64), (segment_of(case, box=other),))
    assert taken
    refused(ModifierUnsupported, "segments[0].box", lambda: one(Halving(), box=box))
    refused(ModifierUnsupported, "segments[0].box", lambda: one(Sunken(), box=box))


@pytest.mark.parametrize("smoothing", [0.0, -1.0, math.inf, math.nan, 5e-324])
@pytest.mark.parametrize("regularizer", [None, L1Norm(strength=0.1)], ids=["exempt", "l1_norm"])
def test_smoothing_is_positive_and_finite(regularizer: Regularizer | None, smoothing: float) -> None:
    """And so is half its reciprocal, by which squares are multiplied."""
    refused(FieldOutOfRange, "segments[0].smoothing", lambda: one(regularizer, smoothing=smoothing))


def test_only_convex_penalties_have_a_smoothed_step() -> None:
    """The others have penalty and gradient: −½·x² at γ becomes −½·x² / (1 − γ)."""
    layout, x = one(Sunken(), smoothing=0.2), {"parameters": np.array([0.5, -1.0, 2.0])}
    penalty = stream(a_call(Method.PENALTY, layout), x).summary.total.penalty
    assert penalty is not None
    assert penalty.value == pytest.approx(-0.5 * 5.25 / 0.8, rel=1e-14)
    gradient = stream(a_call(Method.GRADIENT, layout), x).values
    np.testing.assert_allclose(gradient, -x["parameters"] / 0.8, rtol=1e-14)
    refused(ModifierUnsupported, "layout.segments[0].smoothing", lambda: a_call(Method.PROXIMAL_STEP, layout))


def test_a_map_has_a_step_alone() -> None:
    """Its penalty in the summary is 0; penalty, gradient and modifiers are refused, and so are operands."""
    layout, x = one(Halving()), {"parameters": np.array([2.0, -4.0, 0.0])}
    for method in (Method.PENALTY, Method.GRADIENT):
        refused(
            MethodUnsupported, "layout.segments[0].regularizer", lambda method=method: a_call(method, layout)
        )
    refused(ModifierUnsupported, "segments[0].smoothing", lambda: one(Halving(), smoothing=1.0))
    call = a_call(Method.PROXIMAL_STEP, layout, step_size=1.0)
    outcome = stream(call, {**x, "loss_gradients": np.array([1.0, 0.0, 1.0])})
    np.testing.assert_array_equal(outcome.values, [0.5, -2.0, -0.5])
    assert outcome.summary.total.penalty == ExactSum(0.0, ())
    for operand in ("reference", "weights", "step_scales"):
        with pytest.raises(OperandUnsupported) as caught:
            stream(call, {**x, operand: np.ones(3)})
        assert caught.value.field == operand


def test_the_summary_says_what_is_convex() -> None:
    """With and without modifiers, exempt or not; of a map it says nothing. Threads do not change it."""
    block = 2**18
    layout = Layout(
        np.dtype(np.float64),
        (
            Segment("exempt", (2 * block,)),
            Segment("l1", (2 * block,), L1Norm(strength=0.1), box=Box(lower=-1.0), smoothing=0.5),
            Segment("sunken", (2,), Sunken()),
            Segment("map", (2,), Halving()),
        ),
    )
    expected = [True, True, False, None]
    call = Call(Method.PROXIMAL_STEP, layout, step_size=0.5)
    x = np.ones(layout.size)
    for threads in (1, 3):
        summary = run_whole(call, Chunk(0, x), np.empty_like(x), MemoryBudget(PLENTY), threads)
        assert [segment.convex for segment in summary.segments] == expected


def modified_layout(dtype: Any, *, smoothing: float | None) -> Layout:
    """Segments of each locality with modifiers, among others without."""
    return Layout(
        np.dtype(dtype),
        (
            Segment("boxed", (300,), L1Norm(strength=0.3), box=Box(lower=-0.2), smoothing=smoothing),
            Segment("bias", (5,), box=Box(upper=0.5)),
            Segment("groups", (120,), GroupLasso(strength=0.5, groups=Groups(size=3)), smoothing=0.4),
            Segment("columns", (6, 7), GroupLasso(strength=0.5, groups=Groups(axis=1)), smoothing=0.4),
            Segment("plain", (9,), L1Norm(strength=0.3)),
            Segment("matrix", (8, 5), NuclearNorm(strength=0.5), 0.1, smoothing=0.4),
            Segment("nothing", (0,), L1Norm(strength=0.3), box=Box(lower=-0.2), smoothing=0.4),
        ),
    )


@every_method
@pytest.mark.parametrize("smoothing", [None, 0.4])
@settings(max_examples=10)
@given(st.data())
def test_chunks_do_not_change_a_bit(method: Method, smoothing: float | None, data: st.DataObject) -> None:
    """Of results and sums, whatever the locality of what is modified."""
    dtype = data.draw(st.sampled_from(["float32", "float64"]))
    layout = modified_layout(dtype, smoothing=smoothing)
    names = () if method is Method.PENALTY else ("loss_gradients",)
    operands = operands_of(layout, (*names, "reference"))
    operands["parameters"] = np.maximum(operands["parameters"], -0.2).astype(dtype)
    operands["parameters"][300:305] = 0.25
    cuts = data.draw(st.lists(st.integers(0, layout.size), min_size=1, max_size=12))
    call = a_call(method, layout)
    assert stream(call, operands, cuts).bits() == stream(call, operands).bits()


def test_cuts_and_ranges_across_blocks_do_not_change_a_bit() -> None:
    """A long smoothed and boxed segment in chunks, and in parts that are put together."""
    size = 2**19 + 777
    layout = Layout(
        np.dtype(np.float32),
        (
            Segment("w", (size,), L1Norm(strength=0.3), box=Box(lower=-0.9), smoothing=0.4),
            Segment("g", (2**18 + 4,), GroupLasso(strength=0.5, groups=Groups(size=4)), smoothing=0.4),
        ),
    )
    operands = operands_of(layout, ("loss_gradients",))
    call = a_call(Method.PROXIMAL_STEP, layout)
    whole = stream(call, operands)
    assert stream(call, operands, [5, 2**18 - 1, 2**18 + 1, 2**19, size + 1]).bits() == whole.bits()
    (chunk,) = chunks_of(operands, [])
    out = np.empty(layout.size, np.float32)
    summary = run_whole(call, chunk, out, MemoryBudget(PLENTY), 3)
    assert (out.tobytes(), summary) == whole.bits()


@pytest.mark.parametrize("name", ["boxed", "groups", "columns", "matrix"])
def test_sums_have_the_bits_of_the_rule(name: str) -> None:
    """Squared distances times 0.5 / γ and the penalty's own terms at the nearer point, all added exactly."""
    layout = modified_layout(np.float64, smoothing=0.4)
    index = [segment.name for segment in layout.segments].index(name)
    segment: Any = layout.segments[index]
    place = slice(*list(pairwise(layout.starts))[index])
    x = operands_of(layout, ())["parameters"]
    smoothed = segment.prepared
    flat = segment.locality is not Locality.SEGMENT
    own = x[place] if flat else x[place].reshape(segment.shape)
    p = np.empty_like(own)
    smoothed.inner.prox(own, 0.4, p)
    kernel = smoothed.inner.inner if name == "boxed" else smoothed.inner
    sums = BlockSum(kernel.scale)
    kernel.add_terms(p, sums)
    squares = [d * d for d in (own - p).ravel().tolist()]
    products = [*reference.lane_products(enumerate(squares), 0.5 / 0.4), *sums.partials()]
    outcome = stream(a_call(Method.PENALTY, layout), {"parameters": x}, [7, 400])
    penalty = outcome.summary.segments[index].figures.penalty
    assert penalty is not None
    assert (penalty.value, penalty.expansion) == reference.exactly(products)


@every_method
@pytest.mark.parametrize(
    ("shape", "regularizer"),
    [((1 << 18,), GroupLasso(strength=0.1, groups=Groups(size=1 << 18))), ((64, 1 << 12), NuclearNorm(0.1))],
    ids=["one-group", "matrix"],
)
def test_what_smoothing_needs_is_accounted_for(
    method: Method, shape: tuple[int, ...], regularizer: Regularizer
) -> None:
    """What is allocated beside the chunks was taken from the budget before."""
    layout = Layout(np.dtype(np.float64), (Segment("w", shape, regularizer, smoothing=0.5),))
    budget = Watched(PLENTY)
    most = run_through(method, layout, budget)
    assert budget.used == 0
    assert most <= budget.most + 12 * CHUNK * 8
