"""Addresses: what may be listened on, and what stands in the way."""

from __future__ import annotations

import errno
import os
import socket
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import grpc

from .settings import SettingInvalid

if TYPE_CHECKING:
    from .settings import Settings

UNIX = "unix:"
ABSTRACT = "unix-abstract:"
LONGEST_UNIX_PATH = 107
"""Bytes that the path of a Unix socket may have on Linux."""


def listen(
    server: grpc.Server, address: str, settings: Settings, credentials: grpc.ServerCredentials | None
) -> str:
    """Bind an address.

    Returns:
        The address, with the port that was taken for port 0.

    Raises:
        SettingInvalid: If it is none, is taken, or cannot be bound.
    """
    if address.startswith(ABSTRACT):
        with _bind_errors(address):
            server.add_insecure_port(address)
        return address
    if address.startswith(UNIX):
        path = Path(address.removeprefix(UNIX).removeprefix("//"))
        _listen_on_file(server, path, settings.unix_socket_mode)
        return address
    host = _free_host(address)
    with _bind_errors(address):
        if credentials is None:
            port = server.add_insecure_port(address)
        else:
            port = server.add_secure_port(address, credentials)
    return f"{host}:{port}"


def credentials_of(settings: Settings) -> grpc.ServerCredentials | None:
    """Credentials of TCP addresses; None for plain text.

    Raises:
        SettingInvalid: If a file cannot be read, or is not what it should be.
    """
    if settings.tls_certificate is None or settings.tls_key is None:
        return None
    certificate = read_file("tls_certificate", settings.tls_certificate)
    key = read_file("tls_key", settings.tls_key)
    _check_certificate(settings.tls_certificate, settings.tls_key, settings.tls_client_ca)
    authorities = settings.tls_client_ca and read_file("tls_client_ca", settings.tls_client_ca)
    return grpc.ssl_server_credentials(
        [(key, certificate)], authorities or None, require_client_auth=authorities is not None
    )


def token_of(settings: Settings) -> bytes | None:
    """The bearer token that callers must show; None for none.

    Raises:
        SettingInvalid: If its file cannot be read, or is empty.
    """
    if settings.token_file is None:
        return None
    token = read_file("token_file", settings.token_file).strip()
    if not token:
        raise SettingInvalid("token_file", f"{settings.token_file} is empty")
    return token


def read_file(setting: str, path: Path) -> bytes:
    """The bytes of the file that a setting names.

    Raises:
        SettingInvalid: If it cannot be read.
    """
    try:
        return path.read_bytes()
    except OSError as error:
        raise SettingInvalid(setting, f"cannot read {path}: {error.strerror}") from error


def _check_certificate(certificate: Path, key: Path, authorities: Path | None) -> None:
    # gRPC takes anything and fails at the first handshake. The import costs memory that a server without TLS
    # need not spend.
    import ssl

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    try:
        context.load_cert_chain(certificate, key, password="")
    except OSError as error:
        raise SettingInvalid("tls_certificate", f"{certificate} and {key} do not work: {error}") from error
    try:
        context.load_verify_locations(authorities or certificate)
    except OSError as error:
        raise SettingInvalid("tls_client_ca", f"{authorities} has no certificates: {error}") from error


def _listen_on_file(server: grpc.Server, path: Path, mode: int) -> None:
    _clear(path)
    with _bind_errors(f"{UNIX}{path}"):
        server.add_insecure_port(f"{UNIX}{path}")
    path.chmod(mode)


def _clear(path: Path) -> None:
    """Remove what a server that is gone left there; gRPC itself would remove a living server's, too."""
    if not 0 < len(os.fsencode(path)) <= LONGEST_UNIX_PATH:
        raise SettingInvalid("listen", f"{path} must have 1 to {LONGEST_UNIX_PATH} bytes")
    with _os_errors(f"{UNIX}{path}"):
        if not path.parent.is_dir():
            raise SettingInvalid("listen", f"{UNIX}{path}: there is no directory {path.parent}")
        if not path.exists():
            return
        if not stat.S_ISSOCK(path.stat().st_mode):
            raise SettingInvalid("listen", f"{UNIX}{path} is there and is not a socket")
        with socket.socket(socket.AF_UNIX) as caller:
            caller.settimeout(1)
            if caller.connect_ex(os.fspath(path)) != errno.ECONNREFUSED:
                raise SettingInvalid("listen", f"{UNIX}{path} is in use")
        path.unlink()


def _free_host(address: str) -> str:
    """The host of a TCP address that can be bound; why it cannot, the system says better than gRPC."""
    host, colon, port = address.rpartition(":")
    if not colon or not host or not port.isdecimal() or not 0 <= int(port) <= 0xFFFF:
        raise SettingInvalid("listen", f"{address!r} must be host:port, unix:/path or unix-abstract:name")
    with _os_errors(address):
        for family, kind, protocol, _, place in socket.getaddrinfo(
            host.strip("[]"), port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        ):
            with socket.socket(family, kind, protocol) as trial:
                trial.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                if family == socket.AF_INET6:
                    trial.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
                trial.bind(place)
    return host


@contextmanager
def _os_errors(address: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise SettingInvalid("listen", f"cannot listen on {address}: {error.strerror}") from error


@contextmanager
def _bind_errors(address: str) -> Iterator[None]:
    try:
        yield
    except RuntimeError as error:
        raise SettingInvalid(
            "listen", f"cannot listen on {address}: it is in use or not available"
        ) from error
