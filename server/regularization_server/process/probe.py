"""Asking a server for its health, as orchestrators do."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    import grpc

WILDCARDS = {"0.0.0.0": "127.0.0.1", "[::]": "[::1]"}  # noqa: S104 - what is read, not what is bound
"""Where a server is called from its own host that listens on all interfaces."""


class Health(NamedTuple):
    """A server's answer, or why there is none."""

    serving: bool
    text: str
    answered: bool = True


class ProbeTls(NamedTuple):
    """Whom a probe trusts and what it shows, in PEM, and which name it expects."""

    authorities: bytes
    certificate: bytes | None = None
    key: bytes | None = None
    server_name: str | None = None


def reachable(address: str) -> str:
    """Where a server that listens on ``address`` is called from the same host."""
    host, colon, port = address.rpartition(":")
    return f"{WILDCARDS.get(host, host)}{colon}{port}"


def health_of(address: str, timeout: float, tls: ProbeTls | None) -> Health:
    """The health of a server.

    Args:
        address: Where it is called.
        timeout: Seconds that it has to answer.
        tls: None for plain text.
    """
    # The server command imports this and needs none of these before it has set their environment.
    import grpc
    from grpc_health.v1 import health_pb2, health_pb2_grpc

    with _channel(address, tls) as channel:
        try:
            answer = health_pb2_grpc.HealthStub(channel).Check(
                health_pb2.HealthCheckRequest(), timeout=timeout
            )
        except grpc.RpcError as error:
            return Health(False, f"{error.code().name}: {error.details()}", answered=False)
    serving = health_pb2.HealthCheckResponse.SERVING
    return Health(answer.status == serving, health_pb2.HealthCheckResponse.ServingStatus.Name(answer.status))


def _channel(address: str, tls: ProbeTls | None) -> grpc.Channel:
    import grpc

    if tls is None:
        return grpc.insecure_channel(address)
    credentials = grpc.ssl_channel_credentials(tls.authorities, tls.key, tls.certificate)
    name = [] if tls.server_name is None else [("grpc.ssl_target_name_override", tls.server_name)]
    return grpc.secure_channel(address, credentials, options=name)
