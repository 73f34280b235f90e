"""Numbers at the ends of their types, in every field: an answer or a documented error, and bounded memory."""

from __future__ import annotations

import random
import tracemalloc
from contextlib import suppress
from typing import Any

import numpy as np
import pytest
from regularization.training.v1.augmentation_pb2 import AugmentHeader, Transformation
from regularization.training.v1.early_stopping_pb2 import CheckRequest
from regularization.v1.layout_pb2 import DATA_TYPE_FLOAT32
from regularization_kernels.engine import Chunk, MemoryBudget, Reservation
from regularization_kernels.errors import RegularizationError
from regularization_kernels.training import Augmenting, verdict_of
from regularization_server.contract.augmentation import augmentation_of
from regularization_server.contract.early_stopping import asked_in

from tests.support.hostile_numbers import REALS, Path, holder_of, integers, near_values, reals

BUDGET = 64 << 20
MOST_BYTES = 96 << 20
CHANCE = random.Random(0)  # noqa: S311 - a test's

CHECKS = [*integers(CheckRequest.DESCRIPTOR), *reals(CheckRequest.DESCRIPTOR)]
HEADERS = [*integers(AugmentHeader.DESCRIPTOR), *reals(AugmentHeader.DESCRIPTOR)]


def label(path: Path) -> str:
    """A path's name."""
    return ".".join(field.name for field in path)


def values_for(path: Path) -> list[Any]:
    """What goes in the field at the end of a path."""
    return near_values(path[-1]) if path[-1].cpp_type != path[-1].CPPTYPE_DOUBLE else list(REALS)


def put(message: Any, path: Path, value: Any) -> None:
    """Set the number, or append it where there are many."""
    holder, name = holder_of(message, path, CHANCE), path[-1].name
    if path[-1].is_repeated:
        getattr(holder, name).append(value)
    else:
        setattr(holder, name, value)


@pytest.mark.parametrize("path", CHECKS, ids=label)
def test_early_stopping_answers_or_refuses(path: Path) -> None:
    """Whatever stands in a field."""
    for value in values_for(path):
        request = CheckRequest(history=[1.0, 0.5, 0.5])
        for rule in ("patience", "goal", "median_of_runs"):
            if path[0].name == "rule" and rule != path[1].name:
                continue
            good: Any = getattr(request.rule, rule)
            good.mode = 1
            if rule == "patience":
                good.patience = 1
            if rule == "goal":
                good.target = 0.5
            put(request, path, value)
            with suppress(RegularizationError), Reservation(MemoryBudget(BUDGET)) as held:
                verdict = verdict_of(*asked_in(request.SerializeToString(), held))
                assert verdict.stop is (verdict.stop_index is not None)


GOOD = {
    "noise": {"standard_deviation": 1.0},
    "scaling": {"lower": -1.0, "upper": 1.0},
    "cutout": {"size": 1},
    "shift": {"rows": 1, "columns": 1},
    "mixup": {},
    "cutmix": {},
}


@pytest.mark.parametrize("path", HEADERS, ids=label)
def test_augmentation_answers_or_refuses(path: Path) -> None:
    """Whatever stands in a field, and without more memory than the budget has."""
    tracemalloc.start()
    try:
        for value in values_for(path):
            header = AugmentHeader(data_type=DATA_TYPE_FLOAT32, sample_shape=[2, 3], samples=4, seed=1)
            if path[0].name == "transformations":
                kind = path[1].name
                made: Any = Transformation()
                getattr(made, kind).SetInParent()
                for name, number in GOOD[kind].items():
                    setattr(getattr(made, kind), name, number)
                header.transformations.append(made)
            put(header, path, value)
            with suppress(RegularizationError):
                augmentation = augmentation_of(memoryview(header.SerializeToString()))
                with Augmenting(augmentation, MemoryBudget(BUDGET)) as augmenting:
                    first = augmentation.begin * augmentation.sample_size
                    augmenting.feed(Chunk(first, np.ones(6, augmentation.data_type)))
        assert tracemalloc.get_traced_memory()[1] < MOST_BYTES
    finally:
        tracemalloc.stop()
