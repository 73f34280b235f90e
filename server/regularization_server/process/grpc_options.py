"""What gRPC is told about a server's connections and messages."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..units import KIB, MIB

if TYPE_CHECKING:
    from ..settings import Settings

SPARE_THREADS = 32
"""Threads beyond the limit of calls: for health, reflection and refusals when all calls are taken."""

FEWEST_WAITING = 3000
"""Calls of which no message is there yet that may wait for it, at least."""

MOST_PENDING = 1 << 13
"""Calls that have come and were not looked at yet. Those that were cancelled meanwhile are among them, and
whoever resets many at once should not fill the room."""

MOST_METADATA = 16 * KIB
"""Bytes of a call's headers beyond which it is refused."""

_STREAMS_IN_BUDGET = 256
"""Streams whose windows together fill the memory budget."""

_SMALLEST_WINDOW, _LARGEST_WINDOW = 16 * KIB, 4 * MIB


def most_threads(settings: Settings) -> int:
    """Threads that calls may take, those of health, reflection and refusals included."""
    return settings.max_concurrent_calls + SPARE_THREADS


def most_waiting(settings: Settings) -> int:
    """Calls of which no message is there yet that may wait for it."""
    return max(2 * most_threads(settings), FEWEST_WAITING)


def stream_window(memory_budget: int) -> int:
    """Bytes that a client may send of a stream before the server reads them.

    A stream sends at most this in a round trip: with 4 MiB, 400 MiB/s where that takes 10 ms.
    """
    return min(max(memory_budget // _STREAMS_IN_BUDGET, _SMALLEST_WINDOW), _LARGEST_WINDOW)


def grpc_options(settings: Settings, window: int) -> list[tuple[str, int]]:
    """The options of the gRPC server, by gRPC's own names."""
    options = {
        # Two servers on one address are mostly a mistake that the second should hear of.
        "grpc.so_reuseport": int(settings.reuse_port),
        "grpc.max_receive_message_length": settings.max_message_bytes,
        "grpc.max_send_message_length": -1,
        **_streams(settings, window),
        **_connections(settings),
        **_keepalive(settings),
    }
    return list(options.items())


def _streams(settings: Settings, window: int) -> dict[str, int]:
    # Of calls that come faster than threads take them, gRPC refuses some beyond the first number, and all
    # beyond the second, as CANCELLED, which nobody replays. Those beyond the limit of calls hear why instead.
    return {
        "grpc.max_concurrent_streams": settings.max_streams_per_connection,
        "grpc.server.max_pending_requests": MOST_PENDING,
        "grpc.server.max_pending_requests_hard_limit": MOST_PENDING,
        # The probe lets a stream send tens of MiB that nobody reads, and more as time goes on. A window of a
        # fixed size has no such streams, and keeps the rate of those that are read.
        "grpc.http2.bdp_probe": 0,
        "grpc.http2.lookahead_bytes": window,
    }


def _connections(settings: Settings) -> dict[str, int]:
    return {
        "grpc.max_allowed_incoming_connections": settings.max_connections,
        "grpc.server_handshake_timeout_ms": _milliseconds(settings.handshake_timeout),
        "grpc.max_connection_idle_ms": _milliseconds(settings.max_connection_idle),
        "grpc.max_connection_age_ms": _milliseconds(settings.max_connection_age),
        "grpc.max_connection_age_grace_ms": _milliseconds(settings.max_connection_age_grace),
        # Between gRPC's own two limits some calls are refused, by chance.
        "grpc.max_metadata_size": MOST_METADATA,
        "grpc.absolute_max_metadata_size": MOST_METADATA,
    }


def _keepalive(settings: Settings) -> dict[str, int]:
    return {
        "grpc.keepalive_time_ms": _milliseconds(settings.keepalive_time),
        "grpc.keepalive_timeout_ms": _milliseconds(settings.keepalive_timeout),
        # The longer of the two counts, and gRPC's own is a minute.
        "grpc.http2.ping_timeout_ms": _milliseconds(settings.keepalive_timeout),
        "grpc.keepalive_permit_without_calls": 1,
        "grpc.http2.max_pings_without_data": 0,
        "grpc.http2.min_ping_interval_without_data_ms": _milliseconds(settings.keepalive_min_interval),
    }


def _milliseconds(seconds: float) -> int:
    return round(seconds * 1000)
