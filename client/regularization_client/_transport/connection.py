"""The channels to a server, or to several, or to one embedded in this process."""

from __future__ import annotations

import ipaddress
import json
import socket
import threading
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import grpc
from grpc.experimental import ChannelOptions
from regularization.v1 import regularization_service_pb2 as service

from .._config import Compression, Retry, Tls
from .._errors import ArgumentError, UnavailableError
from .embedded import EmbeddedServer
from .replicas import Replica, Turns, Watch

Token = str | Callable[[], str]
"""A bearer token, or what returns the current one."""

_LONGEST_SILENCE = Retry().longest_silence
_COMPRESSIONS = {"gzip": grpc.Compression.Gzip, "deflate": grpc.Compression.Deflate}
_METHODS = ("Penalty", "Gradient", "ProximalStep")
LIST_REGULARIZERS = "ListRegularizers"
"""The method that gives the catalogue."""

_SERVICE = f"/{service.DESCRIPTOR.services_by_name['RegularizationService'].full_name}/"
_HEALTH = "/grpc.health.v1.Health/Check"
_OPTIONS = (
    # Of the addresses behind one name; several targets have a channel each.
    ("grpc.service_config", json.dumps({"loadBalancingConfig": [{"round_robin": {}}]})),
    # A replay waits less than a second; the channel is to have tried anew by then.
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 5_000),
    # Every channel its own connection: two clients of one process are not to share a flow control window.
    ("grpc.use_local_subchannel_pool", 1),
    (ChannelOptions.SingleThreadedUnaryStream, 1),
)


class Lane:
    """A channel, and what must be sent along with every call on it.

    Args:
        channel: Where calls go.
        token: See `Connection`.
    """

    def __init__(self, channel: grpc.Channel, token: Token | None) -> None:
        self._token = token
        self.replica: Replica | None = None
        """Which of several servers it leads to; None where there is one."""
        # Messages are bytes already. Penalty answers with one, which on the wire is a stream of one.
        self._streams: dict[str, grpc.StreamStreamMultiCallable[bytes, bytes]] = {}
        self._sends: dict[str, grpc.UnaryStreamMultiCallable[bytes, bytes]] = {}
        self._asks: dict[str, grpc.UnaryUnaryMultiCallable[bytes, bytes]] = {}
        for name in _METHODS:
            self._streams[name] = channel.stream_stream(_SERVICE + name)
        # What answers may be anything, so what it answers is read where errors are made of it.
        for name in (*_METHODS, LIST_REGULARIZERS):
            self._sends[name] = channel.unary_stream(_SERVICE + name)
            self._asks[name] = channel.unary_unary(_SERVICE + name)
        self._health: grpc.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary(_HEALTH)

    def stream(self, method: str, requests: Iterator[bytes], timeout: float | None) -> Any:
        """Call a method with a stream of messages; the answer is an iterator of messages, and the call."""
        return self._streams[method](requests, timeout=timeout, metadata=self._metadata())

    def send(self, method: str, request: bytes, timeout: float | None) -> Any:
        """Call a method with a stream of one message, without a thread to send it: a third less latency."""
        return self._sends[method](request, timeout=timeout, metadata=self._metadata())

    def ask(self, method: str, request: bytes, timeout: float | None) -> bytes | None:
        """Call a method with one message where the contract has one for an answer: the cheapest form.

        None is what gRPC gives where a server ended the call in order without any.
        """
        return self._asks[method](request, timeout=timeout, metadata=self._metadata())

    def ask_health(self, timeout: float) -> grpc.Future[bytes]:
        """Ask the standard health service, which needs no token; the answer comes later."""
        return self._health.future(b"", timeout=timeout)

    def _metadata(self) -> tuple[tuple[str, str], ...]:
        if self._token is None:
            return ()
        token = self._token if isinstance(self._token, str) else self._token()
        if not (token.isascii() and token.isprintable()):
            raise ArgumentError("a token must be printable ASCII, without a line's end")
        return (("authorization", f"Bearer {token}"),)


