"""Answers of a long stream, computed ahead: the next ones while these are sent."""

from __future__ import annotations

import threading
from collections.abc import Callable, Generator
from contextlib import closing
from queue import SimpleQueue
from typing import NamedTuple

ALONE = 4
"""Answers of a stream that are computed when asked for: for so few, a thread would take longer."""

SPARE = 2
"""The most answers that wait to be sent."""


class _Over(NamedTuple):
    """What follows the last answer: the error that ended them, if any."""

    error: BaseException | None


def ahead(
    answers: Generator[bytes], may_wait: Callable[[int], bool] = lambda answers: True
) -> Generator[bytes]:
    """Yield the answers of a generator. After the first ones, a thread computes the next meanwhile.

    The thread ends before this does. Where the system has no thread left, or no memory for answers that wait,
    the caller's does all.

    Args:
        answers: The answers. An error of theirs is raised here, in its turn. This can be closed only where
            they wait for nothing that lasts longer than the call.
        may_wait: Asked once whether there is room for so many answers as large as those before.
    """
    with closing(answers):
        for _ in range(ALONE):
            answer = next(answers, None)
            if answer is None:
                return
            yield answer
        if not may_wait(SPARE):
            yield from answers
            return
        maker = _Maker(answers)
        try:
            maker.start()
        except RuntimeError:
            yield from answers
            return
        try:
            yield from maker.made()
        finally:
            maker.stop()


class _Maker:
    """A thread that computes answers, and the few that wait to be sent.

    Args:
        answers: The generator that gives them.
    """

    def __init__(self, answers: Generator[bytes]) -> None:
        self._answers = answers
        self._waiting: SimpleQueue[bytes | _Over] = SimpleQueue()
        self._room = threading.Semaphore(SPARE)
        self._unwanted = False
        self._thread = threading.Thread(target=self._make, name="ahead")

    def start(self) -> None:
        """Start the thread.

        Raises:
            RuntimeError: If the system has none.
        """
        self._thread.start()

    def made(self) -> Generator[bytes]:
        """Yield the answers as they come."""
        while isinstance(answer := self._waiting.get(), bytes):
            self._room.release()
            yield answer
        try:
            if answer.error is not None:
                raise answer.error
        finally:
            # The error knows this frame: if the frame knew the error, both would stay, with all they know.
            del answer

    def stop(self) -> None:
        """Compute no more, and wait for the thread."""
        self._unwanted = True
        self._room.release()
        self._thread.join()
        # An error that nobody takes any more would keep all of this.
        while not self._waiting.empty():
            self._waiting.get()

    def _has_room(self) -> bool:
        self._room.acquire()
        return not self._unwanted

    def _make(self) -> None:
        try:
            while self._has_room() and (answer := next(self._answers, None)) is not None:
                self._waiting.put(answer)
        except BaseException as error:
            self._waiting.put(_Over(error))
        else:
            self._waiting.put(_Over(None))
