"""Answers made ahead of their sending: of a long stream, the next are computed while these are sent."""

from __future__ import annotations

import threading
from collections.abc import Generator
from contextlib import closing
from queue import SimpleQueue
from typing import NamedTuple

ALONE = 2
"""Answers of a stream that are made as they are asked for: a thread for so few would take longer."""

SPARE = 2
"""The most answers that wait to be sent."""


class _Over(NamedTuple):
    """What stands behind the last answer."""

    error: BaseException | None


def ahead(answers: Generator[bytes]) -> Generator[bytes]:
    """Give the answers of a generator, which soon goes on in a thread of its own while they are taken.

    The thread ends before this does. Where the system gives none, the generator goes on in the caller's.

    Args:
        answers: The answers. What they raise is raised here, after those before it. To be closed, it must
            wait for nothing that lasts longer than the call.
    """
    with closing(answers):
        for _ in range(ALONE):
            answer = next(answers, None)
            if answer is None:
                return
            yield answer
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
    """A thread that makes answers, and the few that wait.

    Args:
        answers: Where they come from.
    """

    def __init__(self, answers: Generator[bytes]) -> None:
        self._answers = answers
        self._waiting: SimpleQueue[bytes | _Over] = SimpleQueue()
        self._room = threading.Semaphore(SPARE)
        self._unwanted = False
        self._thread = threading.Thread(target=self._make, name="ahead")

    def start(self) -> None:
        """Begin.

        Raises:
            RuntimeError: If there is no thread.
        """
        self._thread.start()

    def made(self) -> Generator[bytes]:
        """Give the answers as they are made."""
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
        """Make no more; the generator is let go."""
        self._unwanted = True
        self._room.release()
        self._thread.join()
        # What nobody takes any more may be an error, which knows all of this.
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
