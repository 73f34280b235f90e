"""Memory that another process writes to while it is computed on: results are anything, but calls end."""

from __future__ import annotations

import contextlib
import mmap
import os
from contextlib import contextmanager
from itertools import cycle, islice, product
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from regularization_kernels import (
    Box,
    Groups,
    Isotonic,
    L1Ball,
    L1Norm,
    L2Ball,
    MaxNorm,
    NOfM,
    Simplex,
    Slope,
    TopK,
    TotalVariation,
    TrendFilter,
    compilation,
    proximal_step,
)
from regularization_kernels.engine import Call, Chunk, Layout, MemoryBudget, Method, Segment, run_whole
from regularization_kernels.errors import RegularizationError
from regularization_kernels.regularizers.vectors.slope import Oscar

from tests.support.cases import CASES, MAPS
from tests.support.engine_streams import PLENTY
from tests.support.volatile_memory import writing_to

if TYPE_CHECKING:
    from collections.abc import Iterator

CALLS = 10_000
OPERANDS = ("loss_gradients", "reference", "weights", "step_scales")
METHODS = (Method.PROXIMAL_STEP, Method.PENALTY, Method.PROXIMAL_STEP, Method.GRADIENT)

INSTANCES = [(case.regularizer, case.shape) for case in CASES] + [
    instance for row in MAPS for instance in row.instances.values()
]
SMALL = 8 * max(int(np.prod(shape)) for _, shape in INSTANCES)

LONG = 1 << 17
LONG_INSTANCES = [
    (L1Norm(strength=0.3), (LONG,)),
    (MaxNorm(radius=0.3, groups=Groups(size=8)), (LONG,)),
    (NOfM(n=2, m=4), (LONG,)),
    (L1Ball(radius=3.0), (LONG,)),
    (L2Ball(radius=3.0), (LONG,)),
    (Simplex(radius=3.0), (LONG,)),
    (TopK(count=1000), (LONG,)),
    (Isotonic(), (3, 2000)),
    (Slope(oscar=Oscar(l1_strength=0.1, pairwise_strength=1e-5)), (3, 2000)),
    (TotalVariation(strength=0.3), (3, 2000)),
    (TrendFilter(strength=0.3, order=1), (3, 500)),
]


class Changing:
    """Memory for a call's elements, by their names, to which another process may write.

    Args:
        room: Bytes of each operand and of the result.
    """

    def __init__(self, room: int) -> None:
        names = ("parameters", *OPERANDS, "result")
        self._size = room * len(names)
        self._descriptor = os.memfd_create("changing")
        os.ftruncate(self._descriptor, self._size)
        memory = memoryview(mmap.mmap(self._descriptor, self._size))
        self.places = {name: memory[room * place : room * (place + 1)] for place, name in enumerate(names)}

    def __enter__(self) -> Changing:
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self._descriptor)

    @contextmanager
    def written_to(self) -> Iterator[None]:
        """Have another process write to all of it as long as the block takes."""
        with writing_to(self._descriptor, self._size):
            yield


def modifiers_of(regularizer: Any) -> list[dict[str, Any]]:
    """Ways to modify a regularizer."""
    traits = regularizer.traits
    smoothed = [] if traits.map or not traits.convex else [{"smoothing": 0.5}]
    boxed = [{"box": Box(lower=-1.0, upper=2.0)}] if traits.convex and traits.separable else []
    return [{}, *smoothed, *boxed]


def calls_on(
    memory: dict[str, memoryview], regularizer: Any, shape: tuple[int, ...], *, plain: bool = False
) -> Iterator[bool]:
    """Calls without end, each another one; what they give is whether they had an answer.

    Plain ones are all in float64, without operands and modifiers.
    """
    taken = {
        "loss_gradients": True,
        "reference": regularizer.takes_reference,
        "weights": regularizer.takes_weights,
        "step_scales": regularizer.takes_step_scales,
    }
    data_types = (np.float64,) if plain else (np.float64, np.float64, np.float32)
    ways = product(data_types, [{}] if plain else modifiers_of(regularizer), (False, not plain))
    kinds = zip(cycle(METHODS), cycle(product(ways, (True, True, False), ("result", "parameters"))))
    for method, ((data_type, modifiers, operands), propagate, result) in kinds:
        if regularizer.traits.map and method is not Method.PROXIMAL_STEP:
            continue
        layout = Layout(np.dtype(data_type), (Segment("w", shape, regularizer, **modifiers),))
        names = [name for name in OPERANDS if operands and taken[name] and method is Method.PROXIMAL_STEP]
        arrays = {
            name: np.frombuffer(memory[name], data_type, layout.size) for name in ("parameters", *names)
        }
        out = None if method is Method.PENALTY else np.frombuffer(memory[result], data_type, layout.size)
        call = Call(method, layout, None, 0.7, propagate_non_finite=propagate)
        try:
            run_whole(call, Chunk(0, **arrays), out, MemoryBudget(PLENTY), threads=2, volatile=True)
        except RegularizationError:
            yield False
        else:
            yield True


def test_calls_on_memory_that_changes_end(share: int) -> None:
    """Every regularizer, method, operand and modifier: answer or documented error, and no fault."""
    with Changing(SMALL) as memory, memory.written_to():
        ways = [calls_on(memory.places, regularizer, shape) for regularizer, shape in INSTANCES]
        ends = [next(way) for way in islice(cycle(ways), CALLS // share)]
    assert sum(ends) > len(ends) / 2
    new, figures = proximal_step(np.array([0.8, -0.3, 0.5]), L1Norm(strength=0.1), 1.0)
    np.testing.assert_allclose(new, [0.7, -0.2, 0.4], rtol=1e-15)
    assert figures.total.nonzeros == 3


@pytest.mark.parametrize(("regularizer", "shape"), LONG_INSTANCES, ids=lambda value: str(value)[:40])
def test_loops_over_memory_that_changes_end(regularizer: Any, shape: tuple[int, ...]) -> None:
    """Likewise where loops are compiled, and where samples are taken."""
    with Changing(8 * int(np.prod(shape))) as memory:
        calls = calls_on(memory.places, regularizer, shape, plain=True)
        for _ in islice(calls, 24):
            continue
        with contextlib.suppress(RegularizationError):
            compilation.wait_until_compiled()
        with memory.written_to():
            assert any(islice(calls, 72))
