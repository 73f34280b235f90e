"""Segments that keep their zeros: where an element is 0, its loss gradient counts for nothing."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import ml_dtypes
import numpy as np
import pytest
from regularization_kernels import Box, L1Norm, Simplex, TopK, TotalVariation
from regularization_kernels.engine import Joint, Layout, Method, Rounding, RoundingMode, Segment
from regularization_kernels.errors import ModifierUnsupported, OperandUnsupported

from tests.support.cases import CASES
from tests.support.engine_streams import (
    AnyArray,
    a_call,
    layout_of,
    operands_of,
    segment_of,
    stream,
)
from tests.support.measuring import in_parts

KEPT = [case for case in CASES if case.regularizer.traits.keeps_zeros]
FORWARD = (Method.GRADIENT, Method.PROXIMAL_STEP)
EVERY_TYPE = [np.float32, np.float64, np.float16, ml_dtypes.bfloat16, np.int8, np.int16, np.int32]
FLOAT32 = np.dtype(np.float32)


def frozen(layout: Layout) -> Layout:
    """The same layout, all of whose segments keep their zeros."""
    segments = tuple(replace(each.specification, keeps_zeros=True) for each in layout.segments)
    return Layout(layout.data_type, segments, tuple(joint.specification for joint in layout.joints))


def masked(operands: dict[str, AnyArray]) -> dict[str, AnyArray]:
    """Operands whose loss gradients are 0 where the parameters are."""
    kept = np.where(operands["parameters"] == 0, 0, operands["loss_gradients"])
    return operands | {"loss_gradients": kept.astype(operands["parameters"].dtype)}


@pytest.mark.parametrize("method", FORWARD)
@pytest.mark.parametrize("data_type", EVERY_TYPE)
@pytest.mark.parametrize("cuts", [(), range(0, 10_000, 37)], ids=["at once", "in chunks"])
def test_loss_gradients_count_for_nothing_where_parameters_are_zero(
    method: Method, data_type: Any, cuts: Any
) -> None:
    """With every such regularizer and with none: bits and figures are those of a gradient that is 0 there."""
    layout = layout_of(KEPT, data_type)
    operands = operands_of(layout, ["loss_gradients"])
    if method is Method.GRADIENT:  # which sets have inside alone
        inside = stream(a_call(Method.PROXIMAL_STEP, layout), operands_of(layout, ()))
        operands["parameters"] = inside.values.astype(data_type)
    kept = stream(a_call(method, frozen(layout)), operands, cuts)
    assert kept.bits() == stream(a_call(method, layout), masked(operands)).bits()
    zeros = operands["parameters"] == 0
    assert not kept.values[zeros].any()
    free = stream(a_call(method, layout), operands)
    assert free.values[zeros].any()


@pytest.mark.parametrize("with_gradients", [False, True])
@pytest.mark.parametrize("at_random", [False, True])
def test_long_segments_keep_theirs(*, with_gradients: bool, at_random: bool) -> None:
    """Those for which loops are compiled, and those that are looked at as a whole; also at random."""
    rows = (L1Norm(strength=0.3), TopK(count=150_000), None)
    layout = Layout(FLOAT32, tuple(Segment(str(row), (300_000,), row) for row in rows))
    operands = operands_of(layout, ["loss_gradients"] if with_gradients else [])
    rounding = Rounding(RoundingMode.STOCHASTIC, 7) if at_random else Rounding()
    of = {"rounding": rounding}
    kept = stream(a_call(Method.PROXIMAL_STEP, frozen(layout), **of), operands)
    expected = masked(operands) if with_gradients else operands
    assert kept.bits() == stream(a_call(Method.PROXIMAL_STEP, layout, **of), expected).bits()
    assert not kept.values[operands["parameters"] == 0].any()


def test_joint_and_measured_segments_keep_theirs() -> None:
    """The statistics are of elements that have not moved from 0, in parts as in one."""
    segments = (Segment("a", (700,), joint="all"), Segment("b", (40, 30), joint="all"))
    layout = Layout(FLOAT32, segments, (Joint("all", TopK(fraction=0.5)),))
    operands = operands_of(layout, ["loss_gradients"])
    kept = stream(a_call(Method.PROXIMAL_STEP, frozen(layout)), operands)
    assert kept.bits() == stream(a_call(Method.PROXIMAL_STEP, layout), masked(operands)).bits()
    call = a_call(Method.PROXIMAL_STEP, frozen(layout))
    parts = in_parts(call, operands, [100, 777, 1500], np.random.default_rng(0))
    np.testing.assert_array_equal(parts.values, kept.values)
    assert parts.summary.total.nonzeros == kept.summary.total.nonzeros


def test_step_sizes_of_elements_change_nothing_about_it() -> None:
    """A forward step of any length leads nowhere from 0."""
    layout = Layout(FLOAT32, (Segment("w", (500,), L1Norm(strength=0.1)),))
    operands = operands_of(layout, ["loss_gradients", "step_scales", "weights"])
    kept = stream(a_call(Method.PROXIMAL_STEP, frozen(layout)), operands)
    assert kept.bits() == stream(a_call(Method.PROXIMAL_STEP, layout), masked(operands)).bits()


def test_neighbours_of_which_one_keeps_its_zeros_are_told_apart() -> None:
    """Short segments alike in all else."""
    row = L1Norm(strength=0.1)
    segments = tuple(Segment(str(i), (8,), row, keeps_zeros=i % 2 == 0) for i in range(6))
    operands: dict[str, AnyArray] = {
        "parameters": np.zeros(48, np.float32),
        "loss_gradients": np.ones(48, np.float32),
    }
    got = stream(a_call(Method.PROXIMAL_STEP, Layout(FLOAT32, segments)), operands)
    assert got.values.reshape(6, 8).any(axis=1).tolist() == [False, True] * 3


@pytest.mark.parametrize(
    ("segment", "joints"),
    [
        (Segment("w", (4,), TotalVariation(strength=1.0)), ()),
        (Segment("w", (4,), L1Norm(strength=1.0), box=Box(lower=0.5)), ()),
        (Segment("w", (4,), box=Box(upper=-0.5)), ()),
        (Segment("w", (4,), Simplex(radius=1.0), smoothing=1.0), ()),
        (Segment("w", (4,), joint="all"), (Joint("all", Simplex(radius=1.0)),)),
    ],
    ids=["lines", "box", "box alone", "smoothed", "joint"],
)
def test_what_moves_zeros_is_refused(segment: Segment, joints: tuple[Joint, ...]) -> None:
    """It could not keep the promise."""
    assert Layout(FLOAT32, (segment,), joints)
    with pytest.raises(ModifierUnsupported, match="only for regularizers that leave zeros at 0") as caught:
        Layout(FLOAT32, (replace(segment, keeps_zeros=True),), joints)
    assert (caught.value.field, caught.value.segment) == ("segments[0].keeps_zeros", "w")


def test_modifiers_that_leave_zeros_are_taken() -> None:
    """A box around 0, and smoothing."""
    modifiers: tuple[dict[str, Any], ...] = ({"box": Box(lower=0.0)}, {"smoothing": 0.5})
    for more in modifiers:
        layout = Layout(FLOAT32, (Segment("w", (500,), L1Norm(strength=0.1), **more),))
        operands = operands_of(layout, ["loss_gradients"])
        kept = stream(a_call(Method.PROXIMAL_STEP, frozen(layout)), operands)
        assert kept.bits() == stream(a_call(Method.PROXIMAL_STEP, layout), masked(operands)).bits()


def test_a_reference_is_refused() -> None:
    """It is what elements are drawn to, and not 0."""
    layout = frozen(Layout(FLOAT32, (segment_of(KEPT[0]),)))
    with pytest.raises(OperandUnsupported, match="a segment whose zeros stay zero"):
        stream(a_call(Method.PROXIMAL_STEP, layout), operands_of(layout, ["reference"]))
