"""What can be set about a server."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

KIB = 2**10
MIB = 2**20
GIB = 2**30


class SettingInvalid(ValueError):
    """A setting that the server cannot start with.

    Attributes:
        setting: Name of the attribute of ``Settings`` at fault.
        text: The rule and the value that breaks it.
    """

    def __init__(self, setting: str, text: str) -> None:
        super().__init__(f"{setting}: {text}")
        self.setting = setting
        self.text = text


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What can be set about a server; the command has a flag and an environment variable for each.

    Raises:
        SettingInvalid: If a value is out of its range, or settings contradict each other.
    """

    listen: tuple[str, ...] = ("127.0.0.1:50051",)
    """Addresses: ``host:port``, where port 0 takes a free one, ``unix:/path``, or ``unix-abstract:name``."""

    processes: int = 1
    """Server processes that the command runs, to use more cores. They share TCP ports; of Unix sockets the
    first process has the path itself, the next ones that path with ``.1``, ``.2`` and so on behind it.
    ``memory_budget`` and ``shared_memory_budget`` are divided among them; all else is each one's."""

    reuse_port: bool = False
    """Whether other servers of the same user may listen on the same TCP ports, if they allow it, too."""

    unix_socket_mode: int = 0o660
    """Permissions of the files of Unix sockets. Whoever may write to the file may call the server."""

    grace_period: float = 30.0
    """Seconds that calls in flight have to finish when the server stops."""

    linger: float = 1.0
    """Seconds between the last message of a call over TCP and its status when the server stops. With its last
    call a connection is closed, and what a proxy has not read by then is lost. They are part of
    ``grace_period``, and at most half of what a call's deadline leaves; 0 for none."""

    memory_budget: int = GIB
    """Bytes that all calls together may buffer, and that their headers may take where these are large; what
    does not fit is refused before it is allocated."""

    threads: int | None = None
    """Threads that work at once on a call on shared memory; unset: as many as the process may use cores."""

    shared_memory: bool = True
    """Whether clients on the same host may have memory that they share with the server. They get it beside
    the Unix sockets that the server listens on; without one there is none."""

    shared_memory_budget: int = 4 * GIB
    """Bytes that all regions of shared memory together may have; this is apart from ``memory_budget``."""

    shared_memory_regions: int = 1024
    """Regions of shared memory that there may be, and connections that they are handed out over. Each takes a
    file descriptor of the server."""

    shared_memory_group: str | None = None
    """Group, by name or number, whose members may have shared memory; unset: the server's own user only."""

    max_concurrent_calls: int = 2000
    """Calls in flight beyond which new ones are refused. A call holds a thread while its stream is open."""

    max_message_bytes: int = 4 * MIB
    """Size of the largest request message."""

    tls_certificate: Path | None = None
    """PEM file with the certificate chain for TCP addresses; unset: plain text, as Unix sockets are."""

    tls_key: Path | None = None
    """PEM file with the certificate's private key."""

    tls_client_ca: Path | None = None
    """PEM file with the authorities whose certificates clients must show; unset: none is asked for."""

    token_file: Path | None = None
    """File with the bearer token that every call but a health check must show; unset: none is asked for."""

    keepalive_time: float = 60.0
    """Seconds of silence after which the server pings a client, to find those that vanished."""

    keepalive_timeout: float = 20.0
    """Seconds after which a client that does not answer a ping counts as gone."""

    keepalive_min_interval: float = 10.0
    """Seconds that a client must leave between its own pings; one that pings more often is disconnected."""

    max_connection_age: float | None = None
    """Seconds after which a connection takes no new calls, for clients to find new replicas; unset: none."""

    def __post_init__(self) -> None:
        """Check the values."""
        if not self.listen:
            raise SettingInvalid("listen", "must have at least one address")
        if not 0 <= self.unix_socket_mode <= 0o777:
            raise SettingInvalid("unix_socket_mode", f"must be from 0 to 777, got {self.unix_socket_mode:o}")
        self._require("grace_period", at_least=0)
        self._require("linger", at_least=0)
        self._require("processes", at_least=1)
        self._require("memory_budget", at_least=1)
        for name in ("threads", "shared_memory_budget", "shared_memory_regions", "max_concurrent_calls"):
            self._require(name, at_least=1)
        # The least in which a header and a useful chunk fit.
        self._require("max_message_bytes", at_least=64 * KIB)
        for name in ("keepalive_time", "keepalive_timeout", "keepalive_min_interval", "max_connection_age"):
            self._require(name, at_least=1)
        if self.tls_certificate is not None and self.tls_key is None:
            raise SettingInvalid("tls_certificate", "needs its key beside it")
        if self.tls_certificate is None and (self.tls_key or self.tls_client_ca):
            raise SettingInvalid(
                "tls_key" if self.tls_key else "tls_client_ca", "needs a certificate beside it"
            )

    def _require(self, name: str, *, at_least: float) -> None:
        value = getattr(self, name)
        if value is not None and not (math.isfinite(value) and value >= at_least):
            raise SettingInvalid(name, f"must be finite and >= {at_least}, got {value}")