class Connection:
    """Open channels to a server, or to several.

    Args:
        target: See `Client`.
        tls: See `Client`.
        token: See `Client`.
        compression: See `Client`.
        channel: See `Client`.
        longest_silence: See `Retry`.
    """

    def __init__(
        self,
        target: str | Sequence[str] | None = None,
        *,
        tls: Tls | None = None,
        token: Token | None = None,
        compression: Compression | None = None,
        channel: grpc.Channel | None = None,
        longest_silence: float | None = _LONGEST_SILENCE,
    ) -> None:
        if channel is not None and (target is not None or tls is not None or compression is not None):
            raise ArgumentError(
                "channel already has a target, its encryption and its compression: give none of them with it"
            )
        if compression is not None and compression not in _COMPRESSIONS:
            raise ArgumentError(
                f"compression must be one of {', '.join(_COMPRESSIONS)} or None, got {compression!r}"
            )
        if target is None and tls is not None:
            raise ArgumentError("tls needs a target: the embedded server is in this process")
        self._token = token
        self._tls = tls
        self._compression = compression
        self._server: EmbeddedServer | None = None
        self._lock = threading.Lock()
        self._channels: list[grpc.Channel] = []
        self._lanes: list[Sequence[Lane]] = []
        """The channels that calls side by side have, each to every replica."""
        self._turns: Turns | None = None
        self.closed = False
        """Whether no calls can be made any more."""
        self.watch = Watch(longest_silence)
        """Looks after calls to one of several replicas."""
        self.address: str | None = None
        """What grpc is told to connect to; None where it was told by others."""
        if channel is not None:
            self._lanes.append([Lane(channel, token)])
            return
        if target is None:
            self._server = EmbeddedServer()
            self.address = self._server.address
        else:
            self.address = _address(target)
        if token is not None and tls is None and not stays_on_host(self.address):
            raise ArgumentError(f"a token needs tls, or it goes to {self.address!r} for all to read")
        self.lane(0)

    def lane(self, index: int) -> Lane:
        """Return one of the channels: each is a connection of its own, opened when it is first asked for.

        A channel that was given is the only one. Of several replicas it is the one whose turn it is.

        Raises:
            ArgumentError: If the connection is closed.
        """
        if self.closed:
            raise ArgumentError("the client is closed")
        if self.address is None:
            return self._lanes[0][0]
        if index >= len(self._lanes):
            with self._lock:
                while index >= len(self._lanes):
                    self._lanes.append(self._opened(_single(self.address)))
        lanes = self._lanes[index]
        return lanes[0] if self._turns is None else lanes[self._turns.next()]

    def _opened(self, addresses: Sequence[str]) -> list[Lane]:
        """Open a channel to each address."""
        lanes = []
        for address in addresses:
            self._channels.append(_open(address, self._tls, self._compression))
            lanes.append(Lane(self._channels[-1], self._token))
        if len(lanes) > 1:
            if self._turns is None:
                self._turns = Turns([Replica(lane.ask_health) for lane in lanes])
            for lane, replica in zip(lanes, self._turns.replicas, strict=True):
                lane.replica = replica
        return lanes

    @property
    def leaves_host(self) -> bool:
        """Whether what is sent may go over a network."""
        return self.address is None or not stays_on_host(self.address)

    def close(self) -> None:
        """Close the channels that were not given, and stop the embedded server."""
        self.closed = True
        for channel in self._channels:
            channel.close()
        if self._server is not None:
            self._server.stop()
            self._server = None


def _open(address: str, tls: Tls | None, compression: Compression | None) -> grpc.Channel:
    method = None if compression is None else _COMPRESSIONS[compression]
    # What stays on this host must not pass by a proxy, which http_proxy may name for everything else.
    proxy = (("grpc.enable_http_proxy", 0),) if stays_on_host(address) else ()
    options = (*_OPTIONS, *proxy)
    if tls is None:
        return grpc.insecure_channel(address, options=options, compression=method)
    credentials = grpc.ssl_channel_credentials(tls.root_certificates, tls.private_key, tls.certificate)
    name = (("grpc.ssl_target_name_override", tls.server_name),) if tls.server_name else ()
    return grpc.secure_channel(address, credentials, options=(*options, *name), compression=method)


def _single(address: str) -> list[str]:
    """Return the addresses that grpc's form for several holds."""
    scheme, colon, rest = address.partition(":")
    if scheme not in ("unix", "ipv4", "ipv6"):
        return [address]
    return [f"{scheme}{colon}{each}" for each in rest.split(",")]


def _address(target: str | Sequence[str]) -> str:
    """Return one address as grpc understands it, for one target or for several replicas."""
    targets = [target] if isinstance(target, str) else list(target)
    if not targets or not all(targets):
        raise ArgumentError(
            'target must be "host:port", "unix:/path", another of grpc\'s, or several "host:port"'
        )
    if len(targets) == 1:
        return targets[0]
    if all(each.startswith("unix:") for each in targets):
        return "unix:" + ",".join(each.removeprefix("unix:") for each in targets)
    resolved = [_resolve(each) for each in targets]
    for family, scheme in ((socket.AF_INET, "ipv4:"), (socket.AF_INET6, "ipv6:")):
        if all(family in addresses for addresses in resolved):
            return scheme + ",".join(addresses[family] for addresses in resolved)
    raise ArgumentError(f"replicas must all have an IPv4 address, or all an IPv6 one: {', '.join(targets)}")


def _resolve(target: str) -> dict[socket.AddressFamily, str]:
    """Return an address of each family for a "host:port"."""
    host, colon, port = target.rpartition(":")
    if not colon or not port.isdecimal() or "/" in host:
        raise ArgumentError(
            f'each of several targets must be "host:port", or each "unix:/path", got {target!r}'
        )
    try:
        found = socket.getaddrinfo(host.strip("[]"), int(port), type=socket.SOCK_STREAM)
    except OSError as error:
        raise UnavailableError(f"{target}: {error}", code=grpc.StatusCode.UNAVAILABLE) from error
    return {
        family: f"[{address[0]}]:{port}" if family == socket.AF_INET6 else f"{address[0]}:{port}"
        for family, *_, address in reversed(found)
    }


def stays_on_host(address: str) -> bool:
    """Whether what is sent to an address cannot leave this machine."""
    if address.startswith(("unix:", "unix-abstract:")):
        return True
    hosts = [each.rpartition(":")[0].strip("[]") for each in address.rpartition("/")[2].split(",")]
    return all(
        host.removeprefix("ipv4:").removeprefix("ipv6:").strip("[]") == "localhost" or _loopback(host)
        for host in hosts
    )


def _loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host.removeprefix("ipv4:").removeprefix("ipv6:").strip("[]")).is_loopback
    except ValueError:
        return False
