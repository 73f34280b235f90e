"""Plans that the server holds: the files of a folder, read again when they change."""

from __future__ import annotations

import os
from dataclasses import dataclass
from threading import Lock
from typing import TYPE_CHECKING

from regularization.plan_file import plan_of, table_at
from regularization.v1.plan_pb2 import HeldPlan
from regularization_kernels.errors import RegularizationError

from ..contract.plans import Plan
from ..contract.refusals import PlanUnknown
from ..contract.statuses import clipped
from ..settings import SettingInvalid
from ..units import KIB

if TYPE_CHECKING:
    from pathlib import Path

    from regularization.v1 import plan_pb2
    from structlog.typing import FilteringBoundLogger

MOST = 64
"""Plans of a folder."""

LARGEST = 32 * KIB
"""Bytes of a file."""

LONGEST_ERROR = KIB
"""Bytes of what is said of a wrong file."""

ENDING = ".toml"

Version = tuple[int, int, int]
"""What tells a file from what it was: its number, its size, and when it was changed."""


@dataclass(frozen=True, slots=True)
class _Held:
    """A plan, and what its file was when that was looked at last."""

    version: Version
    message: plan_pb2.Plan | None
    """None where there was never a right one."""
    plan: Plan | None
    error: str = ""
    """What is wrong with the file as it is now."""


class PlanFolder:
    """The plans of a folder by their names. Safe to use from many threads.

    Args:
        folder: The folder. A caller's name is looked for among its files' names, and never makes a path.
        log: Where it says what was read, and what is wrong.

    Raises:
        SettingInvalid: If the folder cannot be read, has too many plans, or one that is wrong.
    """

    def __init__(self, folder: Path, log: FilteringBoundLogger) -> None:
        self._folder = folder
        self._log = log
        self._lock = Lock()
        self._held: dict[str, _Held] = {}
        self._is_read = True
        try:
            self._refresh()
        except OSError as error:
            raise SettingInvalid("plans", f"{folder}: {error.strerror or error}") from error
        for name, held in self._held.items():
            if held.error:
                raise SettingInvalid("plans", f"{folder / name}{ENDING}: {held.error}")

    def find(self, name: str) -> Plan:
        """The plan of this name, as its file is now, or was when it was right.

        Raises:
            PlanUnknown: If there is none.
        """
        self._look_again()
        held = self._held.get(name)
        if held is None or held.plan is None:
            known = ", ".join(sorted(self._held)) or "there are none"
            raise PlanUnknown(f"must be that of a plan ({known}), got {name!r}")
        return held.plan

    def listed(self) -> list[HeldPlan]:
        """Every plan, in the order of the names."""
        self._look_again()
        return [
            HeldPlan(
                name=name,
                digest="" if held.plan is None else held.plan.digest,
                plan=held.message,
                error=held.error,
            )
            for name, held in sorted(self._held.items())
        ]

    def _look_again(self) -> None:
        try:
            self._refresh()
            self._is_read = True
        except OSError as error:
            # The folder is gone for a moment, or for good: what was there is still the operator's last word.
            if self._is_read:
                self._log.warning("plans not read", error=str(error))
            self._is_read = False

    def _refresh(self) -> None:
        with self._lock:
            versions = self._versions()
            held = {name: each for name, each in self._held.items() if name in versions}
            for name in self._held.keys() - held.keys():
                self._log.info("plan removed", plan=name)
            for name, version in versions.items():
                if name not in held or held[name].version != version:
                    held[name] = self._read(name, version)
            # Replaced as a whole, for whoever looks meanwhile.
            self._held = held

    def _versions(self) -> dict[str, Version]:
        """The names of the plans, and what their files are now.

        Raises:
            OSError: If the folder cannot be read, has too many, or one whose name is no text.
        """
        versions = {}
        with os.scandir(self._folder) as entries:
            for entry in entries:
                name = entry.name.removesuffix(ENDING)
                if name != entry.name and not name.startswith(".") and entry.is_file():
                    if not name.isprintable():
                        # Such as no message can tell, nor a caller name.
                        raise OSError(f"must have names of printable characters, has {entry.name!a}")
                    status = entry.stat()
                    versions[name] = (status.st_ino, status.st_size, status.st_mtime_ns)
        if len(versions) > MOST:
            raise OSError(f"must have at most {MOST} plans, has {len(versions)}")
        return versions

    def _read(self, name: str, version: Version) -> _Held:
        before = self._held.get(name)
        try:
            message = _message(self._folder / f"{name}{ENDING}")
            plan = _plan(message)
        except (OSError, ValueError) as error:
            text = clipped(str(error), LONGEST_ERROR)
            self._log.warning("plan refused", plan=name, error=text)
            if before is None:
                return _Held(version, None, None, text)
            return _Held(version, before.message, before.plan, text)
        self._log.info("plan", plan=name, digest=plan.digest)
        return _Held(version, message, plan)


def _message(path: Path) -> plan_pb2.Plan:
    """The plan that a file says.

    Raises:
        OSError: If it cannot be read.
        ValueError: If it is none, or too large.
    """
    with path.open("rb") as file:
        raw = file.read(LARGEST + 1)
    if len(raw) > LARGEST:
        raise ValueError(f"must have at most {LARGEST} bytes")
    message = plan_of(raw.decode())
    # All of them together must fit a message.
    if message.ByteSize() > LARGEST:
        raise ValueError(f"must have at most {LARGEST} bytes as a message, has {message.ByteSize()}")
    return message


def _plan(message: plan_pb2.Plan) -> Plan:
    """The plan that a message says.

    Raises:
        ValueError: If it says what cannot be, with the table of the file.
    """
    try:
        return Plan(message)
    except RegularizationError as error:
        raise ValueError(f"{table_at(error.field, message)}{error}") from error
