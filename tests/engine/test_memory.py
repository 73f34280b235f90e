"""Memory is bounded by chunk, group or segment, is taken from the budget first, and goes back."""

from __future__ import annotations

import resource
import tracemalloc
from pathlib import Path
from threading import Thread
from typing import Any

import numpy as np
import pytest
from regularization_kernels import (
    Box,
    GroupLasso,
    Groups,
    Isotonic,
    L1Norm,
    L2Norm,
    NuclearNorm,
    TopK,
    TotalVariation,
    compilation,
)
from regularization_kernels.engine import Chunk, Joint, Layout, MemoryBudget, Method, Run, Segment
from regularization_kernels.engine.buffering import PIECES
from regularization_kernels.errors import BudgetExceeded, ValueNotFinite

from tests.support.engine_streams import PLENTY, a_call

CHUNK = 1 << 15
MIB = 1 << 20
every_method = pytest.mark.parametrize("method", list(Method), ids=lambda method: method.value)


class Watched(MemoryBudget):
    """A budget that remembers the most that was ever taken from it."""

    most = 0

    def reserve(self, size: int) -> None:
        """Take bytes, and remember."""
        super().reserve(size)
        self.most = max(self.most, self.used)


def resident() -> int:
    """Bytes of memory that this process has."""
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return pages * resource.getpagesize()


def only(shape: tuple[int, ...], regularizer: Any) -> Layout:
    """A layout of one segment."""
    return Layout(np.dtype(np.float64), (Segment("w", shape, regularizer),))


def run_through(method: Method, layout: Layout, budget: MemoryBudget, *more: str) -> int:
    """Stream the layout in chunks; the most bytes that Python and NumPy had allocated meanwhile."""
    # Once before, so that no loop is compiled in the background while memory is measured.
    stream_through(method, layout, budget, *more)
    compilation.wait_until_compiled()
    tracemalloc.start()
    try:
        stream_through(method, layout, budget, *more)
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def stream_through(method: Method, layout: Layout, budget: MemoryBudget, *more: str) -> None:
    """Stream the layout in chunks, with more operands, whose elements differ."""
    x = np.full(CHUNK, 0.01)
    g = np.full(CHUNK, 0.02)
    operands = {} if method is Method.PENALTY else {"loss_gradients": g}
    operands |= dict.fromkeys(more, np.linspace(0.0, 1e-4, CHUNK))
    with Run(a_call(method, layout), budget) as run:
        for begin in range(0, layout.size, CHUNK):
            length = min(CHUNK, layout.size - begin)
            run.feed(Chunk(begin, x[:length], **{name: array[:length] for name, array in operands.items()}))
        run.finish()


@every_method
@pytest.mark.parametrize(
    "regularizer", [None, L1Norm(strength=0.1), Box(lower=-1.0)], ids=["exempt", "l1", "box"]
)
def test_elements_are_bounded_by_the_chunk(method: Method, regularizer: Any) -> None:
    """A long segment of locality ELEMENT takes nothing from the budget and a few chunks of memory."""
    budget = Watched(0)
    most = run_through(method, only((64 * CHUNK,), regularizer), budget)
    assert budget.most == 0
    assert most < 12 * CHUNK * 8


@every_method
def test_groups_are_bounded_by_chunk_and_group(method: Method) -> None:
    """Groups that end inside chunks make a few chunks wait at most, however long the segment is."""
    layout = only((3000 * 600,), GroupLasso(strength=0.1, groups=Groups(size=3000)))
    budget = Watched(PLENTY)
    most = run_through(method, layout, budget)
    assert 0 < budget.most < 16 * CHUNK * 8
    assert most < 24 * CHUNK * 8
    assert budget.used == 0


@every_method
@pytest.mark.parametrize(
    ("shape", "regularizer"),
    [
        ((CHUNK * 32,), GroupLasso(strength=0.1, groups=Groups(size=CHUNK * 32))),
        ((CHUNK * 4, 8), GroupLasso(strength=0.1, groups=Groups(axis=1))),
        ((4, CHUNK * 8), NuclearNorm(strength=0.1)),
    ],
    ids=["one-group", "columns", "matrix"],
)
def test_what_waits_is_accounted_for(method: Method, shape: tuple[int, ...], regularizer: Any) -> None:
    """What the process allocates for a whole group or segment, it has taken from the budget."""
    budget = Watched(PLENTY)
    most = run_through(method, only(shape, regularizer), budget)
    assert budget.used == 0
    assert most <= budget.most + 12 * CHUNK * 8


