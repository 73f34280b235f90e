"""A thin, far, lossy link between two network namespaces of this host: this process passes each packet on.

It needs Linux and root. Both ends are ordinary network interfaces, so what is lost is lost to the system's
TCP, which has to send it again; unlike the system's emulator it needs no module of the kernel.
"""

from __future__ import annotations

import fcntl
import os
import random
import select
import struct
import subprocess
import threading
import time
from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from collections.abc import Callable

_CREATE, _PACKETS_ALONE = 0x400454CA, 0x1001  # TUNSETIFF; IFF_TUN | IFF_NO_PI
_LARGEST_PACKET = 2048
_SHORTEST_WAIT = 0.05


@dataclass(frozen=True)
class Quality:
    """What a link is like, the same each way.

    Args:
        bits_per_second: Its rate.
        delay: Seconds that a packet takes, once it is sent.
        loss: Which part of the packets is lost, at random.
        waiting_bytes: What may wait to be sent; further packets are lost.
    """

    bits_per_second: float
    delay: float
    loss: float = 0.0
    waiting_bytes: int = 1 << 16


@dataclass(frozen=True)
class End:
    """A namespace at one end of a link, which is made for it.

    Args:
        namespace: Its name.
        address: Its address, of IPv4.
    """

    namespace: str
    address: str

    def command(self, *command: str) -> list[str]:
        """A command that runs there."""
        return ["ip", "netns", "exec", self.namespace, *command]


@dataclass
class Traffic:
    """What went one way, with the heads of IP and TCP.

    Attributes:
        size: Bytes that were sent, those of lost packets included.
        packets: How many packets that were.
        lost: How many of them did not arrive.
    """

    size: int = 0
    packets: int = 0
    lost: int = 0


@dataclass
class _Way:
    """Packets from one end to the other."""

    source: int
    target: int
    traffic: Traffic = field(default_factory=Traffic)
    idle_from: float = 0.0
    coming: deque[tuple[float, bytes]] = field(default_factory=deque)


class Link:
    """A link that is there while the context lasts.

    Args:
        near, far: Its ends. Their namespaces must not exist.
        quality: What it is like; it may be changed.
        seed: Decides which packets are lost.

    Attributes:
        quality: What it is like from now on.
    """

    def __init__(self, near: End, far: End, quality: Quality, seed: int = 0) -> None:
        self.quality = quality
        self._ends = (near, far)
        self._random = random.Random(seed)  # noqa: S311 - weather, no secret
        self._dark_until = 0.0
        self._events: list[tuple[int, Callable[[], None]]] = []
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._carry, daemon=True)

    def __enter__(self) -> Self:
        near, far = (_interface(f"edge{i}", end) for i, end in enumerate(self._ends))
        self._ways = (_Way(near, far), _Way(far, near))
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()
        for way in self._ways:
            os.close(way.source)
        for end in self._ends:
            _ip("netns", "delete", end.namespace)

    def measure(self) -> tuple[Traffic, Traffic]:
        """Count anew, from the near end to the far one and back; what is given goes on to be counted."""
        for way in self._ways:
            way.traffic = Traffic()
        return self._ways[0].traffic, self._ways[1].traffic

    def go_dark(self, seconds: float) -> None:
        """Let nothing through for so long, without telling anybody."""
        self._dark_until = time.monotonic() + seconds

    def after(self, size: int, event: Callable[[], None]) -> None:
        """Have something happen once so many bytes have left the near end since they are counted."""
        self._events.append((size, event))

    def _carry(self) -> None:
        ways = {way.source: way for way in self._ways}
        while not self._over.is_set():
            now = time.monotonic()
            due = min((way.coming[0][0] for way in self._ways if way.coming), default=now + _SHORTEST_WAIT)
            ready, _, _ = select.select(list(ways), [], [], max(0.0, min(due - now, _SHORTEST_WAIT)))
            for source in ready:
                self._send(ways[source], os.read(source, _LARGEST_PACKET))
            now = time.monotonic()
            for way in self._ways:
                while way.coming and way.coming[0][0] <= now:
                    os.write(way.target, way.coming.popleft()[1])

    def _send(self, way: _Way, packet: bytes) -> None:
        now, quality = time.monotonic(), self.quality
        waiting = max(0.0, way.idle_from - now) * quality.bits_per_second / 8
        way.traffic.size += len(packet)
        way.traffic.packets += 1
        full = waiting + len(packet) > quality.waiting_bytes
        if full or now < self._dark_until or self._random.random() < quality.loss:
            way.traffic.lost += 1
        else:
            way.idle_from = max(now, way.idle_from) + len(packet) * 8 / quality.bits_per_second
            way.coming.append((way.idle_from + quality.delay, packet))
        if way is self._ways[0]:
            self._happen(way.traffic.size)

    def _happen(self, size: int) -> None:
        due = [event for at, event in self._events if at <= size]
        self._events = [(at, event) for at, event in self._events if at > size]
        for event in due:
            event()


def _interface(name: str, end: End) -> int:
    """A network interface in a new namespace: the file that its packets come from and go to."""
    file = os.open("/dev/net/tun", os.O_RDWR)
    fcntl.ioctl(file, _CREATE, struct.pack("16sH22x", name.encode(), _PACKETS_ALONE))
    _ip("netns", "add", end.namespace)
    _ip("link", "set", name, "netns", end.namespace)
    for command in (
        ("addr", "add", f"{end.address}/24", "dev", name),
        ("link", "set", name, "up"),
        ("link", "set", "lo", "up"),
    ):
        _ip("-n", end.namespace, *command)
    return file


def _ip(*arguments: str) -> None:
    subprocess.run(["ip", *arguments], check=True)
