"""Layouts and calls are checked where they are made, with the path of the field at fault."""

from __future__ import annotations

import contextlib
import math
from dataclasses import replace
from itertools import product
from typing import Any

import numpy as np
import pytest
from regularization_kernels import Box, GroupLasso, Groups, L1Norm, NuclearNorm
from regularization_kernels.engine import Call, Layout, MemoryBudget, Method, Run, Segment
from regularization_kernels.errors import (
    DataTypeUnsupported,
    FieldMissing,
    FieldOutOfRange,
    GroupsInvalid,
    LayoutInvalid,
    RegularizationError,
)
from regularization_kernels.regularizers.groups.base import GroupRegularizer

from tests.support.cases import CASES, MAPS, ROWS, Case, Map, Rejected, Row
from tests.support.engine_streams import PLENTY, a_call
from tests.support.together import for_each

FLOAT64 = np.dtype(np.float64)
GOOD = Segment("good", (2,))
LONG = 2**63 - 1
EMPTY_WITH_LONG_AXES = [(0, LONG), (LONG, 0), (LONG, 0, LONG), (0, *(LONG,) * 31), (*(LONG,) * 31, 0)]


@pytest.mark.parametrize("dtype", [np.uint16, np.int64, np.complex128, np.bool_, ">f4", ">i2", np.longdouble])
def test_other_data_types_are_refused(dtype: Any) -> None:
    """Anything but the contract's, in the machine's byte order."""
    with pytest.raises(DataTypeUnsupported) as caught:
        Layout(np.dtype(dtype), ())
    assert caught.value.field == "data_type"


@pytest.mark.parametrize(
    ("bad", "error", "field"),
    [
        (Segment("good", (3,)), LayoutInvalid, "segments[1].name"),
        (Segment("bad", (3, -1)), LayoutInvalid, "segments[1].shape[1]"),
        (Segment("bad", (2**60,)), LayoutInvalid, "segments[1].shape"),
        (Segment("bad", (2**31, 2**31, 2)), LayoutInvalid, "segments[1].shape"),
        (Segment("bad", (2**60 - 1,)), LayoutInvalid, "segments[1].shape"),
        (Segment("bad", (2**62,) * 20_000), LayoutInvalid, "segments[1].shape"),
        (Segment("bad", (1,) * 33), LayoutInvalid, "segments[1].shape"),
        (Segment("é" * 129, (3,)), LayoutInvalid, "segments[1].name"),
        (Segment("bad", (3,), None, -0.5), FieldOutOfRange, "segments[1].step_size"),
        (Segment("bad", (3,), None, math.nan), FieldOutOfRange, "segments[1].step_size"),
        (Segment("bad", (3,), None, math.inf), FieldOutOfRange, "segments[1].step_size"),
        (Segment("bad", (3,), NuclearNorm(strength=1.0)), LayoutInvalid, "segments[1].shape"),
        (
            Segment("bad", (3,), GroupLasso(strength=1.0, groups=Groups(size=2))),
            GroupsInvalid,
            "segments[1].regularizer.group_lasso.groups.size",
        ),
    ],
    ids=lambda value: getattr(value, "name", None),
)
def test_bad_segments_are_refused(bad: Segment, error: type[RegularizationError], field: str) -> None:
    """With the path of the field, and the segment's name."""
    with pytest.raises(error) as caught:
        Layout(FLOAT64, (GOOD, bad))
    assert caught.value.field == field
    assert str(caught.value).startswith(field)
    assert caught.value.segment == bad.name


def test_too_many_segments_are_refused() -> None:
    """Their summary would outgrow a message."""
    with pytest.raises(LayoutInvalid) as caught:
        Layout(FLOAT64, tuple(Segment(str(index), (1,)) for index in range(10_001)))
    assert caught.value.field == "segments"


def test_a_declared_size_allocates_nothing() -> None:
    """Groups of a segment of pebibytes cost nothing before its elements come, weighted or not."""
    groups = Groups(size=1, sqrt_size=True)
    layout = Layout(FLOAT64, (Segment("w", (2**50,), GroupLasso(strength=0.1, groups=groups)),))
    assert layout.size == 2**50


