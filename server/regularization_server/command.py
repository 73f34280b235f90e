"""The command ``regularization-server``."""

from __future__ import annotations

import os
import signal
import sys
from contextlib import suppress
from threading import Thread
from typing import TYPE_CHECKING, Any

import click

from .process.log_writer import is_terminal
from .process.options import VARIABLE_PREFIX, flag_of, setting_options
from .process.preparation import cache_or_own, give_back_freed_memory, prepare
from .process.probe import health_of, reachable
from .process.signals import Signals
from .settings import SettingInvalid, Settings

if TYPE_CHECKING:
    from typing import BinaryIO, NoReturn

    from .process.logs import LogFormat

SECONDS_TO_KEEP_MEMORY = 10.0
"""How often memory that was freed goes back to the system."""

SECONDS_TO_FLUSH = 1.0
"""Time that the last lines of the log have to be written."""


@click.group(
    invoke_without_command=True,
    context_settings={
        "auto_envvar_prefix": VARIABLE_PREFIX,
        "show_default": True,
        "max_content_width": 110,
    },
)
@click.version_option(package_name="regularization-service")
@setting_options
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
    address = target or reachable(ctx.find_root().params["listen"][0])
    health = health_of(address, timeout, None if tls_ca is None else tls_ca.read())
    click.echo(f"{address}: {health.text}", err=not health.answered)
    sys.exit(not health.serving)


@main.command()
@click.argument("names")
@click.pass_context
def warm(ctx: click.Context, names: str) -> None:
    """Compile the loops of regularizers into the cache, and end: NAMES apart by commas, or all."""
    prepare()
    from regularization_kernels import keeps_code

    from .process.loops import compile_loops, names_to_warm

    cache = cache_or_own(ctx.find_root().params["cache"])
    try:
        compile_loops(cache, names_to_warm(names))
    except SettingInvalid as error:
        _exit_with(error)
    if not keeps_code():
        text = f"{cache} keeps nothing: needs the extra: compiled, and a folder that can be written"
        click.echo(f"Error: {text}", err=True)
        sys.exit(1)


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
    prepare(settings.blas_threads)
    from regularization_kernels import compile_at_once, leave_blas_its_threads

    from .process.logs import command_logger
    from .process.loops import make_loops_ready, names_to_warm
    from .server import Server

    compile_at_once()
    leave_blas_its_threads(settings.blas_threads)
    names = names_to_warm(settings.warm)
    log, writer = command_logger(log_level, log_format, **({} if process is None else {"process": process}))
    if process is not None:
        Thread(target=_stop_at_end_of_input, args=(signals,), daemon=True).start()
    server = Server(settings, log)
    server.start()
    make_loops_ready(cache_or_own(settings.cache), names, log)
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


def _exit_with(error: SettingInvalid) -> NoReturn:
    with suppress(OSError):
        click.echo(f"Error: {flag_of(error.setting)}: {error.text}", err=True)
    sys.exit(2)


if __name__ == "__main__":
    main()
