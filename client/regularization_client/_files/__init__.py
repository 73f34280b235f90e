"""Tensor files, read and written in bounded memory: .npy, .npz and .safetensors, one or several."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from .._errors import ArgumentError
from .npy import open_npy
from .npz import NpzFile
from .safetensors import open_safetensors
from .sharded import SUFFIX, ShardedFile
from .tensors import StoredTensor, TensorFile, TensorWriter

__all__ = ["SUFFIXES", "StoredTensor", "TensorFile", "TensorWriter", "ending_of", "open_tensors"]

_OPENERS: dict[str, Callable[[Path], TensorFile]] = {
    ".npy": open_npy,
    ".npz": NpzFile,
    ".safetensors": open_safetensors,
    SUFFIX: ShardedFile,
}
SUFFIXES = tuple(_OPENERS)
"""The file names' endings that are known."""


def open_tensors(path: Path) -> TensorFile:
    """Open a tensor file, whose format its name's ending tells.

    Raises:
        ArgumentError: If the ending is unknown, or the file is damaged or not of that format.
        OSError: If it cannot be opened or read.
    """
    ending = ending_of(path)
    if ending is None:
        raise ArgumentError(f"{path}: the name must end in {', '.join(SUFFIXES)}")
    return _OPENERS[ending](path)


def ending_of(path: Path) -> str | None:
    """Return the ending of a file's name that tells its format; None where none does."""
    return next((ending for ending in SUFFIXES if path.name.lower().endswith(ending)), None)
