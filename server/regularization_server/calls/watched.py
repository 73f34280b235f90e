"""Telling of a call's begin and end to whoever watches: metrics and traces."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from .context import CallContext, Ending


class Watcher(Protocol):
    """Who is told of calls."""

    def begun(self, context: CallContext) -> Callable[[Ending], None]:
        """Take note of a call that begins; what is returned takes note of its end."""


@contextmanager
def watched(context: CallContext, watchers: Sequence[Watcher]) -> Iterator[None]:
    """Tell all watchers; what goes wrong with them is nothing to the call."""
    told: list[Callable[[Ending], None]] = []
    for watcher in watchers:
        with suppress(Exception):
            told.append(watcher.begun(context))
    try:
        yield
    finally:
        if context.ending is not None:
            for tell in told:
                with suppress(Exception):
                    tell(context.ending)
