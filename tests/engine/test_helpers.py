"""Threads beside the caller's: what they do not come to, the caller does."""

from __future__ import annotations

import gc
import os
import threading
import weakref
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest
from regularization_kernels.engine import helpers
from regularization_kernels.engine.helpers import on_threads

from tests.support.processes import until

if TYPE_CHECKING:
    from collections.abc import Iterator

TIMEOUT = 30.0


class Work:
    """Gives its parts' numbers, and notes whose threads have done them."""

    def __init__(self, fails_at: int | None = None) -> None:
        self.threads: set[str] = set()
        self._fails_at = fails_at

    def __call__(self, part: int) -> int:
        """Do a part."""
        self.threads.add(threading.current_thread().name)
        if part == self._fails_at:
            raise ValueError(part)
        return part


@contextmanager
def all_busy() -> Iterator[None]:
    """All helpers have something to do, and more waits for them."""
    done, begun = threading.Event(), threading.Semaphore(0)
    count = os.cpu_count() or 1

    def stay() -> None:
        begun.release()
        done.wait(TIMEOUT)

    jobs = [helpers._helpers().submit(stay) for _ in range(2 * count)]
    for _ in range(count):
        assert begun.acquire(timeout=TIMEOUT)
    try:
        yield
    finally:
        done.set()
        for job in jobs:
            job.result()


def test_parts_are_given_in_their_order() -> None:
    """Whoever does them."""
    assert on_threads(Work(), 9) == list(range(9))


def test_who_keeps_the_helpers_busy_keeps_nobody_waiting() -> None:
    """Where all have something else to do, the caller's thread does every part."""
    work = Work()
    with all_busy():
        assert on_threads(work, 5) == list(range(5))
    assert work.threads == {threading.current_thread().name}


@pytest.mark.parametrize("fails_at", [None, 0, 2])
def test_what_no_helper_has_begun_is_not_held_for_it(fails_at: int | None) -> None:
    """A call's arrays go with it, though its parts are still in the queue."""
    work = Work(fails_at)
    gone = weakref.ref(work)
    gc.disable()
    try:
        with all_busy():
            try:
                on_threads(work, 4)
            except ValueError:
                assert fails_at is not None
            del work
            until(lambda: gone() is None, 5)
    finally:
        gc.enable()
