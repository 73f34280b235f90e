"""Telling of a call's begin and end to whoever watches: metrics and traces."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from .context import CallContext, Ending


class Watcher(Protocol):
    """Who is told of calls."""

    def begun(self, context: CallContext) -> None:
        """Take note of a call that begins."""

    def ended(self, context: CallContext, ending: Ending) -> None:
        """Take note of a call that has ended."""


@contextmanager
def watched(context: CallContext, watchers: Sequence[Watcher]) -> Iterator[None]:
    """Tell all watchers; what goes wrong with them is nothing to the call."""
    for watcher in watchers:
        with suppress(Exception):
            watcher.begun(context)
    try:
        yield
    finally:
        if context.ending is not None:
            for watcher in watchers:
                with suppress(Exception):
                    watcher.ended(context, context.ending)
