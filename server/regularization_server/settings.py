"""What can be set about a server: each setting once, and flags, checks and documentation made of it."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, fields
from ipaddress import ip_address
from typing import TYPE_CHECKING, Any, TypeVar

from .units import IN_PYTHON, KIB, MIB, Unit

if TYPE_CHECKING:
    from pathlib import Path

T = TypeVar("T")


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


@dataclass(frozen=True, slots=True)
class Setting:
    """What is known of a setting beside its name, its type and its default.

    Attributes:
        unit: What its values are.
        words: What it sets, and what it means where it is unset.
        at_least: The least value; None where values are no numbers.
        at_most: The largest value; None for no limit.
    """

    unit: Unit
    words: str
    at_least: int | None = None
    at_most: int | None = None

    def check(self, name: str, value: Any) -> None:
        """Check a value's range.

        Raises:
            SettingInvalid: If it is outside, or the text that the command would read it from.
        """
        if isinstance(value, str) and self.unit in IN_PYTHON:
            raise SettingInvalid(name, f"must be {IN_PYTHON[self.unit]}, got the text {value!r}")
        if value is None or self.at_least is None:
            return
        if self.at_most is None:
            holds, rule = math.isfinite(value) and value >= self.at_least, f"finite and >= {self.at_least}"
        else:
            holds = self.at_least <= value <= self.at_most
            rule = f"from {self.unit.text(self.at_least)} to {self.unit.text(self.at_most)}"
        if not holds:
            got = self.unit.text(value) if self.unit is Unit.MODE else value
            raise SettingInvalid(name, f"must be {rule}, got {got}")


def _setting(
    default: T, unit: Unit, words: str, *, at_least: int | None = None, at_most: int | None = None
) -> T:
    stated: T = field(default=default, metadata={"setting": Setting(unit, words, at_least, at_most)})
    return stated


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What can be set about a server; docs/settings.md lists it, with the command's flags and variables.

    Raises:
        SettingInvalid: If a value is out of its range, or settings contradict each other.
    """

    listen: tuple[str, ...] = _setting(
        ("127.0.0.1:50051",),
        Unit.ADDRESS,
        "Where to listen: host:port (port 0 takes a free one), unix:/path or unix-abstract:name. "
        "The flag may be repeated; in the environment, spaces stand between addresses.",
    )
    processes: int = _setting(
        1,
        Unit.COUNT,
        "Server processes, to use more cores. They share TCP ports; of a Unix socket the first "
        "process has the path, the next ones path.1, path.2 and so on. Memory budgets, regions and "
        "threads are divided among them; all other settings are each one's.",
        at_least=1,
    )
    reuse_port: bool = _setting(
        False,
        Unit.SWITCH,
        "Whether other servers of the same user, if they allow it too, may share the TCP ports.",
    )
    unix_socket_mode: int = _setting(
        0o660,
        Unit.MODE,
        "Permissions of the files of Unix sockets. Whoever may write to the file may call the server.",
        at_least=0,
        at_most=0o777,
    )
    drain_delay: float = _setting(
        0.0,
        Unit.SECONDS,
        "Time between the signal to stop, when health says NOT_SERVING, and the stop: calls are still taken, "
        "while balancers and clients that ask for health turn to other replicas. The grace period follows.",
        at_least=0,
    )
    grace_period: float = _setting(
        30.0, Unit.SECONDS, "Time for calls in flight to finish when the server stops.", at_least=0
    )
    linger: float = _setting(
        1.0,
        Unit.SECONDS,
        "Time between the last message of a call over TCP and its status when the server stops: a "
        "connection closes with its last call, and what a proxy has not read by then is lost. It is "
        "part of the grace period, and at most half of what a call's deadline leaves. 0: none.",
        at_least=0,
    )
    memory_budget: int | None = _setting(
        None,
        Unit.BYTES,
        "What all calls together may hold, for instance 512MiB: elements that wait for others, large "
        "headers, messages in hand, and what may come of each stream before it is read. What does not fit is "
        "refused. Unset: 1024MiB, and in a container at most a quarter of its memory: a quarter is for "
        "shared memory, and half for the libraries, their machine code, and what threads compute in.",
        at_least=1,
    )
    memory_share_per_caller: int | None = _setting(
        None,
        Unit.PERCENT,
        "What one caller may have of the memory budget, and of shared memory. A caller is known by its "
        "token's name, its certificate's subject or its address (of IPv6 the network); for shared memory it "
        "is a user of the host. Calls over Unix sockets without a named token are all one caller's. Unset: "
        "90; and 100 for those, and of shared memory where the server's own user alone may have it.",
        at_least=1,
        at_most=100,
    )
    threads: int | None = _setting(
        None,
        Unit.COUNT,
        "Threads that may work at once on a call on shared memory, fewer of them on a short one; results do "
        "not depend on it. Unset: as many as the process may use cores.",
        at_least=1,
    )
    blas_threads: int = _setting(
        1,
        Unit.COUNT,
        "Threads of BLAS that the command computes each matrix with. They wait for each other, so more than "
        "one are for cores that nobody else uses; beside a busy trainer they take many times as long. The "
        "last bits of matrix regularizers depend on it, and on no other setting: give all replicas the same.",
        at_least=1,
    )
    cache: Path | None = _setting(
        None,
        Unit.FOLDER,
        "Where the command keeps machine code of compiled loops (extra: compiled), so that the next server "
        "has it at once. What other users could have written is left alone; where nothing can be written, "
        "nothing is kept. Unset: regularization-service in $XDG_CACHE_HOME or ~/.cache.",
    )
    warm: str | None = _setting(
        None,
        Unit.NAMES,
        "Regularizers, apart by commas, or all, whose compiled loops the command has ready soon after it "
        "serves: of the cache, or compiled beside the calls, for steps and penalties in float32 and float64 "
        "with figures, and of sums over elements for many short arrays in float32. Unset: none; a loop is "
        "taken of the cache or compiled at the first large call for it.",
    )
    plans: Path | None = _setting(
        None,
        Unit.FOLDER,
        "Folder with plans that calls may name: NAME.toml is the plan NAME, as regularize --plan takes it. "
        "At most 64, of at most 32 KiB each. A file that changes takes effect with the next call; one that "
        "is wrong then is refused, and the old plan stays. Replace files whole, by renaming. Unset: none.",
    )
    shared_memory: bool = _setting(
        True,
        Unit.SWITCH,
        "Whether clients on the same host may have memory that they share with the server. They get "
        "it beside the server's Unix sockets; without one there is none.",
    )
    shared_memory_budget: int | None = _setting(
        None,
        Unit.BYTES,
        "Size of all regions of shared memory together, in whole pages; apart from the memory budget. Unset: "
        "4096MiB, and in a container at most a quarter of its memory, in which regions count as they fill.",
        at_least=1,
    )
    shared_memory_regions: int = _setting(
        1024,
        Unit.COUNT,
        "Regions of shared memory at once, and connections that they are handed out over. Each "
        "takes a file descriptor of the server.",
        at_least=1,
    )
    max_regions_per_caller: int | None = _setting(
        None,
        Unit.COUNT,
        "Regions, and connections that they are handed out over, of one user of the host. Unset: nine tenths "
        "of all, and all of them where the server's own user alone may have shared memory.",
        at_least=1,
    )
    shared_memory_group: str | None = _setting(
        None,
        Unit.GROUP,
        "Group, by name or number, whose members may have shared memory. Unset: the server's own user only.",
    )
    max_concurrent_calls: int = _setting(
        2000,
        Unit.COUNT,
        "Calls in flight beyond which new ones are refused. A call holds a thread while its stream is open.",
        at_least=1,
    )
    max_calls_per_caller: int | None = _setting(
        None,
        Unit.COUNT,
        "Calls in flight of one caller (see --memory-share-per-caller) beyond which its new ones are "
        "refused. Unset: nine tenths of --max-concurrent-calls, and all of them over Unix sockets without a "
        "named token.",
        at_least=1,
    )
    stream_idle_timeout: float = _setting(
        60.0,
        Unit.SECONDS,
        "Time that a call may wait for its caller: for the next message, or until an answer is read. A "
        "sender wins a second back with each 256 bytes that it brings, up to this time; none with an empty "
        "chunk.",
        at_least=1,
    )
    max_call_seconds: float | None = _setting(
        3600.0,
        Unit.SECONDS,
        "Time that a call may take at all. Watching health may take longer.",
        at_least=1,
    )
    # The least in which a header and a useful chunk fit.
    max_message_bytes: int = _setting(
        4 * MIB, Unit.BYTES, "Size of the largest request message.", at_least=64 * KIB
    )
    tls_certificate: Path | None = _setting(
        None,
        Unit.FILE,
        "PEM file with the certificate chain for TCP addresses. Unset: plain text. Unix sockets are "
        "always plain text. This file, the key and the authorities are read again when they change, for "
        "new connections; what does not work then is refused, and the old stays.",
    )
    tls_key: Path | None = _setting(None, Unit.FILE, "PEM file with the certificate's private key.")
    tls_client_ca: Path | None = _setting(
        None,
        Unit.FILE,
        "PEM file with the authorities whose certificates clients must show. Unset: none is asked for.",
    )
    token_file: Path | None = _setting(
        None,
        Unit.FILE,
        "File with the bearer tokens of which all calls but health checks must show one: a single token, or "
        "lines 'name: token', of which several may have one name; '#' begins a comment. It is read again "
        "when it changes; what is wrong then is refused, and the old stays. Unset: none is asked for.",
    )
    allow_plain_token: bool = _setting(
        False,
        Unit.SWITCH,
        "Whether tokens may come over TCP without TLS from other hosts, for all on the way to read; for a "
        "proxy beside the server that ends TLS.",
    )
    keepalive_time: float = _setting(
        60.0,
        Unit.SECONDS,
        "Silence after which the server pings a client, to find those that vanished.",
        at_least=1,
    )
    keepalive_timeout: float = _setting(
        20.0, Unit.SECONDS, "Time that a client has to answer a ping before it counts as gone.", at_least=1
    )
    keepalive_min_interval: float = _setting(
        10.0,
        Unit.SECONDS,
        "Time that clients must leave between their own pings; one that pings more often is disconnected.",
        at_least=1,
    )
    max_connections: int = _setting(
        1000,
        Unit.COUNT,
        "Connections to each address at once; further ones are closed as they come. Each takes a file "
        "descriptor of the server.",
        at_least=1,
    )
    max_streams_per_connection: int = _setting(
        256,
        Unit.COUNT,
        "Calls in flight on one connection; a client holds further ones back by itself, or makes another "
        "connection. So one that begins calls and cancels them costs little.",
        at_least=1,
    )
    handshake_timeout: float = _setting(
        10.0,
        Unit.SECONDS,
        "Time that a new connection has to begin to speak TLS, where that is asked for, and HTTP/2.",
        at_least=1,
    )
    max_connection_idle: float = _setting(
        600.0,
        Unit.SECONDS,
        "Time without a call after which a connection is closed; clients make another when they need it.",
        at_least=1,
    )
    max_connection_age: float = _setting(
        3600.0,
        Unit.SECONDS,
        "Age, within a tenth, at which a connection takes no new calls, so that clients find new replicas.",
        at_least=1,
    )
    max_connection_age_grace: float = _setting(
        3600.0,
        Unit.SECONDS,
        "Time that the calls of a connection have when it is too old; those that take longer are cut off.",
        at_least=0,
    )

    health_listen: str | None = _setting(
        None,
        Unit.ADDRESS,
        "Where health is served beside the other addresses, and nothing else: host:port, unix:/path or "
        "unix-abstract:name. Always plain text, and without a token: whoever may connect may ask. Several "
        "processes share a port; of a Unix socket the next ones have path.1 and so on. Unset: nowhere else.",
    )
    metrics_listen: str | None = _setting(
        None,
        Unit.ADDRESS,
        "Where Prometheus gets the metrics of all processes together, over plain HTTP at /metrics: "
        "host:port or unix:/path. Whoever may connect may read them. Unset: none are kept.",
    )
    traces_endpoint: str | None = _setting(
        None,
        Unit.URL,
        "Collector that gets a span of each call (extra: traces), as OTLP over gRPC: http://host:4317, or "
        "https://. OpenTelemetry's standard variables set the rest, such as OTEL_TRACES_SAMPLER. Unset: none "
        "are made.",
    )

    def __post_init__(self) -> None:
        """Check the values."""
        if not self.listen or isinstance(self.listen, str):
            raise SettingInvalid("listen", f"must be a tuple of at least one address, got {self.listen!r}")
        for name, setting in SETTINGS.items():
            setting.check(name, getattr(self, name))
        if self.traces_endpoint is not None and not self.traces_endpoint.startswith(("http://", "https://")):
            text = f"must begin with http:// or https://, got {self.traces_endpoint!r}"
            raise SettingInvalid("traces_endpoint", text)
        if self.tls_certificate is not None and self.tls_key is None:
            raise SettingInvalid("tls_certificate", "needs --tls-key beside it")
        if self.tls_certificate is None and (self.tls_key or self.tls_client_ca):
            name = "tls_key" if self.tls_key else "tls_client_ca"
            raise SettingInvalid(name, "needs --tls-certificate beside it")
        # Of port 0 each has a port of its own.
        if self.health_listen in self.listen and not self.health_listen.endswith(":0"):
            text = f"must be another address than those of --listen, got {self.health_listen}"
            raise SettingInvalid("health_listen", text)
        self._check_tokens_are_encrypted()

    def _check_tokens_are_encrypted(self) -> None:
        if self.token_file is None or self.tls_certificate is not None or self.allow_plain_token:
            return
        for address in self.listen:
            if not _stays_on_host(address):
                text = f"needs TLS on {address}, or tokens are for all to read: --allow-plain-token allows it"
                raise SettingInvalid("token_file", text)


def _stays_on_host(address: str) -> bool:
    """Whether only callers on this host can reach an address."""
    host = address.rpartition(":")[0].strip("[]")
    if address.startswith("unix") or host == "localhost":
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False


SETTINGS: dict[str, Setting] = {each.name: each.metadata["setting"] for each in fields(Settings)}
"""What is known of each attribute of ``Settings``, by its name."""
