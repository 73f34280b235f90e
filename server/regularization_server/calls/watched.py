"""Telling of a call's begin and end to whoever watches: metrics and traces."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Protocol

import grpc

from .endings import departure

if TYPE_CHECKING:
    from .context import CallContext, Ending


class Watcher(Protocol):
    """Who is told of calls."""

    def begun(self, context: CallContext) -> Callable[[Ending], None]:
        """Take note of a call that begins; what is returned takes note of its end."""


@contextmanager
def watched(context: CallContext, watchers: Sequence[Watcher]) -> Iterator[None]:
    """Tell all watchers; what goes wrong with them is nothing to the call."""
    tell = _told_of_begin(context, watchers)
    try:
        yield
    finally:
        if context.ending is not None:
            tell(context.ending)


@contextmanager
def watched_until_gone(context: CallContext, watchers: Sequence[Watcher]) -> Iterator[None]:
    """Tell all watchers of a call that goes on when the block is done, unless that fails."""
    tell = _told_of_begin(context, watchers)
    refused: list[Ending] = []
    context.transport.add_callback(lambda: tell(refused[0] if refused else departure(context)))
    try:
        yield
    finally:
        if context.ending is not None and context.ending.code is not grpc.StatusCode.OK:
            refused.append(context.ending._replace(fault=None))


def _told_of_begin(context: CallContext, watchers: Sequence[Watcher]) -> Callable[[Ending], None]:
    told: list[Callable[[Ending], None]] = []
    for watcher in watchers:
        with suppress(Exception):
            told.append(watcher.begun(context))

    def tell(ending: Ending) -> None:
        for each in told:
            with suppress(Exception):
                each(ending)

    return tell
