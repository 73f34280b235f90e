"""The command ``regularization-server``."""

from __future__ import annotations

import os
import signal
import sys
from contextlib import suppress
from pathlib import Path
from shutil import rmtree
from threading import Thread
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from .process.configuration import read_configuration, shown
from .process.environment import misspelt
from .process.log_writer import is_terminal
from .process.options import VARIABLE_PREFIX, flag_of, setting_options
from .process.preparation import cache_or_own, give_back_freed_memory, prepare, search_rarely_for_cycles
from .process.probe import ProbeTls, health_of, reachable
from .process.signals import Signals
from .settings import SettingInvalid, Settings

if TYPE_CHECKING:
    from typing import BinaryIO, NoReturn

    from structlog.typing import FilteringBoundLogger

    from .observability.metrics import Metrics
    from .process.logs import LogFormat

SECONDS_TO_KEEP_MEMORY = 10.0
"""How often memory that was freed goes back to the system."""

SECONDS_TO_FLUSH = 1.0
"""Time that the last lines of the log have to be written."""

FILE, CHECK = "regularization_server.file", "regularization_server.check"
"""Names of what options say that are no settings: the file of settings, and whether they are only checked."""


def _configured(ctx: click.Context, parameter: click.Parameter, value: Path | None) -> None:
    """Let a file have a say after flags and environment, and before defaults."""
    if value is not None:
        options = {
            option.name: option
            for option in ctx.command.params
            if isinstance(option, click.Option) and option.name and option.expose_value and not option.hidden
        }
        try:
            ctx.default_map = read_configuration(value, options)
        except SettingInvalid as error:
            _exit_with(error)
        ctx.meta[FILE] = value


def _only_checked(ctx: click.Context, parameter: click.Parameter, value: bool) -> None:
    ctx.meta[CHECK] = value


@click.group(
    invoke_without_command=True,
    context_settings={
        "auto_envvar_prefix": VARIABLE_PREFIX,
        "show_default": True,
        "max_content_width": 110,
    },
)
@click.version_option(package_name="regularization-service", allow_from_autoenv=False)
@click.option(
    "--config",
    type=click.Path(path_type=Path),
    is_eager=True,
    expose_value=False,
    show_envvar=True,
    callback=_configured,
    help='TOML file with settings, by their names here with _ for -: memory_budget = "2GiB". Flags and the '
    "environment go first.",
)
@click.option(
    "--check",
    is_flag=True,
    allow_from_autoenv=False,
    expose_value=False,
    callback=_only_checked,
    help="Show the settings that hold, and where each comes from, check the files that they name, and end: "
    "with 0, or 2 if something is wrong.",
)
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
@click.option(
    "--metrics-folder",
    type=click.Path(path_type=Path),
    hidden=True,
    allow_from_autoenv=False,
    help="Where several processes keep their metrics.",
)
@click.pass_context
def main(
    ctx: click.Context,
    /,
    log_level: str,
    log_format: LogFormat,
    process: int | None,
    metrics_folder: Path | None,
    **settings: Any,
) -> None:
    """Serve penalty, gradient and proximal step of regularizers over gRPC.

    Stops on SIGTERM and SIGINT once the calls in flight are done, on a second signal at once.
    """
    # A command's own defaults would be looked for in it by the command's name.
    ctx.default_map = None
    if ctx.invoked_subcommand is None:
        try:
            parsed = Settings(**settings)
            if ctx.meta[CHECK]:
                _check(ctx, parsed, {"log_level": log_level, "log_format": log_format})
                return
            if parsed.processes > 1:
                sys.exit(_supervise(parsed, log_level, log_format))
            _serve(parsed, log_level, log_format, process, metrics_folder)
        except SettingInvalid as error:
            _exit_with(error, ctx)


