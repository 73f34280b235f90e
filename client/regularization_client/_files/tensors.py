"""What the file formats have in common."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Protocol, Self

import numpy as np

from .._messages import DATA_TYPES, FIXED_POINT
from .._request.stores import Sink, Source


@dataclass(frozen=True, slots=True)
class StoredTensor:
    """A tensor in a file."""

    name: str
    shape: tuple[int, ...]
    data_type: np.dtype[Any] | None
    """Its data type where the service takes it; None otherwise. bfloat16 is ``BFLOAT16_BITS``."""
    type_name: str
    """What the file calls its data type."""
    source: Source
    """Reads its elements; not to be used where ``data_type`` is None."""


def supported(data_type: np.dtype[Any]) -> np.dtype[Any] | None:
    """Return a data type, in whatever byte order, if the service takes it.

    Integers in a file are integers, and not taken: that they are meant as fixed point, no file says.
    """
    return data_type if data_type.name in DATA_TYPES and data_type.name not in FIXED_POINT else None


class TensorFile(Protocol):
    """A file of tensors, open for reading."""

    @property
    def path(self) -> Path:
        """Where it is."""

    @property
    def tensors(self) -> Mapping[str, StoredTensor]:
        """Its tensors by name, in the order of the file."""

    def writer(self, path: Path, *, keep_others: bool) -> TensorWriter:
        """Return what writes a file like this one, to a path that exists only once that is whole.

        Args:
            path: Where the file is to be; a file that is there already is replaced.
            keep_others: Whether tensors that nothing is written to keep their values; they are 0 otherwise.
        """

    def close(self) -> None:
        """Close the file."""

    def __enter__(self) -> Self: ...

    def __exit__(self, *error: object) -> None: ...


class TensorWriter(Protocol):
    """A file being written. Left as a context manager before ``commit``, it leaves nothing behind."""

    any_order: ClassVar[bool]
    """Whether tensors may be written in any order; else one after the other, as they are in the file."""

    def sink(self, name: str) -> Sink:
        """Return what takes the elements of a tensor."""

    def commit(self) -> None:
        """Give the file its name, now that it is whole."""

    def __enter__(self) -> Self: ...

    def __exit__(self, *error: object) -> None: ...