@pytest.mark.parametrize(
    ("row", "bad"), [(row, bad) for row in (*ROWS, *MAPS) for bad in row.rejected if bad.shape is not None]
)
def test_shapes_that_do_not_fit_are_refused_by_the_layout(row: Row | Map, bad: Rejected) -> None:
    """Every rejection of the table that is about a shape, with segment and path."""
    with pytest.raises(bad.error) as caught:
        Layout(FLOAT64, (GOOD, Segment("bad", bad.shape or (), bad.build())))
    path = caught.value.field or ""
    assert path.startswith(("segments[1].shape", f"segments[1].regularizer.{row.name}."))
    assert caught.value.segment == "bad"


def test_a_large_layout_costs_nothing() -> None:
    """Sizes are counted, not allocated; an axis of length 0 makes the product 0 whatever the others are."""
    layout = Layout(
        FLOAT64, (Segment("huge", (2**59,)), Segment("zero", (2**62, 0, 2**62)), Segment("s", ()))
    )
    assert layout.size == 2**59 + 1
    assert layout.starts == (0, 2**59, 2**59, 2**59 + 1)


def test_names_are_any_text() -> None:
    """Also the empty one, once."""
    assert Layout(FLOAT64, (Segment("", (1,)), Segment("größe/0 \n", (1,)))).size == 2


def test_regularizers_are_ready_in_the_layout() -> None:
    """Each segment's regularizer knows the shape it is on, and keeps its parameters."""
    for case in CASES:
        (segment,) = Layout(FLOAT64, (Segment("s", case.shape, case.regularizer),)).segments
        assert segment.regularizer == case.regularizer
        assert segment.locality == case.ready.locality
        assert segment.size == case.size


def test_specifications_are_kept_as_they_were_given() -> None:
    """With box and smoothing: a layout that is made of them again prepares the same."""
    given = (
        Segment("boxed", (3,), L1Norm(strength=0.1), 0.5, Box(lower=-0.1), 0.2),
        Segment("exempt", (2, 0)),
        Segment("groups", (4,), GroupLasso(strength=1.0, groups=Groups(size=2))),
    )
    segments = Layout(np.dtype(np.float32), given).segments
    assert tuple(segment.specification for segment in segments) == given
    again = Layout(np.dtype(np.float32), tuple(segment.specification for segment in segments)).segments
    assert again[0].prepared == segments[0].prepared
    assert again[0].regularizer == segments[0].regularizer != given[0].regularizer
    assert [(segment.start, segment.end) for segment in segments] == [(0, 3), (3, 3), (3, 7)]


@pytest.mark.parametrize("number", [-1.0, -math.inf, math.inf, math.nan])
def test_step_sizes_are_finite_and_not_negative(number: float) -> None:
    """For every method, where one is given."""
    for method in Method:
        with pytest.raises(FieldOutOfRange) as caught:
            Call(method, Layout(FLOAT64, (GOOD,)), step_size=number)
        assert caught.value.field == "step_size"


def test_a_proximal_step_needs_a_step_size() -> None:
    """The call's, unless every segment has its own; 0 is one; the other methods need none."""
    own = Segment("own", (2,), L1Norm(strength=1.0), 0.0)
    Call(Method.PROXIMAL_STEP, Layout(FLOAT64, (own,)))
    Call(Method.PROXIMAL_STEP, Layout(FLOAT64, (own, GOOD)), step_size=0.0)
    Call(Method.PENALTY, Layout(FLOAT64, (GOOD,)))
    Call(Method.GRADIENT, Layout(FLOAT64, (GOOD,)))
    with pytest.raises(FieldMissing) as caught:
        Call(Method.PROXIMAL_STEP, Layout(FLOAT64, (own, GOOD)))
    assert (caught.value.field, caught.value.segment) == ("step_size", "good")


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.label)
@for_each("shape", EMPTY_WITH_LONG_AXES)
def test_axes_of_any_length_around_no_element(case: Case, shape: tuple[int, ...]) -> None:
    """However long the others are, an axis of length 0 leaves nothing to compute, and nothing overflows."""
    regularizers = [case.regularizer]
    if isinstance(case.regularizer, GroupRegularizer):
        weighted = None if case.row.name == "top_k_groups" else True
        every_axis = [Groups(axis=axis, sqrt_size=weighted) for axis in range(len(shape))]
        regularizers += [replace(case.regularizer, groups=groups) for groups in every_axis]
    for regularizer, method in product(regularizers, Method):
        with contextlib.suppress(RegularizationError):
            layout = Layout(FLOAT64, (Segment("w", shape, regularizer),))
            with Run(a_call(method, layout), MemoryBudget(PLENTY)) as run:
                assert run.finish().total.elements == 0
