"""Log lines are put together and written by a thread of their own, so that whoever logs never waits."""

from __future__ import annotations

import os
import select
import sys
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from itertools import accumulate
from threading import Condition, Thread
from typing import NamedTuple

from ..units import MIB

MOST_WAITING = 4 * MIB
"""Bytes of lines that may wait to be written; further ones are dropped, and counted."""

WRITTEN_AT_ONCE = select.PIPE_BUF
"""Bytes up to which lines go into one write: so many stay together beside other processes' lines."""


class Waiting(NamedTuple):
    """A line that waits."""

    text: Callable[[], str]
    """Puts it together."""
    size: int
    """Bytes that it takes until then."""


class LogWriter:
    """Writes lines to a file descriptor, and drops those that cannot be written.

    Where the reader is gone, or disk or pipe are full, whoever logs does not notice. After the next line that
    is written, another says how many were dropped. Lines are written in the order in which they come.

    Args:
        descriptor: Of the file; None to drop everything.
        report: Makes the line that says how many were dropped.
        most_waiting: Bytes that may wait.
    """

    def __init__(
        self, descriptor: int | None, report: Callable[[int], str], most_waiting: int = MOST_WAITING
    ) -> None:
        self._report = report
        self._room = 0 if descriptor is None else most_waiting
        self._changed = Condition()
        self._lines: deque[Waiting] = deque()
        self._writing = False
        self._dropped = 0
        self._inside_a_line = False
        if descriptor is not None:
            Thread(target=self._write, args=(descriptor,), name="log", daemon=True).start()

    def take(self, text: Callable[[], str], size: int) -> None:
        """Take a line; it is put together and written soon, or never.

        Args:
            text: Puts it together, in the writing thread.
            size: Bytes that it takes until then.
        """
        with self._changed:
            if size > self._room:
                self._dropped += 1
                return
            self._room -= size
            self._lines.append(Waiting(text, size))
            self._changed.notify_all()

    def flush(self, timeout: float) -> bool:
        """Wait until all lines are written or dropped; whether that came in so many seconds."""
        with self._changed:
            return self._changed.wait_for(lambda: not self._lines and not self._writing, timeout)

    def _write(self, descriptor: int) -> None:
        while True:
            waiting, dropped = self._next()
            change = len(waiting)
            for lines in _written_at_once(filter(None, map(_put_together, waiting))):
                change -= self._send(descriptor, lines)
            # After the lines that waited: those that found no room came later.
            if dropped and not change and self._send(descriptor, [f"{self._report(dropped)}\n".encode()]):
                change = -dropped
            with self._changed:
                self._dropped += change
                self._writing = False
                self._changed.notify_all()

    def _next(self) -> tuple[list[Waiting], int]:
        """The next lines, once there are some, and how many were dropped before."""
        with self._changed:
            self._changed.wait_for(lambda: self._lines)
            waiting = [self._lines.popleft()]
            size = waiting[0].size
            while self._lines and size + self._lines[0].size <= WRITTEN_AT_ONCE:
                waiting.append(self._lines.popleft())
                size += waiting[-1].size
            self._room += size
            self._writing = True
            return waiting, self._dropped

    def _send(self, descriptor: int, lines: list[bytes]) -> int:
        """Write lines, one behind the other; how many are written whole."""
        begin = int(self._inside_a_line)
        raw = b"\n" * begin + b"".join(lines)
        written = 0
        try:
            while written < len(raw):
                written += _write_some(descriptor, raw[written:])
        except OSError:
            # Lost lines are counted. The next line must not go on where this one was cut off.
            pass
        if written:
            self._inside_a_line = raw[written - 1 : written] != b"\n"
        return sum(begin + end <= written for end in accumulate(map(len, lines)))


def _put_together(line: Waiting) -> bytes | None:
    try:
        return f"{line.text()}\n".encode(errors="backslashreplace")
    except Exception:
        return None  # whatever is wrong with it, the lines after it are written


def _written_at_once(lines: Iterable[bytes]) -> Iterator[list[bytes]]:
    """Lines that go into one write, and then the next ones."""
    together: list[bytes] = []
    for line in lines:
        if together and sum(map(len, together)) + len(line) > WRITTEN_AT_ONCE:
            yield together
            together = []
        together.append(line)
    if together:
        yield together


def standard_error() -> int | None:
    """The descriptor of standard error; None where it is closed, for another file may have its number."""
    try:
        return sys.stderr.fileno()
    except (AttributeError, OSError):
        return None


def is_terminal() -> bool:
    """Whether standard error is a terminal."""
    descriptor = standard_error()
    return descriptor is not None and os.isatty(descriptor)


def _write_some(descriptor: int, raw: bytes) -> int:
    try:
        return os.write(descriptor, raw)
    except BlockingIOError:
        # The file was made non-blocking by whoever started this process. Only the writing thread waits.
        waiting = select.poll()
        waiting.register(descriptor, select.POLLOUT)
        waiting.poll()
        return 0
