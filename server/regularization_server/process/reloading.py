"""Files that are read again when they change: what is made of them is replaced whole, or stays as it was."""

from __future__ import annotations

from threading import Event, Thread
from typing import TYPE_CHECKING, Generic, TypeVar

from ..settings import SettingInvalid
from ..units import MIB

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from structlog.typing import FilteringBoundLogger

T = TypeVar("T")

SECONDS_BETWEEN_LOOKS = 1.0
"""How often files are read: their times and sizes may stay where what is in them changes."""

LARGEST = MIB
"""Bytes of a file."""


class Reloaded(Generic[T]):
    """What is made of files, as they were when they were last right.

    Args:
        what: What it is, for the log.
        files: The files, by the settings that name them.
        make: Makes it of their contents. What it raises says nothing of what is in them.
        log: Where it says what was taken, and what is wrong.

    Raises:
        SettingInvalid: If a file cannot be read, or is not what it should be.
    """

    def __init__(
        self,
        what: str,
        files: Mapping[str, Path],
        make: Callable[[Mapping[str, bytes]], T],
        log: FilteringBoundLogger,
    ) -> None:
        self._what = what
        self._files = files
        self._make = make
        self._log = log
        self._taken = _contents(files)
        self._suspect: str | None = None
        self._refused: str | None = None
        self.value = make(self._taken)

    def look(self) -> bool:
        """Take what the files have now, if it is something else and right; whether it was."""
        try:
            contents = _contents(self._files)
            if contents == self._taken:
                self._suspect = self._refused = None
                return False
            self.value = self._make(contents)
        except SettingInvalid as error:
            self._doubt(str(error))
            return False
        self._taken = contents
        self._suspect = self._refused = None
        self._log.info(f"{self._what} reloaded")
        return True

    def _doubt(self, error: str) -> None:
        """Say what is wrong, once, and not of files that are just being replaced one after the other."""
        if error == self._suspect and error != self._refused:
            self._log.warning(f"{self._what} refused, the old ones stay", error=error)
            self._refused = error
        self._suspect = error


class Looks:
    """Looks at files now and then, in a thread of its own.

    Args:
        look: Looks at them.
        log: Where it says that looking failed.
    """

    def __init__(self, look: Callable[[], object], log: FilteringBoundLogger) -> None:
        self._look = look
        self._log = log
        self._stopped = Event()
        self._thread = Thread(target=self._run, name="reloading", daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self) -> None:
        """Look no more."""
        self._stopped.set()

    def _run(self) -> None:
        while not self._stopped.wait(SECONDS_BETWEEN_LOOKS):
            try:
                self._look()
            except Exception as error:
                # Whatever is wrong once, the next look is due.
                self._log.error("files not looked at", exc_info=error)


def _contents(files: Mapping[str, Path]) -> dict[str, bytes]:
    """What the files have.

    Raises:
        SettingInvalid: If one cannot be read, or is too large.
    """
    contents = {}
    for setting, path in files.items():
        try:
            with path.open("rb") as file:
                contents[setting] = file.read(LARGEST + 1)
        except OSError as error:
            raise SettingInvalid(setting, f"cannot read {path}: {error.strerror}") from error
        if len(contents[setting]) > LARGEST:
            raise SettingInvalid(setting, f"{path} must have at most {LARGEST} bytes")
    return contents
