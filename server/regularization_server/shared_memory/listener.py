"""The socket that hands out shared memory: it listens beside one of the server's own Unix sockets."""

from __future__ import annotations

import grp
import os
import socket
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from regularization.hand_off import SUFFIX

from ..process.addresses import ABSTRACT, UNIX, errors_of_listening, make_room, path_of
from ..settings import SettingInvalid

if TYPE_CHECKING:
    from ..settings import Settings


@dataclass(frozen=True)
class HandOffListener:
    """A listening socket, and the file that it made, unless it is abstract."""

    socket: socket.socket
    file: Path | None = None
    inode: int = 0

    def close(self) -> None:
        """Listen no more, and remove the file, unless it is another server's by now."""
        if self.file is not None and self.file.exists() and self.file.stat().st_ino == self.inode:
            self.file.unlink()
        self.socket.close()


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
            return _listen_on_name(listener, address + SUFFIX)
        return _listen_on_file(listener, Path(f"{path_of(address)}{SUFFIX}"), group)
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


def _listen_on_name(listener: socket.socket, address: str) -> HandOffListener:
    with errors_of_listening(address, "shared_memory"):
        listener.bind(f"\0{address.removeprefix(ABSTRACT)}")
        listener.listen()
    return HandOffListener(listener)


def _listen_on_file(listener: socket.socket, path: Path, group: int | None) -> HandOffListener:
    make_room(path, "shared_memory")
    with errors_of_listening(f"{UNIX}{path}", "shared_memory"):
        listener.bind(os.fspath(path))
    # Nobody can connect before it listens, so nobody comes before the file's permissions are right.
    _restrict(path, group)
    listener.listen()
    return HandOffListener(listener, path, path.stat().st_ino)


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
