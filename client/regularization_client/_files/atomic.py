"""A file that is there whole, or not at all."""

from __future__ import annotations

import os
import secrets
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Self

from .._errors import ArgumentError


@contextmanager
def naming(path: Path, *instead_of: Path) -> Iterator[None]:
    """Give errors of the system the name of the file that they are about, where they have none.

    Args:
        path: The name.
        instead_of: Others that it is given in place of.

    Raises:
        OSError: With that name.
    """
    try:
        yield
    except OSError as error:
        if error.errno is None or error.filename not in {None, *map(str, instead_of)}:
            raise
        raise OSError(error.errno, os.strerror(error.errno), str(path)) from error


class AtomicFile:
    """Written beside its place under another name, and moved there once it is whole and on the disk.

    Raises:
        ArgumentError: If something else than a file has the name.
        OSError: If it cannot be made; with the name that was given, as in ``commit``.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        # A link stays a link: what it points to is replaced.
        self._place = Path(os.path.realpath(path))
        self._partial = self._place.with_name(f".{self._place.name}.{secrets.token_hex(6)}.partial")
        with naming(path, self._place, self._partial):
            mode = _mode_of(self._place)
            descriptor = os.open(self._partial, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)
            self.file = os.fdopen(descriptor, "w+b")
            if mode is not None:
                os.fchmod(descriptor, mode)

    def commit(self) -> None:
        """Move the file to its place."""
        with naming(self.path, self._partial):
            self.file.flush()
            os.fsync(self.file.fileno())
            self.file.close()
            self._partial.replace(self._place)
            directory = os.open(self._place.parent, os.O_RDONLY | os.O_DIRECTORY)
            try:
                os.fsync(directory)
            finally:
                os.close(directory)

    def discard(self) -> None:
        """Remove what has been written, unless it is in its place."""
        self._partial.unlink(missing_ok=True)
        # What could not be written is tried again here, in vain, and its error was told before.
        with suppress(OSError):
            self.file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.discard()


def _mode_of(path: Path) -> int | None:
    """Return the permissions of a file that is to be replaced; None where there is none yet."""
    try:
        mode = path.stat().st_mode
    except FileNotFoundError:
        return None
    if not stat.S_ISREG(mode):
        raise ArgumentError(f"{path}: is not a regular file, and will not be replaced")
    return stat.S_IMODE(mode)
