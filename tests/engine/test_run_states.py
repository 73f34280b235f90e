"""What may be asked of a run, and when: it is open, and then finished, failed or closed."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from regularization_kernels import L1Norm
from regularization_kernels.engine import Chunk, Layout, MemoryBudget, Method, Run, Segment, State
from regularization_kernels.errors import ChunkOutOfOrder, StreamTooLong, StreamTooShort

from tests.support.engine_streams import PLENTY, a_call

X = np.array([0.8, -0.3, 0.5])

ASKED: list[Callable[[Run], object]] = [
    lambda run: run.feed(Chunk(3, X[:0])),
    lambda run: run.feed(Chunk(0, X)),
    lambda run: run.summary(),
    lambda run: run.finish(),
]
"""Everything that can be asked of an open run."""


def a_run(check: Callable[[], None] | None = None) -> Run:
    """A proximal step on three elements."""
    layout = Layout(np.dtype(np.float64), (Segment("w", (3,), L1Norm(strength=0.1)),))
    return Run(a_call(Method.PROXIMAL_STEP, layout), MemoryBudget(PLENTY), check=check)


def assert_refuses_everything(run: Run, state: State) -> None:
    """Whatever is asked is a fault of the program, and changes nothing."""
    for ask in ASKED:
        assert run.state is state
        with pytest.raises(RuntimeError, match=f"must be open, and is {state.value}"):
            ask(run)


def test_it_is_open_until_it_is_finished() -> None:
    """Chunks and the summary leave it open, and it takes chunks without elements to the end."""
    with a_run() as run:
        assert run.state is State.OPEN
        run.feed(Chunk(0, X[:2]))
        run.feed(Chunk(2, X[2:]))
        first = run.summary()
        assert run.state is State.OPEN
        assert run.feed(Chunk(3, X[:0])) == []
        assert run.summary() == first
        assert run.finish() == first
        assert_refuses_everything(run, State.FINISHED)


def test_nothing_follows_the_last_element() -> None:
    """Also not where the summary is known already."""
    with a_run() as run:
        run.feed(Chunk(0, X))
        run.summary()
        with pytest.raises(StreamTooLong):
            run.feed(Chunk(3, X[:1]))
        assert_refuses_everything(run, State.FAILED)


def test_a_bad_chunk_fails_it() -> None:
    """What came before is lost, and nothing goes on from there."""
    with a_run() as run:
        run.feed(Chunk(0, X[:1]))
        with pytest.raises(ChunkOutOfOrder):
            run.feed(Chunk(2, X[2:]))
        assert_refuses_everything(run, State.FAILED)


@pytest.mark.parametrize("ask", [Run.summary, Run.finish])
def test_a_stream_that_ends_too_early_fails_it(ask: Callable[[Run], object]) -> None:
    """No summary of a part is taken for that of the whole."""
    with a_run() as run:
        run.feed(Chunk(0, X[:1]))
        with pytest.raises(StreamTooShort):
            ask(run)
        assert_refuses_everything(run, State.FAILED)


def test_what_the_check_raises_fails_it() -> None:
    """A call that nobody waits for cannot be taken up again."""

    def given_up() -> None:
        raise KeyboardInterrupt

    with a_run(given_up) as run:
        with pytest.raises(KeyboardInterrupt):
            run.feed(Chunk(0, X))
        assert_refuses_everything(run, State.FAILED)


@pytest.mark.parametrize("after", [*ASKED[1:2], *ASKED[3:]])
def test_it_can_be_closed_at_any_time_and_more_than_once(after: Callable[[Run], object]) -> None:
    """Whatever it was before: open, finished or failed."""
    run = a_run()
    try:
        after(run)
    except StreamTooShort:
        assert run.state is State.FAILED
    for _ in range(2):
        run.close()
        assert_refuses_everything(run, State.CLOSED)
