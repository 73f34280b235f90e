"""Checks a server with the vectors: ``python -m conformance.check_server TARGET``."""

from __future__ import annotations

import argparse
from pathlib import Path

import grpc

from .runner.calls import Direct
from .runner.options import asked_for, finish, parser
from .runner.report import Unusable, report, results

SECONDS_TO_CONNECT = 30.0


def connected(arguments: argparse.Namespace) -> grpc.Channel:
    """A channel to the server, once that is there.

    Raises:
        Unusable: If it is not, or a file cannot be read.
    """
    if arguments.root_certificates is None:
        channel = grpc.insecure_channel(arguments.target)
    else:
        roots = _content(arguments.root_certificates)
        channel = grpc.secure_channel(arguments.target, grpc.ssl_channel_credentials(roots))
    try:
        grpc.channel_ready_future(channel).result(SECONDS_TO_CONNECT)
    except grpc.FutureTimeoutError as error:
        channel.close()
        raise Unusable(f"nobody answers at {arguments.target}") from error
    return channel


def _content(file: Path) -> bytes:
    try:
        return file.read_bytes()
    except OSError as error:
        raise Unusable(f"{file}: {error.strerror}") from error


def work(arguments: argparse.Namespace) -> int:
    """Check, and print the report; the exit code."""
    vectors, known = asked_for(arguments)
    metadata = []
    if arguments.token_file is not None:
        token = _content(arguments.token_file).decode().strip()
        metadata = [("authorization", f"Bearer {token}")]
    with connected(arguments) as channel:
        text, code = report(list(results(vectors, Direct(channel, metadata), known)))
    print(text)
    return code


def main(command_line: list[str] | None = None) -> None:
    """Read the command line, check, and exit."""
    options = parser(
        "Send every vector's request to a server, as it stands in the file, and compare what comes back: "
        "messages once they are decoded, numbers to the bit."
    )
    options.add_argument(
        "target", metavar="TARGET", help="where the server listens, as gRPC names it: host:port"
    )
    options.add_argument(
        "--root-certificates", type=Path, metavar="FILE", help="PEM file to know the server by, for TLS"
    )
    options.add_argument("--token-file", type=Path, metavar="FILE", help="file with the bearer token to show")
    arguments = options.parse_args(command_line)
    finish(lambda: work(arguments))


if __name__ == "__main__":
    main()
