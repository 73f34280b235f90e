"""Checks a client with the vectors: ``python -m conformance.check_client -- COMMAND...``."""

from __future__ import annotations

import argparse
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import grpc

from .runner.options import asked_for, finish, parser
from .runner.program import Program
from .runner.report import Unusable, report, results
from .runner.vectors import Vector

SERVER = "regularization-server"
SECONDS_TO_START = 60.0
SECONDS_TO_STOP = 60.0


@contextmanager
def served() -> Iterator[str]:
    """The address of a server with its default settings, on TCP, started for the check.

    Raises:
        Unusable: If there is no such command, or it does not come up.
    """
    beside = Path(sys.executable).with_name(SERVER)
    command = str(beside) if beside.exists() else shutil.which(SERVER)
    if command is None:
        raise Unusable(f"there is no {SERVER} to start: say with --target where one listens")
    with socket.create_server(("127.0.0.1", 0)) as free:
        address = f"127.0.0.1:{free.getsockname()[1]}"
    process = subprocess.Popen([command, "--listen", address], stderr=subprocess.DEVNULL)  # noqa: S603 - our own
    try:
        with grpc.insecure_channel(address) as channel:
            grpc.channel_ready_future(channel).result(SECONDS_TO_START)
        yield address
    except grpc.FutureTimeoutError as error:
        raise Unusable(f"{command} does not come up") from error
    finally:
        process.terminate()
        process.wait(SECONDS_TO_STOP)


def work(arguments: argparse.Namespace) -> int:
    """Check, and print the report; the exit code."""
    asked, known = asked_for(arguments)
    vectors = [vector for vector in asked if not vector.is_raw]
    if arguments.target is not None:
        return _checked(arguments, arguments.target, vectors, known, len(asked) - len(vectors))
    with served() as target:
        return _checked(arguments, target, vectors, known, len(asked) - len(vectors))


def _checked(
    arguments: argparse.Namespace, target: str, vectors: list[Vector], known: set[str], skipped: int
) -> int:
    with Program(arguments.command, target) as program:
        text, code = report(list(results(vectors, program, known)), skipped)
    print(text)
    return code


def main(command_line: list[str] | None = None) -> None:
    """Read the command line, check, and exit."""
    options = parser(
        "Have a client make every vector's call, and compare what it got. The command is started once, with "
        "the server's address as its last argument; README.md says how it is asked and how it answers. "
        "Vectors whose requests are no messages that generated code writes are left out."
    )
    options.add_argument(
        "--target",
        metavar="TARGET",
        help="where a server listens, for the client; default: one is started with its default settings",
    )
    options.add_argument(
        "command", nargs="+", metavar="COMMAND", help="the client, after --, with its arguments"
    )
    arguments = options.parse_args(command_line)
    finish(lambda: work(arguments))


if __name__ == "__main__":
    main()
