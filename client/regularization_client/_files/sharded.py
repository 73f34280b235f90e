"""Models in several .safetensors files, of which an index says where each tensor is."""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any, ClassVar, Self

from .._errors import ArgumentError
from .._request.stores import Sink
from .atomic import AtomicFile
from .raw import RawFile, RawWriter
from .safetensors import each_once, open_safetensors
from .tensors import StoredTensor

SUFFIX = ".safetensors.index.json"
"""How the name of an index ends."""

_LARGEST_INDEX = 100_000_000
_MAP = "weight_map"


class ShardedFile:
    """The tensors of an index, in the order of its files and of the tensors in each.

    Raises:
        ArgumentError: If the index, or a file that it names, is none or damaged, or they do not fit together.
        OSError: If one cannot be opened or read.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.tensors: dict[str, StoredTensor] = {}
        self.shards: dict[str, RawFile] = {}
        self.content = _content(path)
        self._places = places = _places(path, self.content)
        with ExitStack() as stack:
            for name in dict.fromkeys(places.values()):
                self.shards[name] = stack.enter_context(open_safetensors(path.with_name(name)))
            self._collect(places)
            self._open = stack.pop_all()

    def _collect(self, places: Mapping[str, str]) -> None:
        for name, shard in self.shards.items():
            found = {key: tensor for key, tensor in shard.tensors.items() if places.get(key) == name}
            self.tensors |= found
        missing = next((key for key in places if key not in self.tensors), None)
        if missing is not None:
            raise ArgumentError(
                f"{self.path}: {places[missing]!r} must have tensor {missing!r}, and has not", segment=missing
            )

    def shard_of(self, name: str) -> str:
        """Return the name of the file that a tensor is in."""
        return self._places[name]

    def writer(self, path: Path, *, keep_others: bool) -> ShardedWriter:
        """See ``TensorFile.writer``: an index, and the files that it names beside it.

        Raises:
            ArgumentError: If that would write over files of this index under the name of another.
        """
        there, here = path.resolve(), self.path.resolve()
        if there.parent == here.parent and there != here:
            raise ArgumentError(
                f"{path}: must be in another folder than {self.path}, whose files would be written over, or "
                "the same file"
            )
        return ShardedWriter(self, path, keep_others=keep_others)

    def close(self) -> None:
        """See ``TensorFile.close``."""
        self._open.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()


class ShardedWriter:
    """An index like another, and files beside it. Each is there whole or not at all; the index comes last."""

    any_order: ClassVar[bool] = True

    def __init__(self, original: ShardedFile, path: Path, *, keep_others: bool) -> None:
        self._original = original
        self._writers: dict[str, RawWriter] = {}
        with ExitStack() as stack:
            for name, shard in original.shards.items():
                writer = shard.writer(path.with_name(name), keep_others=keep_others)
                self._writers[name] = stack.enter_context(writer)
            self._index = stack.enter_context(AtomicFile(path))
            self._open = stack.pop_all()

    def sink(self, name: str) -> Sink:
        """See ``TensorWriter.sink``."""
        return self._writers[self._original.shard_of(name)].sink(name)

    def commit(self) -> None:
        """See ``TensorWriter.commit``."""
        for writer in self._writers.values():
            writer.commit()
        self._index.file.write(self._original.content)
        self._index.commit()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self._open.close()


def _content(path: Path) -> bytes:
    with path.open("rb") as file:
        content = file.read(_LARGEST_INDEX + 1)
    if len(content) > _LARGEST_INDEX:
        raise ArgumentError(f"{path}: must have at most {_LARGEST_INDEX} bytes")
    return content


def _places(path: Path, content: bytes) -> dict[str, str]:
    """Return the name of each tensor's file."""
    try:
        index: Any = json.loads(content, object_pairs_hook=each_once)
    except (ValueError, RecursionError) as error:
        raise ArgumentError(f"{path}: is no index of .safetensors files: {error}") from error
    places = index.get(_MAP) if isinstance(index, dict) else None
    if not isinstance(places, dict):
        raise ArgumentError(f"{path}: must have an object {_MAP!r}, which names the file of each tensor")
    for name, file in places.items():
        if not _is_beside(file):
            raise ArgumentError(
                f"{path}: tensor {name!r} must be in a .safetensors file beside the index, not in {file!r}",
                segment=name,
            )
    return places


def _is_beside(file: Any) -> bool:
    """Whether it names a file beside the index: another would let an index read, and write over, any file."""
    is_name = isinstance(file, str) and file.isprintable() and Path(file).name == file
    return is_name and file.endswith(".safetensors")
