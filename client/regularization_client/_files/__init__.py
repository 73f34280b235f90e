"""Tensor files, read and written in bounded memory: .npy, .npz and .safetensors."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from .._errors import ArgumentError
from .npy import open_npy
from .npz import NpzFile
from .safetensors import open_safetensors
from .tensors import StoredTensor, TensorFile, TensorWriter

__all__ = ["SUFFIXES", "StoredTensor", "TensorFile", "TensorWriter", "open_tensors"]

_OPENERS: dict[str, Callable[[Path], TensorFile]] = {
    ".npy": open_npy,
    ".npz": NpzFile,
    ".safetensors": open_safetensors,
}
SUFFIXES = tuple(_OPENERS)
"""The file names' endings that are known."""


def open_tensors(path: Path) -> TensorFile:
    """Open a tensor file, whose format its name's ending tells.

    Raises:
        ArgumentError: If the ending is unknown, or the file is damaged or not of that format.
        OSError: If it cannot be opened or read.
    """
    opener = _OPENERS.get(path.suffix.lower())
    if opener is None:
        raise ArgumentError(f"{path}: the name must end in {', '.join(SUFFIXES)}")
    return opener(path)
