"""Computations that nobody waits for: they end soon, whatever they are at, and nobody else's do."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from threading import Event, Thread
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from regularization_kernels import (
    FusedLasso,
    GroupLasso,
    Groups,
    Isotonic,
    L1Ball,
    LinfNorm,
    NuclearNorm,
    Orthogonality,
    RankBall,
    Regularizer,
    Slope,
    SpectralBall,
    SpectralNorm,
    SpectralNormalization,
    TopK,
    TotalVariation,
    TrendFilter,
    compilation,
)
from regularization_kernels.engine import Call, Chunk, Layout, MemoryBudget, Method, Run, Segment, run_whole
from regularization_kernels.interruption import Turns, go_on, interruptible
from regularization_kernels.regularizers.matrices import lapack
from regularization_kernels.regularizers.vectors.slope import Oscar

PATIENCE = 30.0


class Gone(Exception):
    """Nobody waits."""


class Asked:
    """A check that counts how often it is asked, and raises from some time on."""

    def __init__(self, allowed: int = 1 << 62) -> None:
        self.allowed = allowed
        self.times = 0

    def __call__(self) -> None:
        """Count, and raise."""
        self.times += 1
        if self.times > self.allowed:
            raise Gone


def leave() -> None:
    """A check of one who is gone."""
    raise Gone


def test_nobody_is_asked_where_there_is_no_check() -> None:
    """Mathematics by itself goes on, also within a call that has no check."""
    go_on()
    with interruptible(leave), interruptible(None):
        go_on()


def test_a_check_is_of_one_thread_and_of_one_time() -> None:
    """Other threads do not see it, and afterwards there is the one from before."""
    outer, others = Asked(), []
    with interruptible(outer):
        with suppress(Gone), interruptible(leave):
            thread = Thread(target=lambda: others.append(go_on()))
            thread.start()
            thread.join()
            go_on()
        go_on()
    go_on()
    assert (outer.times, others) == (1, [None])


def test_turns_are_taken_in_order() -> None:
    """So many at once, and first come, first served."""
    turns, begun, ends = Turns(2), [], [Event() for _ in range(6)]

    def take(index: int) -> None:
        with turns.taken():
            begun.append(index)
            ends[index].wait(PATIENCE)

    threads = []
    for index in range(6):
        threads.append(Thread(target=take, args=(index,)))
        threads[-1].start()
        until(lambda count=index: len(begun) + len(turns._waiting) == count + 1)
    for index in range(6):
        until(lambda least=index: len(begun) >= min(6, least + 2))
        assert begun == list(range(min(6, index + 2)))
        ends[index].set()
    for thread in threads:
        thread.join(PATIENCE)
    assert turns._free == 2


def test_several_turns_are_taken_at_once() -> None:
    """Who needs two waits for both, and nobody who came later goes first; all are the most there are."""
    turns, begun, ends = Turns(2), [], [Event() for _ in range(4)]

    def take(index: int, count: int) -> None:
        with turns.taken(count):
            begun.append(index)
            ends[index].wait(PATIENCE)

    threads = []
    for index, count in enumerate((1, 2, 1, 5)):
        threads.append(Thread(target=take, args=(index, count)))
        threads[-1].start()
        until(lambda count=index: len(begun) + len(turns._waiting) == count + 1)
    for index in range(4):
        until(lambda least=index: len(begun) > least)
        assert begun == list(range(index + 1))
        ends[index].set()
    for thread in threads:
        thread.join(PATIENCE)
    assert (turns._free, len(turns._waiting)) == (2, 0)


def test_who_needs_many_and_leaves_lets_the_next_one_go_on() -> None:
    """One turn is free, but the first in the row needs two: once it is given up, the second has it."""
    turns, gone, left, served = Turns(2), Event(), Event(), Event()

    def check() -> None:
        if gone.is_set():
            raise Gone

    def give_up() -> None:
        with interruptible(check), suppress(Gone), turns.taken(2):
            pytest.fail("they were not free")
        left.set()

    def wait() -> None:
        with turns.taken():
            served.set()

    with turns.taken():
        first, second = Thread(target=give_up), Thread(target=wait)
        first.start()
        until(lambda: len(turns._waiting) == 1)
        second.start()
        until(lambda: len(turns._waiting) == 2)
        gone.set()
        assert left.wait(PATIENCE)
        assert served.wait(PATIENCE)
    first.join(PATIENCE)
    second.join(PATIENCE)
    assert (turns._free, len(turns._waiting)) == (2, 0)


def test_who_waits_in_vain_leaves_at_once() -> None:
    """One that is given up leaves while the turn is taken, and takes none; the next in the row gets it."""
    turns, gone, left, served = Turns(1), Event(), Event(), Event()

    def give_up() -> None:
        def check() -> None:
            if gone.is_set():
                raise Gone

        with interruptible(check):
            try:
                with turns.taken():
                    pytest.fail("it had no turn")
            except Gone:
                left.set()

    def wait() -> None:
        with turns.taken():
            served.set()

    with turns.taken():
        first, second = Thread(target=give_up), Thread(target=wait)
        first.start()
        until(lambda: len(turns._waiting) == 1)
        second.start()
        until(lambda: len(turns._waiting) == 2)
        gone.set()
        assert left.wait(PATIENCE)
        assert not served.is_set()
    assert served.wait(PATIENCE)
    first.join(PATIENCE)
    second.join(PATIENCE)
    with interruptible(leave), pytest.raises(Gone), turns.taken():
        pytest.fail("it was given up before its turn came")
    assert (turns._free, len(turns._waiting)) == (1, 0)


LONG = (1, 4000)
MATRIX = (60, 50)
ROWS: list[tuple[Regularizer, tuple[int, ...], int]] = [
    # A step, its penalty, and the shape: how often is asked at least.
    (TotalVariation(strength=0.5), LONG, 30),
    (TotalVariation(strength=1e4), LONG, 30),
    (FusedLasso(l1_strength=0.1, tv_strength=0.5), LONG, 30),
    (TrendFilter(strength=0.5, order=0), LONG, 30),
    (TrendFilter(strength=0.5, order=1), LONG, 20),
    (TrendFilter(strength=0.5, order=2), (300, 40), 20),
    (Isotonic(), LONG, 60),
    (Isotonic(), (2000, 2), 60),
    (Slope(oscar=Oscar(l1_strength=0.1, pairwise_strength=1e-4)), LONG, 60),
    (L1Ball(radius=20.0), LONG, 8),
    (TopK(count=100), LONG, 3),
    (LinfNorm(strength=3.0), LONG, 4),
    (GroupLasso(strength=0.1, groups=Groups(sizes=tuple(range(1, 100)))), (4950,), 99),
    (NuclearNorm(strength=0.5), MATRIX, 4),
    (SpectralNorm(strength=0.5), MATRIX, 4),
    (SpectralBall(radius=0.5), MATRIX, 4),
    (RankBall(rank=2), MATRIX, 4),
    (Orthogonality(strength=0.5), MATRIX, 4),
    (SpectralNormalization(target=1.0), MATRIX, 10),
]
every_long_row = pytest.mark.parametrize(
    ("regularizer", "shape", "asks"), ROWS, ids=lambda value: getattr(value, "name", str(value))
)


def run(regularizer: Regularizer, shape: tuple[int, ...], check: Callable[[], None]) -> NDArray[Any]:
    """A proximal step, through the engine; whatever comes of it, the budget has everything back."""
    x = np.random.default_rng(5).normal(size=int(np.prod(shape)))
    layout = Layout(x.dtype, (Segment("w", shape, regularizer),))
    budget = MemoryBudget(1 << 30)
    out = np.empty_like(x)
    try:
        run_whole(Call(Method.PROXIMAL_STEP, layout, step_size=1.0), Chunk(0, x), out, budget, check=check)
    finally:
        assert budget.used == 0
    return out


@every_long_row
@pytest.mark.parametrize("plain", [False, True], ids=["compiled", "plain"])
def test_long_computations_ask(
    regularizer: Regularizer,
    shape: tuple[int, ...],
    asks: int,
    plain: bool,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """At every stretch, iteration, pass or decomposition, whoever runs the loops; and end where they ask."""
    monkeypatch.setattr(compilation, "STRETCH", 100)
    if plain:
        monkeypatch.setattr(compilation, "_installed", False)
    counted = Asked()
    run(regularizer, shape, counted)
    assert counted.times >= asks
    for allowed in {0, 1, 2, 3, asks // 2, asks - 1}:
        with pytest.raises(Gone):
            run(regularizer, shape, Asked(allowed))


def test_a_stream_is_asked_for_at_every_chunk() -> None:
    """Also where nothing takes long; and it is not asked once the call is over."""
    layout = Layout(np.dtype(np.float64), (Segment("w", (10,), None),))
    asked = Asked(allowed=3)
    with Run(Call(Method.PROXIMAL_STEP, layout, step_size=1.0), MemoryBudget(1 << 20), check=asked) as stream:
        for offset in range(3):
            stream.feed(Chunk(offset, np.ones(1)))
        with pytest.raises(Gone):
            stream.feed(Chunk(3, np.ones(1)))
    go_on()


def longest_standstill(work: Callable[[], object]) -> tuple[float, float]:
    """How long work takes, and the longest time for which it keeps another thread from its millisecond."""
    done, worst = Event(), [0.0]

    def tick() -> None:
        before = time.perf_counter()
        while not done.is_set():
            time.sleep(0.001)
            now = time.perf_counter()
            worst[0] = max(worst[0], now - before)
            before = now

    ticking = Thread(target=tick)
    ticking.start()
    start = time.perf_counter()
    work()
    took = time.perf_counter() - start
    done.set()
    ticking.join()
    return took, worst[0]


def banded() -> Callable[[], object]:
    """Factor and solve a long banded matrix."""
    matrix = np.zeros((3_000_000, 4))
    matrix[:, 1:] = np.random.default_rng(2).normal(size=(len(matrix), 3))
    matrix[:, 2] += 4.0

    def work() -> None:
        columns = matrix.copy()
        lapack.solve_banded(columns, 1, lapack.factor_banded(columns, 1), np.ones(len(columns)))

    return work


def a_step(regularizer: Regularizer, size: int) -> Callable[[], object]:
    """Of a square matrix."""
    x = np.random.default_rng(3).normal(size=(size, size))
    return lambda: regularizer.on(x.shape).prox(x, 1.0, np.empty_like(x))


@pytest.mark.parametrize(
    "prepared",
    [
        lambda: a_step(NuclearNorm(strength=1.0), 700),
        lambda: a_step(SpectralNormalization(target=1.0), 1500),
        lambda: partial(lapack.slow_svd, np.random.default_rng(4).normal(size=(300, 300))),
        banded,
    ],
    ids=["decomposition", "products", "slow_decomposition", "banded"],
)
def test_other_threads_go_on_meanwhile(prepared: Callable[[], Callable[[], object]]) -> None:
    """However long LAPACK takes, no other thread stands still for as long: the interpreter's lock is free."""
    work = prepared()
    work()
    quietest = min(standstill / took for took, standstill in (longest_standstill(work) for _ in range(3)))
    assert quietest < 0.5


def until(condition: Callable[[], bool]) -> None:
    """Wait for it."""
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.001)
