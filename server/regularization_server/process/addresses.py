"""Addresses: what may be listened on, and what stands in the way."""

from __future__ import annotations

import errno
import grp
import os
import socket
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import grpc
from regularization.hand_off import SUFFIX as HAND_OFF_SUFFIX

from ..settings import SettingInvalid
from .ports import check_free

if TYPE_CHECKING:
    from ..settings import Settings

UNIX = "unix:"
ABSTRACT = "unix-abstract:"
LONGEST_UNIX_PATH = 107
"""Bytes that the path of a Unix socket may have on Linux."""


@dataclass(frozen=True)
class HandOffListener:
    """A socket that listens beside one of the server's, and the file that it made, unless it is abstract."""

    socket: socket.socket
    file: Path | None = None
    inode: int = 0

    def close(self) -> None:
        """Listen no more, and remove the file, unless it is another server's by now."""
        if self.file is not None and self.file.exists() and self.file.stat().st_ino == self.inode:
            self.file.unlink()
        self.socket.close()


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
        path = _path_of(address)
        _listen_on_file(server, path, settings.unix_socket_mode)
        return address
    host = check_free(address, reuse_port=settings.reuse_port)
    with _bind_errors(address):
        if credentials is None:
            port = server.add_insecure_port(address)
        else:
            port = server.add_secure_port(address, credentials)
    return f"{host}:{port}"


def is_unix(address: str) -> bool:
    """Whether an address is of a Unix socket, with a file or without."""
    return address.startswith((UNIX, ABSTRACT))


def listen_for_hand_off(address: str, group: int | None) -> HandOffListener:
    """Listen beside the address of a Unix socket for clients that want shared memory.

    Args:
        address: Of the server.
        group: Whose members may come, beside the server's own user; None for nobody else.

    Raises:
        SettingInvalid: If that is not possible.
    """
    listener = socket.socket(socket.AF_UNIX)
    listener.setblocking(False)
    try:
        if address.startswith(ABSTRACT):
            with _os_errors(address + HAND_OFF_SUFFIX, "shared_memory"):
                listener.bind(f"\0{address.removeprefix(ABSTRACT)}{HAND_OFF_SUFFIX}")
                listener.listen()
            return HandOffListener(listener)
        path = Path(str(_path_of(address)) + HAND_OFF_SUFFIX)
        _clear(path, "shared_memory")
        with _os_errors(f"{UNIX}{path}", "shared_memory"):
            listener.bind(os.fspath(path))
        # Nobody can connect before it listens, so nobody comes before the file's permissions are right.
        _restrict(path, group)
        listener.listen()
        return HandOffListener(listener, path, path.stat().st_ino)
    except SettingInvalid:
        listener.close()
        raise


def group_of(settings: Settings) -> int | None:
    """Number of the group that may have shared memory; None where none is set.

    Raises:
        SettingInvalid: If there is no such group.
    """
    group = settings.shared_memory_group
    if group is None or group.isdecimal():
        return None if group is None else int(group)
    try:
        return grp.getgrnam(group).gr_gid
    except KeyError as error:
        raise SettingInvalid("shared_memory_group", f"there is no group {group!r}") from error


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
        SettingInvalid: If its file cannot be read, is empty, or has what no header can show.
    """
    if settings.token_file is None:
        return None
    token = read_file("token_file", settings.token_file).strip()
    if not token:
        raise SettingInvalid("token_file", f"{settings.token_file} is empty")
    if not all(ord("!") <= byte <= ord("~") for byte in token):
        text = f"{settings.token_file} must have one token of visible ASCII characters, without spaces"
        raise SettingInvalid("token_file", text)
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


def _path_of(address: str) -> Path:
    return Path(address.removeprefix(UNIX).removeprefix("//"))


def _restrict(path: Path, group: int | None) -> None:
    """Let the server's user alone come to a socket's file, and a group's members where there is one."""
    path.chmod(0o600 if group is None else 0o660)
    if group is not None:
        try:
            os.chown(path, -1, group)
        except (OSError, OverflowError) as error:
            path.unlink()
            text = f"cannot give {path} to group {group}: {error}"
            raise SettingInvalid("shared_memory_group", text) from error


def _listen_on_file(server: grpc.Server, path: Path, mode: int) -> None:
    _clear(path)
    with _bind_errors(f"{UNIX}{path}"):
        server.add_insecure_port(f"{UNIX}{path}")
    path.chmod(mode)


def _clear(path: Path, setting: str = "listen") -> None:
    """Remove what a server that is gone left there; gRPC itself would remove a living server's, too."""
    if not 0 < len(os.fsencode(path)) <= LONGEST_UNIX_PATH:
        raise SettingInvalid(setting, f"{path} must have 1 to {LONGEST_UNIX_PATH} bytes")
    with _os_errors(f"{UNIX}{path}", setting):
        if not path.parent.is_dir():
            raise SettingInvalid(setting, f"{UNIX}{path}: there is no directory {path.parent}")
        if not path.exists():
            return
        if not stat.S_ISSOCK(path.stat().st_mode):
            raise SettingInvalid(setting, f"{UNIX}{path} is there and is not a socket")
        with socket.socket(socket.AF_UNIX) as caller:
            caller.settimeout(1)
            if caller.connect_ex(os.fspath(path)) != errno.ECONNREFUSED:
                raise SettingInvalid(setting, f"{UNIX}{path} is in use")
        path.unlink()


@contextmanager
def _os_errors(address: str, setting: str = "listen") -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise SettingInvalid(setting, f"cannot listen on {address}: {error.strerror}") from error


@contextmanager
def _bind_errors(address: str) -> Iterator[None]:
    try:
        yield
    except RuntimeError as error:
        raise SettingInvalid(
            "listen", f"cannot listen on {address}: it is in use or not available"
        ) from error
