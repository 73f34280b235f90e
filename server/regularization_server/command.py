"""The command ``regularization-server``."""

from __future__ import annotations

import os
import re
import signal
import sys
from contextlib import suppress
from dataclasses import fields
from pathlib import Path
from threading import Thread
from typing import TYPE_CHECKING, Any

import click

from .process.log_writer import is_terminal
from .process.preparation import give_back_freed_memory, prepare
from .process.signals import Signals
from .settings import GIB, KIB, MIB, SettingInvalid, Settings

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import BinaryIO, NoReturn

    from .process.logs import LogFormat

SECONDS_TO_KEEP_MEMORY = 30.0
"""How often memory that was freed goes back to the system."""

SECONDS_TO_FLUSH = 1.0
"""Time that the last lines of the log have to be written."""

DEFAULTS = Settings()
UNITS = {"": 1, "K": 10**3, "M": 10**6, "G": 10**9, "KI": KIB, "MI": MIB, "GI": GIB}
WILDCARDS = {"0.0.0.0": "127.0.0.1", "[::]": "[::1]"}  # noqa: S104 - what is read, not what is bound


class Bytes(click.ParamType[int]):
    """A number of bytes, with or without a unit: 1073741824, 512MiB, 2GB."""

    name = "bytes"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """Read it."""
        if isinstance(value, int):
            return value
        match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([KMG]I?)?B?", str(value).strip(), re.IGNORECASE)
        if match is None:
            self.fail(f"{value!r} is not a number of bytes such as 1073741824, 512MiB or 2GB", param, ctx)
        return round(float(match[1]) * UNITS[(match[2] or "").upper()])

    def text(self, value: int) -> str:
        """Write a whole number of MiB."""
        return f"{value // MIB}MiB"


class Octal(click.ParamType[int]):
    """Permissions of a file: 660."""

    name = "octal"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """Read it."""
        if isinstance(value, int):
            return value
        try:
            return int(value, 8)
        except ValueError:
            self.fail(f"{value!r} is not a file mode such as 660", param, ctx)

    def text(self, value: int) -> str:
        """Write it."""
        return f"{value:o}"


def setting(name: str, **options: Any) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """The option of an attribute of ``Settings``: its flag, its environment variable and its default."""
    default = getattr(DEFAULTS, name)
    if isinstance(options.get("type"), (Bytes, Octal)):
        default = options["type"].text(default)
    flag = name.replace("_", "-")
    flags = f"--{flag}/--no-{flag}" if isinstance(default, bool) else f"--{flag}"
    return click.option(flags, name, default=default, show_envvar=True, **options)


FILE = click.Path(path_type=Path)


@click.group(
    invoke_without_command=True,
    context_settings={"auto_envvar_prefix": "REGULARIZATION", "show_default": True, "max_content_width": 110},
)
@click.version_option(package_name="regularization-service")
@setting(
    "listen",
    multiple=True,
    metavar="ADDRESS",
    help="host:port (port 0 takes a free one), unix:/path or unix-abstract:name. May be repeated; "
    "in the environment, addresses stand apart by spaces.",
)
@setting(
    "processes",
    metavar="COUNT",
    help="Server processes, to use more cores. They share TCP ports and the budgets; their Unix sockets are "
    "path, path.1, path.2 and so on.",
)
@setting("reuse_port", help="Whether other servers of the same user may share the TCP ports.")
@setting("unix_socket_mode", type=Octal(), help="Permissions of the files of Unix sockets.")
@setting("grace_period", metavar="SECONDS", help="Time for calls in flight to finish when the server stops.")
@setting(
    "linger",
    metavar="SECONDS",
    help="Time between last message and end of a call over TCP when the server stops, for proxies to read.",
)
@setting("memory_budget", type=Bytes(), help="What all calls together may buffer, for instance 512MiB.")
@setting(
    "threads",
    type=int,
    metavar="COUNT",
    help="Threads that work at once on a call on shared memory. Unset: as many as there are cores.",
)
@setting(
    "shared_memory",
    help="Whether clients may have memory that they share with the server, beside its Unix sockets.",
)
@setting("shared_memory_budget", type=Bytes(), help="Size of all regions of shared memory together.")
@setting("shared_memory_regions", metavar="COUNT", help="Regions of shared memory that there may be.")
@setting(
    "shared_memory_group",
    metavar="GROUP",
    help="Group, by name or number, whose members may have shared memory. Unset: the server's own user only.",
)
@setting("max_concurrent_calls", metavar="COUNT", help="Calls in flight beyond which new ones are refused.")
@setting("max_message_bytes", type=Bytes(), help="Size of the largest request message.")
@setting(
    "tls_certificate",
    type=FILE,
    help="PEM file with the certificate chain for TCP addresses. Unset: plain text; Unix sockets always are.",
)
@setting("tls_key", type=FILE, help="PEM file with the certificate's private key.")
@setting(
    "tls_client_ca",
    type=FILE,
    help="PEM file with the authorities whose certificates clients must show. Unset: none is asked for.",
)
@setting(
    "token_file",
    type=FILE,
    help="File with the bearer token that all calls but health checks must show. Unset: none is asked for.",
)
@setting("keepalive_time", metavar="SECONDS", help="Silence after which the server pings a client.")
@setting("keepalive_timeout", metavar="SECONDS", help="Time that a client has to answer a ping.")
@setting("keepalive_min_interval", metavar="SECONDS", help="Time that clients must leave between pings.")
@setting(
    "max_connection_age",
    type=float,
    metavar="SECONDS",
    help="Age at which a connection takes no new calls, so that clients find new replicas. Unset: none.",
)
@click.option(
    "--log-level",
    type=click.Choice(["debug", "info", "warning", "error"]),
    default="info",
    show_envvar=True,
    help="Calls are logged at info; those of health and reflection at debug.",
)
@click.option(
    "--log-format",
    type=click.Choice(["console", "json", "logfmt"]),
    default=lambda: "console" if is_terminal() else "logfmt",
    show_default="console on a terminal, logfmt elsewhere",
    show_envvar=True,
    help="How log lines are written to standard error.",
)
@click.option(
    "--process", type=int, hidden=True, allow_from_autoenv=False, help="Which of several processes this is."
)
@click.pass_context
def main(
    ctx: click.Context, /, log_level: str, log_format: LogFormat, process: int | None, **settings: Any
) -> None:
    """Serve penalty, gradient and proximal step of regularizers over gRPC.

    Stops on SIGTERM and SIGINT once the calls in flight are done, on a second signal at once.
    """
    if ctx.invoked_subcommand is None:
        try:
            parsed = Settings(**settings)
            if parsed.processes > 1:
                sys.exit(_supervise(parsed, log_level, log_format))
            _serve(parsed, log_level, log_format, process)
        except SettingInvalid as error:
            _exit_with(error)