@pytest.mark.parametrize(
    ("shape", "regularizer"),
    [
        ((CHUNK * 16,), GroupLasso(strength=0.1, groups=Groups(size=CHUNK * 16))),
        ((CHUNK * 2, 8), GroupLasso(strength=0.1, groups=Groups(axis=1))),
        ((CHUNK * 4,), Isotonic()),
        ((CHUNK, 4), Isotonic(axis=0)),
    ],
    ids=["one-group", "columns", "line", "lines"],
)
def test_step_scales_of_what_waits_are_accounted_for(shape: tuple[int, ...], regularizer: Any) -> None:
    """What it takes to give each element of what waits its own step size is taken from the budget, too."""
    budget = Watched(PLENTY)
    layout = only(shape, regularizer)
    most = run_through(Method.PROXIMAL_STEP, layout, budget, "step_scales")
    assert budget.used == 0
    assert most <= budget.most + 12 * CHUNK * 8


@every_method
@pytest.mark.parametrize(
    ("shape", "regularizer"),
    [
        ((1 << 50,), GroupLasso(strength=0.1, groups=Groups(size=1 << 50))),
        ((1 << 25, 1 << 25), GroupLasso(strength=0.1, groups=Groups(axis=1))),
        ((1 << 25, 1 << 25), NuclearNorm(strength=0.1)),
    ],
    ids=["group", "columns", "matrix"],
)
def test_what_does_not_fit_is_refused_before_it_is_allocated(
    method: Method, shape: tuple[int, ...], regularizer: Any
) -> None:
    """A segment of eight pebibytes is refused at the first element that would have to wait."""
    budget = MemoryBudget(4096)
    with (
        Run(a_call(method, only(shape, regularizer)), budget) as run,
        pytest.raises(BudgetExceeded) as caught,
    ):
        run.feed(Chunk(0, np.ones(1000)))
    figures = caught.value.metadata
    assert figures["requested_bytes"] > figures["available_bytes"]
    assert (figures["available_bytes"], figures["budget_bytes"]) == (4096, 4096)
    assert budget.used == 0


LONG = 50_000_000
"""Elements of a segment that is declared, and hardly sent: 400 MB of float64."""


DECLARED = {
    "segment": only((LONG,), TotalVariation(strength=0.1)),
    "reduction": only((LONG,), L2Norm(strength=0.1)),
    "joint": Layout(
        np.dtype(np.float64),
        (Segment("w", (LONG,), joint="all"),),
        (Joint("all", TopK(fraction=0.5)),),
    ),
}


