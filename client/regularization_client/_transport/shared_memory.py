"""Arrays in memory that is shared with the server."""

from __future__ import annotations

import math
import threading
import weakref
from bisect import bisect_right
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from operator import index
from types import TracebackType
from typing import Any, Generic, NamedTuple, TypeVar

import numpy as np
import numpy.typing as npt

from .._errors import ArgumentError, SharedMemoryError
from .._messages import wire_type
from .._request.arrays import AnyArray
from .base import Conditions
from .hand_off import HandOff, Memory
from .replay import replayed

ArraysT_co = TypeVar("ArraysT_co", covariant=True)
"""An array, or a dict of them."""

Shape = int | Sequence[int]
"""The shape of an array."""


class Shared(Generic[ArraysT_co]):
    """Memory that client and server share, as an array or as several: what ``Client.shared_array`` returns.

    It is a context manager, whose value is the arrays; or ``release`` it; or leave it to ``Client.close``.
    After that the arrays, and whatever views them, stay what they are, as ordinary memory of this process.
    """

    def __init__(self, arrays: ArraysT_co, release: Callable[[], None]) -> None:
        self._arrays = arrays
        self._release = release

    @property
    def arrays(self) -> ArraysT_co:
        """The array, or the dict of them."""
        return self._arrays

    def __enter__(self) -> ArraysT_co:
        return self._arrays

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.release()

    def release(self) -> None:
        """Share the memory no longer. Releasing again does nothing."""
        self._release()


class Location(NamedTuple):
    """Bytes of a region."""

    region: bytes
    """Its handle."""

    offset: int
    length: int

    def overlaps(self, other: Location) -> bool:
        """Whether they have bytes in common."""
        return (
            self.region == other.region
            and self.offset < other.offset + other.length
            and other.offset < self.offset + self.length
        )


@dataclass(frozen=True, slots=True, eq=False)
class _Region:
    """Memory as it is mapped here. While it is listed, no other memory can come to its addresses."""

    address: int
    memory: Memory
    content: npt.NDArray[np.uint8]

    @property
    def end(self) -> int:
        """One past its last address."""
        return self.address + self.content.size


class _Found(NamedTuple):
    """Where arrays lay when they were looked for."""

    regions: tuple[_Region, ...]
    """What was shared then."""

    arrays: list[weakref.ref[AnyArray]]

    location: Location


_MANY = 16
"""Arrays from which on it pays to remember where they lie: NumPy takes its time to tell an address."""

_FINDS_KEPT = 8
"""A call asks for the parameters, an operand or two, and the result."""