@main.command()
@click.option(
    "--target",
    metavar="ADDRESS",
    show_envvar=True,
    help="Server to ask. Default: the first address that --listen names.",
)
@click.option(
    "--timeout",
    default=3.0,
    metavar="SECONDS",
    show_envvar=True,
    help="Time that the server has to answer.",
)
@click.option(
    "--tls-ca",
    type=click.File("rb"),
    show_envvar=True,
    help="PEM file with the authorities to trust. Unset: plain text.",
)
@click.pass_context
def probe(ctx: click.Context, target: str | None, timeout: float, tls_ca: BinaryIO | None) -> None:
    """Ask a server for its health: exit code 0 where it is SERVING, 1 otherwise."""
    import grpc
    from grpc_health.v1 import health_pb2, health_pb2_grpc

    address = target or _reachable(ctx.find_root().params["listen"][0])
    if tls_ca is None:
        channel = grpc.insecure_channel(address)
    else:
        channel = grpc.secure_channel(address, grpc.ssl_channel_credentials(tls_ca.read()))
    with channel:
        try:
            answer = health_pb2_grpc.HealthStub(channel).Check(
                health_pb2.HealthCheckRequest(), timeout=timeout
            )
        except grpc.RpcError as error:
            click.echo(f"{address}: {error.code().name}: {error.details()}", err=True)
            sys.exit(1)
    status = health_pb2.HealthCheckResponse.ServingStatus.Name(answer.status)
    click.echo(f"{address}: {status}")
    sys.exit(answer.status != health_pb2.HealthCheckResponse.SERVING)


def _supervise(settings: Settings, log_level: str, log_format: LogFormat) -> int:
    from .process.logs import command_logger
    from .process.supervisor import Supervisor

    arguments = [f"--log-level={log_level}", f"--log-format={log_format}"]
    log, writer = command_logger(log_level, log_format)
    try:
        return Supervisor(settings, arguments, log).run()
    finally:
        writer.flush(SECONDS_TO_FLUSH)


def _serve(settings: Settings, log_level: str, log_format: LogFormat, process: int | None) -> None:
    signals = _signals()
    prepare()
    from regularization_kernels import compile_at_once

    from .process.logs import command_logger
    from .server import Server

    compile_at_once()
    log, writer = command_logger(log_level, log_format, **({} if process is None else {"process": process}))
    if process is not None:
        Thread(target=_stop_at_end_of_input, args=(signals,), daemon=True).start()
    server = Server(settings, log)
    server.start()
    while signals.next(SECONDS_TO_KEEP_MEMORY) is None:
        give_back_freed_memory()
    finished = server.stop()
    writer.flush(SECONDS_TO_FLUSH)
    if not finished:
        # Some thread computes for a call that is cut off by now, and the interpreter would wait for it.
        os._exit(0)


def _signals() -> Signals:
    """The signals to stop; the second ends the process at once."""
    stopping: list[int] = []

    def receive(number: int) -> None:
        if stopping:
            os._exit(128 + number)
        stopping.append(number)

    return Signals((signal.SIGTERM, signal.SIGINT), receive)


def _stop_at_end_of_input(signals: Signals) -> None:
    """Stop when the process that has started this one is gone: it holds the other end."""
    while os.read(sys.stdin.fileno(), 1):
        pass
    signals.put(signal.SIGTERM)


def _reachable(address: str) -> str:
    """Where a server that listens on ``address`` is called from the same host."""
    host, colon, port = address.rpartition(":")
    return f"{WILDCARDS.get(host, host)}{colon}{port}"


def _exit_with(error: SettingInvalid) -> NoReturn:
    flags = {field.name: f"--{field.name.replace('_', '-')}" for field in fields(Settings)}
    with suppress(OSError):
        click.echo(f"Error: {flags[error.setting]}: {error.text}", err=True)
    sys.exit(2)


if __name__ == "__main__":
    main()
