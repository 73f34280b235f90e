"""Numba in a process of its own, so that one that lives long does not keep it: it holds 100 MiB and more.

What is to be compiled goes to it by name, and machine code comes back, over a socket that nobody else has.
Both ends are of one user and of one installation, so what comes is trusted as far as code in files is: it is
whole, and made of the very same sources.
"""

from __future__ import annotations

import pickle
import socket
import struct
import subprocess
import sys
import time
from collections.abc import Callable, Hashable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from .code_folder import LARGEST, name_of, unpacked
from .machine_code import MachineCode

SECONDS_FOR_A_LOOP = 120.0
"""Time that it has to start and compile one; a loop takes one to four seconds where processors are free."""

LOOPS_OF_A_PROCESS = 8
"""Loops that one compiles: the compiler keeps up to 16 MiB of each."""

_PROGRAM = f"{__name__.rpartition('.')[0]}.compiler_program"
_SECONDS_BETWEEN = 0.05
"""How often who waits for it can be stopped."""
_SECONDS_TO_DIE = 5.0
_LENGTH = struct.Struct("<Q")


@dataclass(slots=True)
class _Running:
    process: subprocess.Popen[bytes]
    line: socket.socket
    """Its other end is the process's standard input. When it is closed, the process ends."""
    loops: int = 0
    """How many it has compiled."""


class CompilerProcess:
    """A process that compiles one loop after the other; it is started for the first. It is one thread's.

    Attributes:
        wanted: Whether there is to be any.
    """

    def __init__(self) -> None:
        self.wanted = False
        self._running: _Running | None = None

    def machine_code(self, compile_loop: Callable[..., Any], variant: Hashable) -> MachineCode | None:
        """The machine code of a loop.

        Args:
            compile_loop: A function of a module of this package. That which it wraps, by ``__wrapped__``,
                gives a variant's machine code.
            variant: Which loop.

        Returns:
            None where nothing came of it: where the system starts no process, or it fails, ends or does not
            answer, or it cannot be told what to compile. The caller then does it itself.
        """
        # Whoever has the compiler already, has it at once.
        if not self.wanted or "numba" in sys.modules:
            return None
        name = name_of(variant)
        if name is None:
            return None
        try:
            request = pickle.dumps((compile_loop, variant))
            return self._answer(request, name)
        except (pickle.PicklingError, AttributeError, TypeError):
            return None  # it has no name
        except (OSError, ValueError):
            self.end()
            return None
        except BaseException:
            self.end()
            raise

    def end(self) -> None:
        """End the process, if there is one. What it compiles is lost."""
        running, self._running = self._running, None
        if running is None:
            return
        running.line.close()
        running.process.kill()
        with suppress(subprocess.TimeoutExpired):
            running.process.wait(_SECONDS_TO_DIE)

    def _answer(self, request: bytes, name: str) -> MachineCode:
        """What it answers to a request.

        Raises:
            OSError: If it does not, or there is none.
            ValueError: If that is not the loop's machine code.
        """
        deadline = time.monotonic() + SECONDS_FOR_A_LOOP
        if self._running is None:
            self._running = _started()
        running = self._running
        send(running.line, request)
        answer = receive(running.line, deadline)
        if answer is None:
            raise ConnectionError
        code = unpacked(answer, name)
        running.loops += 1
        if running.loops == LOOPS_OF_A_PROCESS:
            self.end()
        return code


def _started() -> _Running:
    """A process that waits for requests.

    Raises:
        OSError: If the system does not give one.
    """
    # Not from the working directory, and not in the terminal's group: Ctrl-C is for this one. Nor has it a
    # say in this one's log.
    command = [sys.executable, "-P", "-m", _PROGRAM]
    line, its_end = socket.socketpair()
    try:
        with its_end:
            process = subprocess.Popen(  # noqa: S603 - the project's own program
                command,
                stdin=its_end.fileno(),
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                process_group=0,
            )
        line.settimeout(_SECONDS_BETWEEN)
    except BaseException:
        line.close()
        raise
    return _Running(process, line)


def send(line: socket.socket, data: bytes) -> None:
    """Send bytes, and in front of them how many.

    Raises:
        OSError: If the other end is closed, or does not read.
    """
    line.sendall(_LENGTH.pack(len(data)) + data)


def receive(line: socket.socket, deadline: float | None = None) -> bytes | None:
    """Receive what ``send`` sent; None where the other end is closed.

    Args:
        line: With a timeout of its own, where there is a deadline.
        deadline: Until when, on the monotonic clock; None for as long as it takes.

    Raises:
        TimeoutError: If it is not there in time.
        OSError: If the line breaks.
        ValueError: If it would be larger than any machine code.
    """
    head = _exactly(line, _LENGTH.size, deadline)
    if head is None:
        return None
    (length,) = _LENGTH.unpack(head)
    if length > LARGEST:
        raise ValueError("too long")
    return _exactly(line, length, deadline)


def _exactly(line: socket.socket, length: int, deadline: float | None) -> bytes | None:
    received = bytearray()
    while len(received) < length:
        try:
            part = line.recv(min(length - len(received), 1 << 16))
        except TimeoutError:
            if deadline is not None and time.monotonic() < deadline:
                continue
            raise
        if not part:
            return None
        received += part
    return bytes(received)