class SharedMemory:
    """All memory that a client shares with its server. Several threads may use it.

    Args:
        address: Of the server, as grpc understands it; None where the client does not know.
    """

    def __init__(self, address: str | None) -> None:
        self._address = address
        self._lock = threading.Lock()
        self._closed = False
        self._hand_off: HandOff | None = None
        # By address. Replaced as a whole, so that calls read it without the lock.
        self._regions: tuple[_Region, ...] = ()
        self._finds: dict[tuple[int, ...], _Found] = {}

    @property
    def empty(self) -> bool:
        """Whether there is none."""
        return not self._regions

    def arrays(
        self, shapes: Mapping[str, Shape], data_type: npt.DTypeLike, conditions: Conditions
    ) -> Shared[dict[str, AnyArray]]:
        """Return arrays of zeros, side by side in one region.

        Raises:
            RegularizationError: If there is no such memory: see the tree there.
        """
        little = wire_type(np.dtype(data_type), "a shared array")
        whole = {name: _checked(shape) for name, shape in shapes.items()}
        size = sum(map(math.prod, whole.values())) * little.itemsize
        region = self._region(size, conditions) if size else None
        content = np.empty(0, np.uint8) if region is None else region.content
        arrays, begin = {}, 0
        for name, shape in whole.items():
            end = begin + math.prod(shape) * little.itemsize
            arrays[name] = content[begin:end].view(little).reshape(shape)
            begin = end
        return Shared(arrays, lambda: self._release(region))

    def locate(self, arrays: Collection[AnyArray], data_type: np.dtype[Any]) -> Location | None:
        """Return where arrays lie, if one after the other without a gap, in one region; else None.

        A trainer asks with the same arrays at every step, so where many lie is remembered.

        Args:
            arrays: Some, not all of them empty.
            data_type: What their elements must be.
        """
        if len(arrays) < _MANY:
            return self._located(arrays, data_type, self._regions)
        key, regions = tuple(map(id, arrays)), self._regions
        found = self._finds.get(key)
        if found is not None and found.regions is regions and _are_the_same(found.arrays, arrays, data_type):
            return found.location
        location = self._located(arrays, data_type, regions)
        if location is not None:
            with self._lock:
                while len(self._finds) >= _FINDS_KEPT:
                    del self._finds[next(iter(self._finds))]
                self._finds[key] = _Found(regions, list(map(weakref.ref, arrays)), location)
        return location

    @staticmethod
    def _located(
        arrays: Iterable[AnyArray], data_type: np.dtype[Any], regions: tuple[_Region, ...]
    ) -> Location | None:
        begin = end = 0
        for array in arrays:
            if array.size == 0:
                continue
            address = array.__array_interface__["data"][0]
            if array.dtype != data_type or not array.flags.c_contiguous or end not in (0, address):
                return None
            begin, end = begin or address, address + array.nbytes
        at = bisect_right(regions, begin, key=lambda region: region.address) - 1
        if at < 0 or end > regions[at].end or (begin - regions[at].address) % data_type.itemsize:
            return None
        return Location(regions[at].memory.handle, begin - regions[at].address, end - begin)

    def server_gone(self) -> bool:
        """Whether the server that shares memory is no more, as far as that shows in short time."""
        with self._lock:
            return self._hand_off is None or self._hand_off.closed_by_server()

    def forget(self, handles: Collection[bytes]) -> None:
        """Take regions for ordinary memory from now on: the server does not know them any more."""
        with self._lock:
            self._regions = tuple(each for each in self._regions if each.memory.handle not in handles)

    def close(self) -> None:
        """Share nothing any more. Closing again does nothing."""
        with self._lock:
            self._closed = True
            self._drop()

    def _region(self, size: int, conditions: Conditions) -> _Region:
        memory = replayed(lambda timeout: self._memory(size, timeout), conditions)
        content = np.frombuffer(memory.content, np.uint8)
        region = _Region(content.__array_interface__["data"][0], memory, content)
        with self._lock:
            self._regions = tuple(sorted((*self._regions, region), key=lambda each: each.address))
        return region

    def _memory(self, size: int, timeout: float | None) -> Memory:
        with self._lock:
            if self._closed:
                raise SharedMemoryError("the client is closed")
            if self._hand_off is not None:
                try:
                    return self._hand_off.allocate(size)
                except ConnectionError:
                    # That server is gone, and so is all that it knew; maybe there is another now.
                    self._drop()
            self._hand_off = HandOff(_path(self._address), timeout)
            try:
                return self._hand_off.allocate(size)
            except ConnectionError as error:
                self._drop()
                raise SharedMemoryError(
                    f"the server closed the hand-off of shared memory: {error}; it shares memory with its "
                    "own user only, or with the group that it is told"
                ) from error

    def _release(self, region: _Region | None) -> None:
        with self._lock:
            if region is None or region not in self._regions:
                return
            self._regions = tuple(each for each in self._regions if each is not region)
            if self._hand_off is not None:
                self._hand_off.release(region.memory.handle)

    def _drop(self) -> None:
        self._regions = ()
        if self._hand_off is not None:
            self._hand_off.close()
            self._hand_off = None


def _are_the_same(
    known: Iterable[weakref.ref[AnyArray]], arrays: Iterable[AnyArray], data_type: np.dtype[Any]
) -> bool:
    """Whether arrays are those that were known, and have been left as they were."""
    return all(
        reference() is array and array.dtype == data_type and array.flags.c_contiguous
        for reference, array in zip(known, arrays, strict=True)
    )


def _path(address: str | None) -> str:
    """Return the path of the Unix socket of an address; an abstract one's begins with a NUL.

    Raises:
        SharedMemoryError: If that is none.
    """
    if address is None:
        raise SharedMemoryError("shared memory needs a target: a channel does not say where its server is")
    scheme, _, path = address.partition(":")
    if scheme not in ("unix", "unix-abstract"):
        raise SharedMemoryError(
            f"shared memory needs a server on this host, and a target of the form unix:/path, got {address}"
        )
    if "," in path:
        raise SharedMemoryError(f"shared memory is shared with one server, and there are several: {address}")
    return path.removeprefix("//") if scheme == "unix" else f"\0{path}"


def _checked(shape: Shape) -> tuple[int, ...]:
    whole = tuple(map(index, shape)) if isinstance(shape, Iterable) else (index(shape),)
    if any(length < 0 for length in whole):
        raise ArgumentError(f"shape must have lengths >= 0, got {shape}")
    return whole
