"""TCP ports: why one cannot be had, and how to keep one for several processes."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from ..settings import SettingInvalid


def host_and_port(address: str) -> tuple[str, int]:
    """The two halves of a TCP address.

    Raises:
        SettingInvalid: If it is none.
    """
    host, colon, port = address.rpartition(":")
    if not colon or not host or not port.isdecimal() or not 0 <= int(port) <= 0xFFFF:
        raise SettingInvalid("listen", f"{address!r} must be host:port, unix:/path or unix-abstract:name")
    return host, int(port)


def check_free(address: str, *, reuse_port: bool = False) -> str:
    """Check that a TCP address can be bound; why it cannot, the system says better than gRPC.

    Args:
        address: The address.
        reuse_port: Whether others may have it that allow it.

    Returns:
        Its host.

    Raises:
        SettingInvalid: If it cannot.
    """
    host, port = host_and_port(address)
    with ExitStack() as trials:
        _bind(address, host, port, trials, reuse_port=reuse_port)
    return host


@contextmanager
def reserved(address: str) -> Iterator[str]:
    """Keep a TCP address for processes that share it, as long as the context lasts: nobody else gets it.

    Nothing listens on what is kept, so no connection comes here.

    Returns:
        The address, with the port that was taken for port 0.

    Raises:
        SettingInvalid: If it cannot be bound, or another server has it.
    """
    host = check_free(address)
    with ExitStack() as kept:
        port = _bind(address, host, host_and_port(address)[1], kept, reuse_port=True)
        yield f"{host}:{port}"


def _bind(address: str, host: str, port: int, sockets: ExitStack, *, reuse_port: bool) -> int:
    """Bind every address that a host has, on one port; the port."""
    try:
        for family, kind, protocol, _, place in socket.getaddrinfo(
            host.strip("[]"), port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        ):
            listener = sockets.enter_context(socket.socket(family, kind, protocol))
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if reuse_port:
                listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            if family == socket.AF_INET6:
                listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            listener.bind((place[0], port, *place[2:]))
            port = listener.getsockname()[1]
    except OSError as error:
        raise SettingInvalid("listen", f"cannot listen on {address}: {error.strerror}") from error
    return port
