"""So many log lines a second, and a count of the rest: whoever is refused often must not fill the log."""

from __future__ import annotations

import time
from threading import Lock, Timer
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from structlog.typing import FilteringBoundLogger

LINES_A_SECOND = 100
"""Lines that may be written in a second."""


class LineLimit:
    """Says of each line whether it may be written. Safe to use from many threads.

    Args:
        log: Where it says, a second after the first that was not written, how many they were.
        what: What the lines tell of.
        lines_a_second: How many may be written.
    """

    def __init__(self, log: FilteringBoundLogger, what: str, lines_a_second: int = LINES_A_SECOND) -> None:
        self._log = log
        self._what = what
        self._most = lines_a_second
        self._lock = Lock()
        self._began = 0.0
        self._written = 0
        self._left_out = 0

    def has_room(self) -> bool:
        """Whether a line may be written; where not, it is counted."""
        now = time.monotonic()
        with self._lock:
            if now - self._began >= 1.0:
                self._began, self._written = now, 0
            if self._written < self._most:
                self._written += 1
                return True
        self.leave_out()
        return False

    def leave_out(self) -> None:
        """Count a line that is not written."""
        with self._lock:
            self._left_out += 1
            if self._left_out > 1:
                return
        timer = Timer(1.0, self.tell)
        timer.daemon = True
        timer.start()

    def tell(self) -> None:
        """Say how many were not written, if any."""
        with self._lock:
            left_out, self._left_out = self._left_out, 0
        if left_out:
            self._log.warning(f"{self._what} not logged", lines=left_out)
