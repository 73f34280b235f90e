"""A file that is there whole, or not at all."""

from __future__ import annotations

import os
import secrets
import stat
from pathlib import Path
from typing import Self

from regularization_client._errors import ArgumentError


class AtomicFile:
    """Written beside its place under another name, and moved there once it is whole and on the disk."""

    def __init__(self, path: Path) -> None:
        # A link stays a link: what it points to is replaced.
        self._path = Path(os.path.realpath(path))
        mode = _mode_of(self._path)
        self._partial = self._path.with_name(f".{self._path.name}.{secrets.token_hex(6)}.partial")
        descriptor = os.open(self._partial, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)
        self.file = os.fdopen(descriptor, "w+b")
        if mode is not None:
            os.fchmod(descriptor, mode)

    def commit(self) -> None:
        """Move the file to its place."""
        self.file.flush()
        os.fsync(self.file.fileno())
        self.file.close()
        self._partial.replace(self._path)
        directory = os.open(self._path.parent, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(directory)
        finally:
            os.close(directory)

    def discard(self) -> None:
        """Remove what has been written, unless it is in its place."""
        self._partial.unlink(missing_ok=True)
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
