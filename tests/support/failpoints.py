"""Places in a server at which it is killed, stopped or slowed down, at a chosen passing.

They are laid around the functions of a server from outside, by those who start it for a test: nothing of them
is in the server, and what is not named is not touched.
"""

from __future__ import annotations

import os
import signal
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.support.faults import Fault, functions

HEADER_READ = "regularization_server.contract.headers.call_of"
CHUNK_FED = "regularization_server.calls.service.feed"
ANSWER_MADE = "regularization_server.contract.answers.Answer.to_bytes"
SUMMARY_MADE = "regularization_server.contract.summaries.summary_of"
ANSWERS_SENT = "regularization_server.calls.drain.Drain.hold"
POINTS = (HEADER_READ, CHUNK_FED, ANSWER_MADE, SUMMARY_MADE, ANSWERS_SENT)
"""On the way of a call: as its header is read, before a chunk, an answer and the summary, and when all is
sent but the status."""

ONCE = (HEADER_READ, SUMMARY_MADE, ANSWERS_SENT)
"""Those that a call passes once."""


@dataclass
class Failpoint:
    """What happens at a place.

    Args:
        function: Full name of the function that is entered there.
        action: ``kill`` and ``stop`` (the signals), or ``wait`` (two tenths of a second).
        passing: At which passing; those before and after go on.
        armed_by: Passings count once there is a file at this path; None from the start.
    """

    function: str
    action: str
    passing: int = 1
    armed_by: str | None = None

    def lay(self) -> None:
        """Lay it around its function, in this process."""
        Fault(functions()[self.function], self._pass).begin()

    def _pass(self, arguments: tuple[Any, ...], keywords: dict[str, Any]) -> None:
        if self.armed_by is None or Path(self.armed_by).exists():
            self.passing -= 1
            if self.passing == 0:
                _ACTIONS[self.action]()


def _kill() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def _stop() -> None:
    os.kill(os.getpid(), signal.SIGSTOP)


def _wait() -> None:
    time.sleep(0.2)


_ACTIONS = {"kill": _kill, "stop": _stop, "wait": _wait}