@main.command()
@click.option(
    "--target",
    metavar="ADDRESS",
    show_envvar=True,
    help="Server to ask. Default: --health-listen, or where TLS is asked for here, or that is unset, the "
    "first address that --listen names.",
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
@click.option(
    "--tls-certificate",
    type=click.File("rb"),
    show_envvar=True,
    help="PEM file with the certificate to show, for a server with --tls-client-ca.",
)
@click.option("--tls-key", type=click.File("rb"), show_envvar=True, help="PEM file with its private key.")
@click.option(
    "--server-name",
    metavar="NAME",
    show_envvar=True,
    help="Name that the server's certificate bears. Unset: the host of the address.",
)
@click.pass_context
def probe(
    ctx: click.Context,
    target: str | None,
    timeout: float,
    tls_ca: BinaryIO | None,
    tls_certificate: BinaryIO | None,
    tls_key: BinaryIO | None,
    server_name: str | None,
) -> None:
    """Ask a server for its health: exit code 0 where it is SERVING, 1 otherwise."""
    if (tls_certificate is None) != (tls_key is None):
        raise click.UsageError("--tls-certificate and --tls-key must be given together")
    if tls_ca is None and (tls_certificate is not None or server_name is not None):
        raise click.UsageError("--tls-certificate and --server-name need --tls-ca beside them")
    tls = None
    if tls_ca is not None:
        certificate, key = (None if file is None else file.read() for file in (tls_certificate, tls_key))
        tls = ProbeTls(tls_ca.read(), certificate, key, server_name)
    own = ctx.find_root().params
    # Health alone is in plain text always.
    of_health = own["health_listen"] if tls is None else None
    address = target or reachable(of_health or own["listen"][0])
    health = health_of(address, timeout, tls)
    in_plain_text = tls is None and own["tls_certificate"] is not None and not address.startswith("unix")
    hint = " (the server has TLS here: give --tls-ca)" if in_plain_text and not health.answered else ""
    click.echo(f"{address}: {health.text}{hint}", err=not health.answered)
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


def _check(ctx: click.Context, settings: Settings, log: dict[str, str]) -> None:
    """Show the settings, once it is sure that a server could start with them, but for its addresses."""
    from .process.logs import library_logger
    from .process.loops import names_to_warm
    from .server import check_files

    names_to_warm(settings.warm)
    for text in misspelt(os.environ, main):
        click.echo(f"Warning: {text}", err=True)
    # Warnings go to standard error, as no program around it has set anything else.
    check_files(settings, library_logger())
    sources = {name: _source(ctx, name) for name in (*settings.__dataclass_fields__, *log)}
    click.echo(shown(settings, sources, log))


def _source(ctx: click.Context, name: str) -> str:
    """Where a setting comes from."""
    source = ctx.get_parameter_source(name)
    if source is ParameterSource.DEFAULT_MAP:
        return str(ctx.meta[FILE])
    if source is ParameterSource.ENVIRONMENT:
        return f"{VARIABLE_PREFIX}_{name.upper()}"
    return flag_of(name) if source is ParameterSource.COMMANDLINE else "default"


def _supervise(settings: Settings, log_level: str, log_format: LogFormat) -> int:
    from .process.logs import command_logger
    from .process.supervisor import Supervisor

    arguments = [f"--log-level={log_level}", f"--log-format={log_format}"]
    log, writer = command_logger(log_level, log_format)
    _tell_of_misspelt_variables(log)
    try:
        return Supervisor(settings, arguments, log).run()
    finally:
        writer.flush(SECONDS_TO_FLUSH)


def _serve(
    settings: Settings,
    log_level: str,
    log_format: LogFormat,
    process: int | None,
    metrics_folder: Path | None,
) -> None:
    signals = _signals()
    prepare(settings.blas_threads)
    from regularization_kernels import compile_apart, compile_at_once, leave_blas_its_threads

    from .process.logs import command_logger
    from .process.loops import make_loops_ready, names_to_warm
    from .server import Server

    compile_at_once()
    compile_apart()
    leave_blas_its_threads(settings.blas_threads)
    names = names_to_warm(settings.warm)
    log, writer = command_logger(log_level, log_format, **({} if process is None else {"process": process}))
    if process is None:
        _tell_of_misspelt_variables(log)
    else:
        Thread(target=_stop_at_end_of_input, args=(signals, metrics_folder), daemon=True).start()
    server = Server(settings, log, _metrics_in(metrics_folder, process))
    server.start()
    search_rarely_for_cycles()
    if process is not None:
        _say_that_it_serves()
    make_loops_ready(cache_or_own(settings.cache), names, log)
    while signals.next(SECONDS_TO_KEEP_MEMORY) is None:
        give_back_freed_memory()
    finished = server.stop()
    writer.flush(SECONDS_TO_FLUSH)
    if not finished:
        # Some thread computes for a call that is cut off by now, and the interpreter would wait for it.
        os._exit(0)


def _tell_of_misspelt_variables(log: FilteringBoundLogger) -> None:
    for text in misspelt(os.environ, main):
        log.warning("environment not understood", error=text)


def _metrics_in(folder: Path | None, process: int | None) -> Metrics | None:
    """The metrics of one of several processes, where they keep some."""
    if folder is None or process is None:
        return None
    from .observability.metrics import Metrics

    return Metrics.in_folder(folder, process)


def _signals() -> Signals:
    """The signals to stop; the second ends the process at once."""
    stopping: list[int] = []

    def receive(number: int) -> None:
        if stopping:
            os._exit(128 + number)
        stopping.append(number)

    return Signals((signal.SIGTERM, signal.SIGINT), receive)


def _stop_at_end_of_input(signals: Signals, metrics_folder: Path | None) -> None:
    """Stop when the process that has started this one is gone: it holds the other end."""
    # Where it has not read that this one serves, its end comes as an error.
    with suppress(OSError):
        while os.read(sys.stdin.fileno(), 1):
            pass
    if metrics_folder is not None:
        # Who made it cannot remove it any more.
        rmtree(metrics_folder, ignore_errors=True)
    signals.put(signal.SIGTERM)


def _say_that_it_serves() -> None:
    """Tell the process that has started this one, if it is still there."""
    with suppress(OSError):
        os.write(sys.stdin.fileno(), b"s")


def _exit_with(error: SettingInvalid, ctx: click.Context | None = None) -> NoReturn:
    """End with a line that names the setting by its flag, or by the file that has it."""
    name = flag_of(error.setting)
    if ctx is not None and ctx.get_parameter_source(error.setting) is ParameterSource.DEFAULT_MAP:
        name = f"{ctx.meta[FILE]}: {error.setting}"
    with suppress(OSError):
        click.echo(f"Error: {name}: {error.text}", err=True)
    sys.exit(2)


if __name__ == "__main__":
    main()
