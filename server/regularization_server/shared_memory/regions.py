"""Regions of memory that server and clients share: who may use one, how much there may be, how long it lasts.

A region has no name in any file system: the server makes it anonymous, and the only way to it is the
descriptor that the hand-off passes on, once. Calls name it by a handle that cannot be guessed. Nothing that
a client has made is ever mapped here.
"""

from __future__ import annotations

import errno
import fcntl
import os
import secrets
import weakref
from dataclasses import dataclass
from mmap import MAP_SHARED, PAGESIZE, mmap
from threading import RLock
from typing import NamedTuple

from regularization.hand_off import HANDLE_BYTES

from ..contract.refusals import RegionUnknown

SYSTEM_SHARES_MEMORY = hasattr(os, "memfd_create")
"""Whether the system has anonymous memory that can be sealed and passed on: Linux has."""

MAPPING_NAME = "regularization"
"""Name of regions where the system lists a process's mappings. It gives no access."""

# Of linux/memfd.h, since Linux 6.3; Python does not have it. It seals that this cannot be executed.
_MFD_NOEXEC_SEAL = 0x8


class NoRoom(Exception):
    """The budget, or the system, does not have so many bytes left."""


class TooManyRegions(Exception):
    """The server has as many regions as it may have."""


class Share(NamedTuple):
    """What one owner of regions may have at once."""

    budget: int
    """Bytes of its regions together."""
    regions: int
    """How many there may be."""


@dataclass(slots=True)
class _Held:
    """What an owner has at present."""

    used: int = 0
    mapped: int = 0


class Region:
    """A stretch of shared memory.

    It is unmapped when nobody refers to it any more: neither the connection that it came over, nor a call
    that uses it, by itself or by an array. So no call ever touches memory that is not there.

    Args:
        handle: Its name in calls.
        memory: Its bytes.
    """

    __slots__ = ("handle", "memory")

    def __init__(self, handle: bytes, memory: mmap) -> None:
        self.handle = handle
        self.memory = memory

    @property
    def size(self) -> int:
        """Number of bytes."""
        return len(self.memory)


class Regions:
    """All regions of the process. Safe to use from many threads.

    Args:
        budget: Bytes that all regions together may have, in whole pages.
        limit: Regions that there may be.
        share: What one owner may have of these; None for all.
    """

    def __init__(self, budget: int, limit: int, share: Share | None = None) -> None:
        self._budget = budget
        self._limit = limit
        self.share = share or Share(budget, limit)
        self._held: dict[int, _Held] = {}
        self._regions: dict[bytes, Region] = {}
        self._used = 0
        self._mapped = 0
        # Garbage collection may free a region in the very thread that holds the lock.
        self._lock = RLock()

    @property
    def used(self) -> int:
        """Bytes of all regions that are mapped."""
        return self._used

    @property
    def mapped(self) -> int:
        """Regions that are mapped: those that can be named, and those that a call still uses."""
        return self._mapped

    def allocate(self, size: int, owner: int) -> tuple[Region, int]:
        """Make a region of zeros.

        Args:
            size: Number of bytes.
            owner: The user who gets it.

        Returns:
            The region, and a descriptor of its memory, which the caller closes.

        Raises:
            NoRoom: If the size is 0, or exceeds what is left of the budget, of the owner's share of it, or of
                the system's memory.
            TooManyRegions: If the limit or the owner's is reached, or the process may open no more files.
        """
        taken = self._take(size, owner)
        try:
            descriptor, memory = _sealed_memory(size)
        except OSError as error:
            self._give_back(taken, owner)
            if error.errno in (errno.EMFILE, errno.ENFILE):
                raise TooManyRegions from error
            raise NoRoom from error
        weakref.finalize(memory, self._give_back, taken, owner).atexit = False
        region = Region(secrets.token_bytes(HANDLE_BYTES), memory)
        self._regions[region.handle] = region
        return region, descriptor

    def find(self, handle: bytes) -> Region:
        """The region of a handle. It lasts for as long as the caller keeps what it gets.

        Raises:
            RegionUnknown: If there is none, or none any more.
        """
        region = self._regions.get(handle)
        if region is None:
            # The handle is not repeated: it may be a region's, mistyped.
            raise RegionUnknown(
                "must be a handle that the hand-off gave, of a region that is not released and whose"
                " connection is open",
                field="region",
            )
        return region

    def release(self, handle: bytes) -> None:
        """Forget a handle; its memory goes when no call uses it any more."""
        self._regions.pop(handle, None)

    def _take(self, size: int, owner: int) -> int:
        # A mapping takes whole pages: regions of single bytes must be charged for them.
        taken = -(-size // PAGESIZE) * PAGESIZE
        with self._lock:
            held = self._held.get(owner, _Held())
            if not 0 < taken <= min(self._budget - self._used, self.share.budget - held.used):
                raise NoRoom
            if self._mapped >= self._limit or held.mapped >= self.share.regions:
                raise TooManyRegions
            self._held[owner] = _Held(held.used + taken, held.mapped + 1)
            self._used += taken
            self._mapped += 1
        return taken

    def _give_back(self, taken: int, owner: int) -> None:
        with self._lock:
            self._used -= taken
            self._mapped -= 1
            held = self._held.pop(owner)
            if held.mapped > 1:
                self._held[owner] = _Held(held.used - taken, held.mapped - 1)


def _sealed_memory(size: int) -> tuple[int, mmap]:
    """Anonymous memory that nobody can resize: touching what was cut off would kill the process."""
    descriptor = _memory_file()
    try:
        os.ftruncate(descriptor, size)
        seals = fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SEAL
        fcntl.fcntl(descriptor, fcntl.F_ADD_SEALS, seals)
        return descriptor, mmap(descriptor, size, flags=MAP_SHARED)
    except BaseException:
        os.close(descriptor)
        raise


def _memory_file() -> int:
    flags = os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING
    try:
        return os.memfd_create(MAPPING_NAME, flags | _MFD_NOEXEC_SEAL)
    except OSError as error:
        if error.errno != errno.EINVAL:
            raise
    return os.memfd_create(MAPPING_NAME, flags)
