"""NumPy's .npy: one array."""

from __future__ import annotations

from pathlib import Path
from tokenize import TokenError
from typing import IO, Any, NamedTuple, NoReturn

import numpy as np

from .._errors import ArgumentError
from .._part import SINGLE
from .raw import RawFile, length
from .tensors import supported


class NpyHeader(NamedTuple):
    """What comes before the elements."""

    shape: tuple[int, ...]
    data_type: np.dtype[Any]
    size: int
    """How many bytes it takes."""


_LONGEST_REASON = 200
"""Characters of what NumPy says: it quotes the header, whatever that is."""


def _refuse(file: IO[bytes]) -> NoReturn:
    raise ValueError("its format is a later one than 2.0")


_DAMAGES = (ValueError, EOFError, RecursionError, MemoryError, SyntaxError, TokenError, TypeError)
"""What NumPy raises of a header that is none, which it reads as Python."""

_READERS = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}


def read_header(file: IO[bytes], what: str) -> NpyHeader:
    """Read the header at the start of a file.

    Raises:
        ArgumentError: If it is none, or of an array that cannot be read row by row.
    """
    try:
        version = np.lib.format.read_magic(file)
        read = _READERS.get(version, _refuse)
        shape, fortran_order, data_type = read(file)
        if not all(type(each) is int and each >= 0 for each in shape):
            raise ValueError(f"its shape must be of numbers >= 0, is {shape}")
    except _DAMAGES as error:
        reason = str(error)[:_LONGEST_REASON]
        raise ArgumentError(f"{what}: is no .npy file that can be read: {reason}") from error
    if fortran_order and len(shape) > 1:
        raise ArgumentError(
            f"{what}: is stored column by column (Fortran order); save numpy.ascontiguousarray(array) instead"
        )
    if data_type.hasobject:
        raise ArgumentError(f"{what}: holds Python objects, not numbers")
    return NpyHeader(shape, data_type, file.tell())


def open_npy(path: Path) -> RawFile:
    """Open a .npy file.

    Raises:
        ArgumentError: If it is none, or damaged.
    """
    with path.open("rb") as file:
        header = read_header(file, str(path))
    raw = RawFile(path)
    end = header.size + length(header.shape, header.data_type)
    if raw.size != end:
        raw.close()
        raise ArgumentError(f"{path}: must have {end} bytes by its header, has {raw.size}")
    raw.add(SINGLE, header.shape, (header.size, end), supported(header.data_type), str(header.data_type))
    return raw
