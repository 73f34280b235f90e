"""The channels to a server, or to several, or to one embedded in this process."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Sequence
from typing import TypeVar

import grpc
from grpc.experimental import ChannelOptions

from .._config import Compression, Retry, Tls
from .._errors import (
    ArgumentError,
    DeadlineExceededError,
    RegularizationError,
    TlsError,
    UnavailableError,
)
from .embedded import EmbeddedServer
from .lane import Lane, Token
from .replay import broke_off
from .replicas import Replica, Turns, Watch
from .targets import address_of, single_addresses, stays_on_host
from .tls_errors import why_not_connected

T = TypeVar("T")

_LONGEST_SILENCE = Retry().longest_silence
_COMPRESSIONS = {"gzip": grpc.Compression.Gzip, "deflate": grpc.Compression.Deflate}
_OPTIONS = (
    # Of the addresses behind one name; several targets have a channel each.
    ("grpc.service_config", json.dumps({"loadBalancingConfig": [{"round_robin": {}}]})),
    # All replays of a call take three seconds or more. By then each channel is to have tried anew, however
    # long its server was away: between two tries every call on it fails, though the server may be back.
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 1_000),
    # Every channel its own connection: two clients of one process are not to share a flow control window.
    ("grpc.use_local_subchannel_pool", 1),
    (ChannelOptions.SingleThreadedUnaryStream, 1),
)


class Connection:
    """Open channels to a server, or to several.

    Args:
        target: See ``Client``.
        tls: See ``Client``.
        token: See ``Client``.
        compression: See ``Client``.
        channel: See ``Client``.
        longest_silence: See ``Retry``.
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
        self._has_answered = False
        self.closed = False
        """Whether no calls can be made any more."""
        self._watch = Watch(longest_silence)
        self.address: str | None = None
        """What grpc is told to connect to; None where it was told by others."""
        if channel is not None:
            self._lanes.append([Lane(channel, token, self._watch)])
            return
        if target is None:
            self._server = EmbeddedServer()
            self.address = self._server.address
        else:
            self.address = address_of(target)
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
                    self._lanes.append(self._opened(single_addresses(self.address)))
        lanes = self._lanes[index]
        return lanes[0] if self._turns is None else lanes[self._turns.next()]

    def in_turn(self, index: int, attempt: Callable[[Lane], T]) -> T:
        """Make an attempt on a lane, at whichever replica is next, and remember how that went.

        Args:
            index: See ``lane``.
            attempt: What to do there.

        Raises:
            RegularizationError: If the attempt does.
        """
        lane = self.lane(index)
        try:
            answer = attempt(lane)
        except RegularizationError as error:
            if lane.replica is not None and (broke_off(error) or isinstance(error, DeadlineExceededError)):
                lane.replica.doubt()
            self._explain(error, lane)
            raise
        self._has_answered = True
        if lane.replica is not None:
            lane.replica.trust()
        return answer

    def _explain(self, error: RegularizationError, lane: Lane) -> None:
        """Look for what is wrong with the encryption where no call has ever come through to the one server.

        Raises:
            TlsError: If that is found.
        """
        if self._has_answered or self.address is None or lane.replica is not None:
            return
        if isinstance(error, UnavailableError) and error.reason is None:
            text = why_not_connected(self.address, self._tls)
            if text is not None:
                raise TlsError(f"{self.address}: {text}", code=error.code) from error

    def _opened(self, addresses: Sequence[str]) -> list[Lane]:
        """Open a channel to each address."""
        lanes = []
        for address in addresses:
            self._channels.append(_open(address, self._tls, self._compression))
            lanes.append(Lane(self._channels[-1], self._token, self._watch))
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
