"""Threads beside the callers' own, for all calls together."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor, wait
from functools import cache
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T")


def on_threads(work: Callable[[int], T], parts: int) -> list[T]:
    """What some work gives for each part, each on a thread of its own as far as there are some.

    Parts that no thread has begun by the time the caller's is through with its own, that one does, too: so
    whoever has many parts waiting keeps nobody else's.

    Args:
        work: Does the part of this number, from 0 on. It must not wait for other work on these threads.
        parts: How many parts there are, >= 1; the first is done by the caller's thread.

    Returns:
        What it gave, in the order of the parts.

    Raises:
        Exception: What the work raises. No part is being worked on any more by then.
    """
    # What nobody has begun stays in the pool's queue for a while, and is to hold nothing there.
    held = [work]
    others = [_helpers().submit(lambda part: held[0](part), part) for part in range(1, parts)]
    try:
        done = [work(0)]
        while others:
            # No frame keeps the future: what failed would refer to itself, and hold on to its arrays.
            is_mine = others[0].cancel()
            done.append(work(parts - len(others)) if is_mine else others[0].result())
            del others[0]
    finally:
        wait([other for other in others if not other.cancel()])
        others.clear()
        held.clear()
    return done


@cache
def _helpers() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(os.cpu_count() or 1, thread_name_prefix="helper")


if hasattr(os, "register_at_fork"):
    # A forked process has none of these threads, and the pool would wait for them.
    os.register_at_fork(after_in_child=_helpers.cache_clear)
