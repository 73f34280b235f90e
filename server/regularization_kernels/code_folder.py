"""A folder of machine code, for the next process: found by all that the code was made of.

Code from a file is executed, so a file counts only where nobody else can have written it: this process's
user or root owns it and its folder, and others may not write to either. A file that is damaged, or
was made of something else, is not there; a folder that cannot be written is read.
"""

from __future__ import annotations

import hashlib
import json
import os
import stat
import sys
from collections.abc import Hashable
from contextlib import suppress
from dataclasses import fields, is_dataclass
from enum import Enum
from functools import cache, partial
from pathlib import Path
from types import CodeType, FunctionType
from typing import Any

import numpy as np

from .machine_code import MachineCode, processor

_PACKAGE = __name__.rpartition(".")[0]
_SUFFIX = ".loop"
_MAGIC = b"regularization loop 1\n"
LARGEST = 1 << 26
"""Bytes of packed code that is read: a loop has a few thousand."""
_DIGEST = hashlib.sha256().digest_size


class CodeFolder:
    """Machine code in files.

    Args:
        path: The folder; it is made where it is not there.
    """

    def __init__(self, path: Path) -> None:
        self._path = path

    def is_empty(self) -> bool:
        """Whether there is nothing that could be read."""
        try:
            return not any(each.suffix == _SUFFIX for each in self._path.iterdir())
        except OSError:
            return True

    def get(self, variant: Hashable) -> MachineCode | None:
        """The machine code of a loop, if it is there and can be trusted."""
        name = name_of(variant)
        if name is None:
            return None
        with suppress(OSError, ValueError):
            return unpacked(self._read(name), name)
        return None

    def put(self, variant: Hashable, code: MachineCode) -> None:
        """Keep the machine code of a loop, where that can be."""
        name = name_of(variant)
        if name is None:
            return
        with suppress(OSError):
            self._path.mkdir(mode=0o700, parents=True, exist_ok=True)
            _check_owner(self._path.stat())
            self._write(name, packed(code, name))

    def _read(self, name: str) -> bytes:
        """The bytes of a file.

        Raises:
            OSError: If it cannot be read, or another user may have written it.
        """
        _check_owner(self._path.stat())
        descriptor = os.open(self._path / f"{name}{_SUFFIX}", os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
        with os.fdopen(descriptor, "rb") as file:
            status = os.fstat(descriptor)
            _check_owner(status)
            if not stat.S_ISREG(status.st_mode):
                raise OSError
            return file.read(LARGEST)

    def _write(self, name: str, data: bytes) -> None:
        from tempfile import mkstemp

        descriptor, temporary = mkstemp(dir=self._path)
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.write(data)
            Path(temporary).replace(self._path / f"{name}{_SUFFIX}")
        except BaseException:
            Path(temporary).unlink(missing_ok=True)
            raise


def _check_owner(status: os.stat_result) -> None:
    """Check that nobody but this process's user and root may have written something.

    Raises:
        OSError: If another user may have.
    """
    if status.st_uid not in {0, os.geteuid()} or status.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        raise PermissionError


def packed(code: MachineCode, name: str) -> bytes:
    """Machine code as bytes, with a checksum and the name that it goes by."""
    said = {
        "name": name,
        "arguments": code.arguments,
        "spread": code.spread,
    }
    body = json.dumps(said).encode() + b"\n" + code.image
    return _MAGIC + hashlib.sha256(body).digest() + body


def unpacked(data: bytes, name: str) -> MachineCode:
    """What was packed under that name.

    Raises:
        ValueError: If it is not that, to the byte.
    """
    begin = len(_MAGIC) + _DIGEST
    body = data[begin:]
    if data[:begin] != _MAGIC + hashlib.sha256(body).digest():
        raise ValueError("damaged")
    head, _, image = body.partition(b"\n")
    said = json.loads(head)
    if said["name"] != name:
        raise ValueError("another loop's")
    return MachineCode(image, said["arguments"], said["spread"])


def name_of(variant: Hashable) -> str | None:
    """The name of a loop's file: a digest of all that its code is made of.

    Returns:
        None where that is more than this package, so that a change of it would not be noticed.
    """
    try:
        described = repr(_described(variant))
    except (_UnknownError, RecursionError):
        return None
    return hashlib.sha256(f"{_environment()}\n{described}".encode()).hexdigest()


@cache
def _environment() -> str:
    """A digest of what all code is made of: this package, what compiles it, and for which processor."""
    from importlib.metadata import version  # which takes longer than all the rest, at every start

    root = Path(__file__).parent
    digest = hashlib.sha256()
    for path in sorted(root.rglob("*.py")):
        digest.update(repr((path.relative_to(root).as_posix(), path.read_bytes())).encode())
    versions = [(name, version(name)) for name in ("numba", "llvmlite", "numpy")]
    options = sorted(each for each in os.environ.items() if each[0].startswith("NUMBA_"))
    python = sys.version, sys.implementation.cache_tag
    digest.update(repr((versions, python, os.uname().machine, processor(), options)).encode())
    return digest.hexdigest()


class _UnknownError(Exception):
    """Something has no description that is the same in the next process."""


def _described(value: Any) -> Any:
    """The same in words, which are the same in every process."""
    if value is None or isinstance(value, bool | int | float | str | bytes):
        return value
    if isinstance(value, Enum):
        return type(value).__qualname__, value.name
    if isinstance(value, np.dtype):
        return value.name, value.str
    if isinstance(value, tuple):
        return tuple(map(_described, value))
    if isinstance(value, frozenset):
        return sorted(repr(_described(each)) for each in value)
    if isinstance(value, type):
        return value.__module__, value.__qualname__
    if isinstance(value, CodeType):
        return value.co_name, value.co_firstlineno, value.co_code, _described(value.co_consts), value.co_names
    if isinstance(value, partial):
        return _described((value.func, value.args, *sorted(value.keywords.items())))
    if is_dataclass(value):
        return type(value).__qualname__, *(_described(getattr(value, each.name)) for each in fields(value))
    return _described_function(getattr(value, "__wrapped__", value))


def _described_function(function: Any) -> Any:
    """One of this package, whose source is a part of every name."""
    if not isinstance(function, FunctionType) or not f"{function.__module__}.".startswith(f"{_PACKAGE}."):
        raise _UnknownError
    held = tuple(cell.cell_contents for cell in function.__closure__ or ())
    return (
        function.__module__,
        function.__qualname__,
        *map(_described, (function.__code__, held, function.__defaults__)),
    )
