"""Carry out a command on files."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import click
from google.protobuf.message import Message
from regularization.patterns import EVERYTHING
from regularization.suggestions import unknown
from regularization.v1 import catalogue_pb2
from regularization.wire import OPERANDS

from .._config import CallOptions, Compression, Retry, Tls
from .._files import ending_of, open_tensors
from .._request.call import Call
from .._request.method import GRADIENT, PROXIMAL_STEP, Method
from .._results import Summary, combined_summary
from .._transport.base import Conditions, Progress
from .._transport.catalogue import list_regularizers
from .._transport.chunked import Chunked
from .._transport.connection import Connection
from .._transport.measured import Measured
from .._transport.targets import stays_on_host
from . import report
from .plan import Plan
from .plan_file import read_plan
from .settings import OptionSettings, Settings
from .signals import interruptibly
from .specifications import as_rules

_CHUNK_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class Server:
    """Which server to ask, and for how long."""

    targets: tuple[str, ...]
    tls: bool
    ca: Path | None
    certificate: Path | None
    key: Path | None
    token: str | None
    compression: Compression | None
    timeout: float

    @property
    def is_remote(self) -> bool:
        """Whether what is sent may go over a network."""
        return not all(map(stays_on_host, self.targets))

    def connection(self) -> Connection:
        """Open the connection."""
        if (self.certificate is None) != (self.key is None):
            raise click.UsageError("--certificate and --key must be given together")
        if self.token is not None and not (self.token.isascii() and self.token.isprintable()):
            raise click.UsageError("--token must be of printable ASCII characters")
        encrypted = self.tls or self.ca is not None or self.certificate is not None
        tls = Tls(_read(self.ca), _read(self.certificate), _read(self.key)) if encrypted else None
        return Connection(self.targets or None, tls=tls, token=self.token, compression=self.compression)

    def conditions(self, progress: Progress | None = None) -> Conditions:
        """Return how a call is carried out."""
        return Conditions(self.timeout, Retry(), _CHUNK_BYTES, progress)


@dataclass(frozen=True, slots=True)
class Work:
    """A method, the files that it is for, and the settings."""

    method: Method
    file: Path
    regularizers: tuple[tuple[str, Message | None], ...]
    plan: Path | None
    server: Server
    non_finite: Any
    as_json: bool
    quiet: bool
    step_sizes: tuple[tuple[str, float], ...] = ()
    step: int | None = None
    output: Path | None = None
    rounding: str = "nearest-even"
    seed: int | None = None
    operands: Mapping[str, Path | None] = field(default_factory=dict)

    def run(self) -> None:
        """Do it, and print the figures."""
        if self.output is not None:
            check_ending(self.output, self.file)
        settings = self._settings()
        with ExitStack() as stack:
            files = {
                name: stack.enter_context(open_tensors(path))
                for name in OPERANDS
                if (path := self.operands.get(name)) is not None
            }
            plan = Plan(
                parameters=stack.enter_context(open_tensors(self.file)),
                operands=files,
                settings=settings,
                options=self._options(),
            )
            output = None
            if self.output is not None:
                # Of a tensor that takes no part the gradient is 0, and the proximal step changes nothing.
                writer = plan.parameters.writer(self.output, keep_others=self.method != GRADIENT)
                output = stack.enter_context(writer)
            calls = plan.calls(self.method, output)
            connection = stack.enter_context(closing(self.server.connection()))
            with progress_bar(sum(call.elements for call in calls), quiet=self.quiet) as progress:
                conditions = self.server.conditions(progress)
                summary = interruptibly(lambda: carried_out(connection, calls, conditions), connection.close)
            if output is not None:
                output.commit()
        self._print(plan, summary)

    def _settings(self) -> Settings:
        step_sizes = as_rules(self.step_sizes, "--step-size")
        if self.plan is None:
            if self.step is not None:
                raise click.UsageError("--step goes with --plan")
            if not self.regularizers:
                raise click.UsageError("Missing option '-r' / '--regularizer', or '-p' / '--plan'.")
            regularizers = as_rules(self.regularizers, "--regularizer")
            stays = not any(regularizers.values()) and self.operands.get("loss_gradients") is None
            if self.method == PROXIMAL_STEP and not step_sizes and not stays:
                raise click.UsageError("Missing option '-s' / '--step-size'.")
            return OptionSettings(regularizers, step_sizes)
        if self.regularizers:
            raise click.UsageError("--plan and --regularizer exclude each other")
        if set(step_sizes) - {EVERYTHING}:
            raise click.UsageError("with --plan, step sizes by pattern stand in the plan: step_size = …")
        return read_plan(self.plan, step_sizes.get(EVERYTHING), self.step)

    def _options(self) -> CallOptions:
        options = CallOptions(non_finite=self.non_finite, sparse=self.server.is_remote)
        if (self.rounding == "stochastic") != (self.seed is not None):
            raise click.UsageError("--rounding stochastic and --seed must be given together")
        if self.seed is not None:
            options["rounding"], options["seed"] = "stochastic", self.seed
        return options

    def _print(self, plan: Plan, summary: Summary) -> None:
        left_out = plan.left_out()
        segments = {
            name: summary.segments[name] for name in plan.parameters.tensors if name not in set(left_out)
        }
        if self.as_json:
            written = str(self.output) if self.output is not None else None
            about = {"file": str(self.file), "output": written, "left_out": left_out}
            report.show(report.figures_json(summary, segments, **about))
        elif not self.quiet:
            report.show(report.figures_table(summary, segments))
            if left_out:
                report.show(f"left out: {', '.join(map(report.printable, left_out))}")
            if self.output is not None:
                report.show(f"written: {self.output}")


def check_ending(output: Path, file: Path) -> None:
    """Check that a result is to have the format of the file that it is made from.

    Raises:
        click.UsageError: If not.
    """
    ending = ending_of(file) or file.suffix
    if not output.name.lower().endswith(ending.lower()):
        raise click.UsageError(f"--output must end in {ending}, as FILE does, got {output}")


def carried_out(connection: Connection, calls: Sequence[Call], conditions: Conditions) -> Summary:
    """Carry out calls, one after the other, which share the time; return the summary of all.

    What several tensors share is measured first, so that they need not wait for each other in the server.
    """
    left, before, parts = conditions.timed(), 0, []
    for call in calls:
        transport = Measured(connection) if call.header.layout.spans else Chunked(connection)
        own = replace(left(), progress=_after(before, conditions.progress))
        parts.append(transport.carry_out(call, own))
        before += call.elements
    return parts[0] if len(parts) == 1 else combined_summary(parts)


def _after(before: int, report: Progress | None) -> Progress | None:
    """Return what tells of the elements of a call, after so many of others."""
    return None if report is None else lambda done, total: report(before + done, before + total)


def _read(path: Path | None) -> bytes | None:
    return path.read_bytes() if path is not None else None


def catalogue(server: Server, names: tuple[str, ...]) -> tuple[catalogue_pb2.RegularizerDescription, ...]:
    """Return what the server says of the regularizers of these names, or of all where there are none."""
    with closing(server.connection()) as connection:
        known = list_regularizers(connection, server.conditions())
    by_name = {each.name: each for each in known}
    for name in names:
        if name not in by_name:
            raise click.UsageError(unknown(name, by_name, "regularizer of the server's"))
    return tuple(by_name[name] for name in names) if names else known


@contextmanager
def progress_bar(total: int, *, quiet: bool) -> Iterator[Callable[[int, int], object] | None]:
    """Show a progress bar on standard error, if that is a terminal."""
    if quiet or not sys.stderr.isatty():
        yield None
        return
    with click.progressbar(length=total, file=sys.stderr, show_pos=False, label="elements") as bar:
        yield lambda done, _: bar.update(done - bar.pos)
