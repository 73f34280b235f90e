"""Files in which every tensor is one run of raw bytes: .npy and .safetensors."""

from __future__ import annotations

import math
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np

from .._errors import ArgumentError
from .._request.stores import Elements
from .atomic import AtomicFile, naming
from .tensors import StoredTensor

_COPY_BYTES = 1 << 20


class RawFile:
    """Tensors behind a header, read by position: pages of a mapped file would count as memory in use."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.tensors: dict[str, StoredTensor] = {}
        self._places: dict[str, tuple[int, int]] = {}
        self._descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        self.size = os.fstat(self._descriptor).st_size

    def add(
        self,
        name: str,
        shape: tuple[int, ...],
        place: tuple[int, int],
        data_type: np.dtype[Any] | None,
        type_name: str,
    ) -> None:
        """Add a tensor whose bytes are at a place, begin to end, of the file."""
        source = _RawSource(self, place[0], data_type if data_type is not None else np.dtype(np.uint8))
        self.tensors[name] = StoredTensor(name, shape, data_type, type_name, source)
        self._places[name] = place

    def read(self, begin: int, end: int) -> bytes:
        """Return the bytes of the file from begin to end.

        Raises:
            ArgumentError: If it has become shorter.
            OSError: If it cannot be read; with its name.
        """
        with naming(self.path):
            data = os.pread(self._descriptor, end - begin, begin)
            while len(data) < end - begin:
                more = os.pread(self._descriptor, end - begin - len(data), begin + len(data))
                if not more:
                    raise ArgumentError(
                        f"{self.path}: ends at byte {begin + len(data)}, of {self.size} at first"
                    )
                data += more
        return data

    def writer(self, path: Path, *, keep_others: bool) -> RawWriter:
        """See ``TensorFile.writer``."""
        return RawWriter(self, path, keep_others=keep_others)

    def close(self) -> None:
        """See ``TensorFile.close``."""
        os.close(self._descriptor)

    def gaps(self, written: Iterable[str]) -> Iterable[tuple[int, int]]:
        """Yield the places of all bytes but those of the tensors that are written."""
        position = 0
        for begin, end in sorted(self._places[name] for name in written):
            yield position, begin
            position = end
        yield position, self.size

    def place(self, name: str) -> tuple[int, int]:
        """Return where the bytes of a tensor are."""
        return self._places[name]

    @property
    def header_size(self) -> int:
        """How many bytes come before the first tensor."""
        return min((begin for begin, _ in self._places.values()), default=self.size)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()


class RawWriter:
    """A file with the header and the places of another."""

    any_order: ClassVar[bool] = True

    def __init__(self, original: RawFile, path: Path, *, keep_others: bool) -> None:
        self._original = original
        self._keep_others = keep_others
        self._written: list[str] = []
        self._output = AtomicFile(path)

    def sink(self, name: str) -> _RawSink:
        """See ``TensorWriter.sink``."""
        self._written.append(name)
        data_type = self._original.tensors[name].data_type
        return _RawSink(self, self._original.place(name)[0], data_type)

    def write(self, data: bytes | memoryview, position: int) -> None:
        """Write bytes to a position of the file.

        Raises:
            OSError: If that fails; with the file's name.
        """
        rest = memoryview(data)
        with naming(self._output.path):
            while rest:
                count = os.pwrite(self._output.file.fileno(), rest, position)
                rest, position = rest[count:], position + count

    def commit(self) -> None:
        """See ``TensorWriter.commit``."""
        with naming(self._output.path):
            os.ftruncate(self._output.file.fileno(), self._original.size)
        gaps = self._original.gaps(self._written) if self._keep_others else [(0, self._original.header_size)]
        for begin, end in gaps:
            for position in range(begin, end, _COPY_BYTES):
                data = self._original.read(position, min(position + _COPY_BYTES, end))
                self.write(data, position)
        self._output.commit()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self._output.discard()


class _RawSource:
    def __init__(self, file: RawFile, begin: int, data_type: np.dtype[Any]) -> None:
        self._file = file
        self._begin = begin
        self._data_type = data_type

    def read(self, begin: int, end: int) -> bytes | memoryview:
        size = self._data_type.itemsize
        data = self._file.read(self._begin + begin * size, self._begin + end * size)
        return little_endian(data, self._data_type)


class _RawSink:
    def __init__(self, writer: RawWriter, begin: int, data_type: np.dtype[Any] | None) -> None:
        self._writer = writer
        self._begin = begin
        self._data_type = data_type

    def write(self, begin: int, values: Elements) -> None:
        stored = np.asarray(values).astype(self._data_type, copy=False)
        self._writer.write(stored.view(np.uint8).data, self._begin + begin * stored.itemsize)


def little_endian(data: bytes, data_type: np.dtype[Any]) -> bytes | memoryview:
    """Return elements of a data type, in whatever byte order, as little-endian bytes."""
    if data_type == data_type.newbyteorder("<"):
        return data
    return np.frombuffer(data, data_type).astype(data_type.newbyteorder("<")).view(np.uint8).data


def length(shape: tuple[int, ...], data_type: np.dtype[Any]) -> int:
    """Return how many bytes an array takes."""
    return math.prod(shape) * data_type.itemsize
