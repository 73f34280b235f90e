"""NumPy's .npz: a zip archive of .npy files, compressed or not."""

from __future__ import annotations

import lzma
import threading
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any, ClassVar, Self

import numpy as np

from .._errors import ArgumentError
from .._request.stores import Elements
from .atomic import AtomicFile, naming
from .npy import NpyHeader, read_header
from .raw import length, little_endian
from .tensors import StoredTensor, supported

_ENDING = ".npy"
_COPY_BYTES = 1 << 20
_DAMAGES = (
    zipfile.BadZipFile,
    zlib.error,
    lzma.LZMAError,
    EOFError,
    NotImplementedError,
    RuntimeError,
    UnicodeDecodeError,
)
"""What reading a member raises where the archive is damaged, encrypted, or packed in an unknown way."""


class NpzFile:
    """Arrays of an archive, each read from its start to its end."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.tensors: dict[str, StoredTensor] = {}
        self.members: dict[str, tuple[zipfile.ZipInfo, NpyHeader]] = {}
        try:
            self.archive = zipfile.ZipFile(path)
        except (*_DAMAGES, ValueError) as error:
            raise ArgumentError(f"{path}: is no .npz file, or a damaged one: {error}") from error
        try:
            for member in self.archive.infolist():
                self._add(member)
        except BaseException:
            self.close()
            raise

    def writer(self, path: Path, *, keep_others: bool) -> NpzWriter:
        """See ``TensorFile.writer``."""
        return NpzWriter(self, path, keep_others=keep_others)

    @contextmanager
    def reading(self, member: zipfile.ZipInfo) -> Iterator[None]:
        """Give errors of reading a member the names of the archive and of the member.

        Raises:
            ArgumentError: If the archive is damaged, or packed in a way that is not known.
            OSError: If it cannot be read.
        """
        try:
            with naming(self.path):
                yield
        except (*_DAMAGES, OSError) as error:
            # Of damaged data, bz2 raises one without a number.
            if isinstance(error, OSError) and error.errno is not None:
                raise
            raise ArgumentError(f"{self.path}: {member.filename}: cannot be read: {error}") from error

    def close(self) -> None:
        """See ``TensorFile.close``."""
        for tensor in self.tensors.values():
            assert isinstance(tensor.source, _NpzSource)  # noqa: S101 - of its own making
            tensor.source.close()
        self.archive.close()

    def _add(self, member: zipfile.ZipInfo) -> None:
        name = member.filename.removesuffix(_ENDING)
        what = f"{self.path}: {member.filename}"
        if name == member.filename or name in self.tensors:
            raise ArgumentError(f"{what}: a .npz file has only .npy members, each once")
        with self.reading(member), self.archive.open(member) as file:
            header = read_header(file, what)
        size = header.size + length(header.shape, header.data_type)
        if member.file_size != size:
            raise ArgumentError(f"{what}: must have {size} bytes by its header, has {member.file_size}")
        source = _NpzSource(self, member, header)
        self.members[name] = member, header
        self.tensors[name] = StoredTensor(
            name, header.shape, supported(header.data_type), str(header.data_type), source
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()


class NpzWriter:
    """An archive with the members of another, written one after the other."""

    any_order: ClassVar[bool] = False

    def __init__(self, original: NpzFile, path: Path, *, keep_others: bool) -> None:
        self._original = original
        self._keep_others = keep_others
        self._waiting = list(original.members)
        self._member: IO[bytes] | None = None
        self._output = AtomicFile(path)
        self._archive = zipfile.ZipFile(self._output.file, "w", allowZip64=True)

    def sink(self, name: str) -> _NpzSink:
        """See ``TensorWriter.sink``."""
        return _NpzSink(self, name, self._original.members[name][1].data_type)

    def write(self, name: str, data: memoryview) -> None:
        """Write what comes next of a tensor; all before it are finished.

        Raises:
            OSError: If that fails; with the file's name.
        """
        with naming(self._output.path):
            while self._member is None or name in self._waiting:
                following = self._begin_next()
                if following != name:
                    self._fill(following)
            self._member.write(data)

    def commit(self) -> None:
        """See ``TensorWriter.commit``."""
        with naming(self._output.path):
            while self._waiting:
                self._fill(self._begin_next())
            self._end_member()
            self._archive.close()
        self._output.commit()

    def _begin_next(self) -> str:
        self._end_member()
        name = self._waiting.pop(0)
        original, header = self._original.members[name]
        information = zipfile.ZipInfo(original.filename, original.date_time)
        information.compress_type = original.compress_type
        information.external_attr = original.external_attr
        self._member = self._archive.open(information, "w", force_zip64=True)
        with self._original.reading(original), self._original.archive.open(original) as file:
            start = file.read(header.size)
        self._member.write(start)
        return name

    def _fill(self, name: str) -> None:
        """Write the elements of a member that no sink has written to."""
        original, header = self._original.members[name]
        assert self._member is not None  # noqa: S101 - just begun
        with self._original.archive.open(original) as file:
            file.seek(header.size)
            while True:
                with self._original.reading(original):
                    data = file.read(_COPY_BYTES)
                if not data:
                    break
                self._member.write(data if self._keep_others else bytes(len(data)))

    def _end_member(self) -> None:
        if self._member is not None:
            self._member.close()
            self._member = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        try:
            # An archive that is dropped unclosed would close itself later, into a file that is gone. What
            # could not be written before is tried again, in vain.
            with suppress(OSError, ValueError):
                self._end_member()
            with suppress(OSError, ValueError):
                self._archive.close()
        finally:
            self._output.discard()


class _NpzSource:
    def __init__(self, archive: NpzFile, member: zipfile.ZipInfo, header: NpyHeader) -> None:
        self._archive = archive
        self._info = member
        self._header = header
        self._file: IO[bytes] | None = None
        self._lock = threading.Lock()

    def read(self, begin: int, end: int) -> bytes | memoryview:
        size = self._header.data_type.itemsize
        with self._lock, self._archive.reading(self._info):
            if self._file is None:
                self._file = self._archive.archive.open(self._info)
            place = self._header.size + begin * size
            if self._file.tell() != place:
                self._file.seek(place)
            data = self._file.read((end - begin) * size)
            if place + len(data) == self._info.file_size:
                self._file.close()
                self._file = None
        if len(data) < (end - begin) * size:
            raise ArgumentError(f"{self._archive.path}: {self._info.filename}: ends early")
        return little_endian(data, self._header.data_type)

    def close(self) -> None:
        with self._lock:
            if self._file is not None:
                self._file.close()
                self._file = None


class _NpzSink:
    def __init__(self, writer: NpzWriter, name: str, data_type: np.dtype[Any]) -> None:
        self._writer = writer
        self._name = name
        self._data_type = data_type

    def write(self, begin: int, values: Elements) -> None:
        stored = np.asarray(values).astype(self._data_type, copy=False)
        self._writer.write(self._name, stored.view(np.uint8).data)
