"""Shapes of more elements than there is memory for: to look at them takes none."""

from __future__ import annotations

import tracemalloc
from contextlib import suppress
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from regularization_kernels import Groups
from regularization_kernels.engine import Layout, Segment
from regularization_kernels.errors import RegularizationError

from tests.support.cases import CASES, Case
from tests.support.together import for_each

SHAPES = [
    (1 << 62,),
    (1 << 40, 1 << 20),
    (2, 1 << 40),
    (1 << 40, 2),
    (4, 1 << 24, 4),
    (1 << 24, 2, 2, 2),
    (0, 1 << 40),
    (1 << 40, 0),
]
ALLOWED = 1 << 20
"""Bytes that a layout of a few segments may take."""


def regularizers_of(case: Case) -> list[Any]:
    """That of the case, and where it has groups, the same with groups along every axis."""
    regularizer = case.regularizer
    if getattr(regularizer, "groups", None) is None:
        return [regularizer]
    others = [regularizer]
    for groups in [Groups(axis=0), Groups(axis=1), Groups(axis=1, sqrt_size=True), Groups(size=2)]:
        with suppress(RegularizationError):  # some have no use for weights
            others.append(replace(regularizer, groups=groups))
    return others


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.label)
@for_each("shape", SHAPES)
def test_a_layout_takes_no_memory_for_elements(case: Case, shape: tuple[int, ...]) -> None:
    """It is made, or refused, without an array of as many numbers as a shape names."""
    for regularizer in regularizers_of(case):
        for data_type in (np.float32, np.int16):
            tracemalloc.start()
            with suppress(RegularizationError):  # many rows have no such shape
                Layout(np.dtype(data_type), (Segment("w", shape, regularizer),))
            taken = tracemalloc.get_traced_memory()[1]
            tracemalloc.stop()
            assert taken < ALLOWED, (regularizer, data_type)