@pytest.mark.parametrize("method", [Method.PENALTY, Method.PROXIMAL_STEP], ids=lambda method: method.value)
@pytest.mark.parametrize("layout", DECLARED.values(), ids=DECLARED)
def test_what_has_not_come_takes_nothing(method: Method, layout: Layout) -> None:
    """Of a segment of 400 MB whose first element is there, a few pages are held, in fact and by the books."""
    budget = MemoryBudget(1 << 40)
    with Run(a_call(method, layout), budget) as run:
        run.feed(Chunk(0, np.ones(1)))
        before = resident()
        run.feed(Chunk(1, np.ones(1)))
        assert resident() - before < 2 * MIB
        assert budget.used < (PIECES if layout is DECLARED["joint"] else 0) + MIB // 4
        run.feed(Chunk(2, np.ones(10 * MIB // 8)))
        assert resident() - before >= 10 * MIB
        assert 10 * MIB < budget.used < 16 * 10 * MIB
    assert budget.used == 0


def test_what_waits_is_refused_once_the_budget_is_out() -> None:
    """Of two segments that do not fit together, one is refused on its way, and the other has its room."""
    layout = only((1 << 20,), TotalVariation(strength=0.1))
    call, chunks = (
        a_call(Method.PENALTY, layout),
        [Chunk(at, np.zeros(CHUNK)) for at in range(0, 1 << 20, CHUNK)],
    )
    need = Watched(PLENTY)
    stream_through(Method.PENALTY, layout, need)
    budget = MemoryBudget(need.most * 3 // 2)
    fed: dict[Run, int] = {Run(call, budget): 0, Run(call, budget): 0}
    refused: list[Run] = []
    while not refused:
        for run in fed:
            try:
                run.feed(chunks[fed[run]])
            except BudgetExceeded:
                refused.append(run)
                run.close()
            else:
                fed[run] += 1
    assert len(refused) == 1
    assert fed[refused[0]] > len(chunks) // 2
    (other,) = fed.keys() - set(refused)
    for chunk in chunks[fed[other] :]:
        other.feed(chunk)
    other.finish()
    other.close()
    assert budget.used == 0


@pytest.mark.parametrize(
    "regularizer",
    [GroupLasso(strength=0.1, groups=Groups(size=4_000)), TotalVariation(strength=0.1)],
    ids=["group", "segment"],
)
def test_chunks_of_single_elements_are_accounted_for(regularizer: Any) -> None:
    """What is remembered of 4,000 chunks whose answers wait is taken from the budget, too."""
    budget = Watched(PLENTY)
    layout = only((4_000,), regularizer)
    element = np.ones(1)
    tracemalloc.start()
    try:
        with Run(a_call(Method.PROXIMAL_STEP, layout), budget) as run:
            for index in range(layout.size - 1):
                run.feed(Chunk(index, element))
            most = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert 100 * layout.size < most <= budget.most + MIB // 4
    assert budget.used == 0


def test_a_share_is_part_of_the_whole() -> None:
    """What a share gives the whole gives, too; a share ends where either does, and says which."""
    whole = MemoryBudget(100)
    one, other = MemoryBudget(60, whole), MemoryBudget(60, whole)
    one.reserve(50)
    other.reserve(40)
    assert (whole.used, one.used, other.used) == (90, 50, 40)
    with pytest.raises(BudgetExceeded, match="the caller's share") as caught:
        one.reserve(11)
    assert caught.value.metadata["scope"] == "caller"
    with pytest.raises(BudgetExceeded) as caught:
        other.reserve(11)
    assert caught.value.metadata == {
        "requested_bytes": 11,
        "available_bytes": 10,
        "budget_bytes": 100,
        "scope": "server",
    }
    assert (whole.used, one.used, other.used) == (90, 50, 40)
    one.release(50)
    other.release(40)
    assert (whole.used, one.used, other.used) == (0, 0, 0)


def test_calls_share_the_budget() -> None:
    """What one call holds another cannot have; after it is closed, the other can."""
    layout = only((20, 20), NuclearNorm(strength=0.1))
    call = a_call(Method.PENALTY, layout)
    need = Watched(PLENTY)
    with Run(call, need) as run:
        run.feed(Chunk(0, np.ones(10)))
        assert need.used == need.most > 0
    budget = MemoryBudget(need.most * 3 // 2)
    first, second = Run(call, budget), Run(call, budget)
    first.feed(Chunk(0, np.ones(10)))
    with pytest.raises(BudgetExceeded) as caught:
        second.feed(Chunk(0, np.ones(10)))
    assert caught.value.metadata["available_bytes"] == budget.total - need.most
    second.close()
    assert budget.used == need.most
    first.close()
    first.close()
    assert budget.used == 0
    with Run(call, budget) as third:
        third.feed(Chunk(0, np.ones(400)))
        third.finish()
    assert budget.used == 0


@pytest.mark.parametrize(
    "regularizer",
    [GroupLasso(strength=0.1, groups=Groups(size=400)), NuclearNorm(strength=0.1)],
    ids=["group", "segment"],
)
def test_a_call_that_is_given_up_gives_everything_back(regularizer: Any) -> None:
    """Closed in the middle, or after an error, nothing stays taken."""
    layout = only((20, 20), regularizer)
    for x, error in ((np.ones(30), None), (np.where(np.arange(30) == 25, np.nan, 1.0), ValueNotFinite)):
        budget = MemoryBudget(PLENTY)
        with Run(a_call(Method.PROXIMAL_STEP, layout), budget) as run:
            run.feed(Chunk(0, np.ones(100)))
            assert budget.used >= 100 * 8
            if error is None:
                run.feed(Chunk(100, x))
            else:
                with pytest.raises(error):
                    run.feed(Chunk(100, x))
        assert budget.used == 0


def test_budget_counts_from_many_threads() -> None:
    """Reserving and releasing at once never loses a byte, and never exceeds the total."""
    budget = MemoryBudget(1000)
    refused: list[int] = []

    def work() -> None:
        for _ in range(2000):
            try:
                budget.reserve(300)
            except BudgetExceeded:
                refused.append(1)
            else:
                assert budget.used <= 1000
                budget.release(300)

    threads = [Thread(target=work) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (budget.used, budget.total) == (0, 1000)


def test_budget_gives_exactly_what_it_has() -> None:
    """The last byte can be had, and not one more."""
    budget = MemoryBudget(10)
    budget.reserve(10)
    budget.reserve(0)
    with pytest.raises(BudgetExceeded):
        budget.reserve(1)
    assert budget.used == 10
