"""Addresses that a server listens on: TCP ports, and Unix sockets with a file or an abstract name."""

from __future__ import annotations

import errno
import os
import socket
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from ..settings import SettingInvalid
from .ports import check_free

if TYPE_CHECKING:
    import grpc

    from ..settings import Settings

UNIX = "unix:"
ABSTRACT = "unix-abstract:"
LONGEST_UNIX_PATH = 107
"""Bytes that the path of a Unix socket may have on Linux."""


def is_unix(address: str) -> bool:
    """Whether an address is of a Unix socket, with a file or without; the others are of TCP."""
    return address.startswith((UNIX, ABSTRACT))


def path_of(address: str) -> Path:
    """The file of a Unix socket's address."""
    return Path(address.removeprefix(UNIX).removeprefix("//"))


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
        with _errors_of_grpc(address):
            server.add_insecure_port(address)
        return address
    if address.startswith(UNIX):
        _listen_on_file(server, path_of(address), settings.unix_socket_mode)
        return address
    host = check_free(address, reuse_port=settings.reuse_port)
    with _errors_of_grpc(address):
        if credentials is None:
            port = server.add_insecure_port(address)
        else:
            port = server.add_secure_port(address, credentials)
    return f"{host}:{port}"


@contextmanager
def errors_name(setting: str) -> Iterator[None]:
    """Let what is wrong with an address be an error of the setting that has it."""
    try:
        yield
    except SettingInvalid as error:
        raise SettingInvalid(setting, error.text) from error


def make_room(path: Path, setting: str = "listen") -> None:
    """Remove the socket that a dead server left at a path; gRPC itself would remove a living server's, too.

    Args:
        path: Of a socket that is to be made.
        setting: Which asks for it.

    Raises:
        SettingInvalid: If no socket can be made there, or a server listens there.
    """
    if not 0 < len(os.fsencode(path)) <= LONGEST_UNIX_PATH:
        raise SettingInvalid(setting, f"{path} must have 1 to {LONGEST_UNIX_PATH} bytes")
    with errors_of_listening(f"{UNIX}{path}", setting):
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
def errors_of_listening(address: str, setting: str = "listen") -> Iterator[None]:
    """Make what the system has against an address an error of the setting that asks for it."""
    try:
        yield
    except OSError as error:
        raise SettingInvalid(setting, f"cannot listen on {address}: {error.strerror}") from error


def _listen_on_file(server: grpc.Server, path: Path, mode: int) -> None:
    make_room(path)
    with _errors_of_grpc(f"{UNIX}{path}"):
        server.add_insecure_port(f"{UNIX}{path}")
    path.chmod(mode)


@contextmanager
def _errors_of_grpc(address: str) -> Iterator[None]:
    try:
        yield
    except RuntimeError as error:
        text = f"cannot listen on {address}: it is in use or not available"
        raise SettingInvalid("listen", text) from error
