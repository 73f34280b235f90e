"""The options that the commands share."""

from __future__ import annotations

import math
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any, TypeVar

import click

from .specifications import RegularizerType, StepSizeType

CommandT = TypeVar("CommandT", bound=Callable[..., Any])

_LONGEST = 10 * 366 * 24 * 3600.0
"""Seconds that a deadline may be away: gRPC has no numbers for what is much farther."""


class Seconds(click.FloatRange):
    """A number in a range, which NaN is not, though it is beyond neither end."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Read it."""
        number = super().convert(value, param, ctx)
        if math.isnan(number):
            self.fail(f"must be a number of seconds, got {number}", param, ctx)
        return number


class Share(click.ParamType):  # type: ignore[type-arg] # not generic in all releases
    """A number from 0 to 1, as it is written in decimal digits."""

    name = "share"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Read it."""
        if isinstance(value, Fraction):
            return value
        try:
            number = float(value)
        except ValueError:
            self.fail(f"must be a number, got {value!r}", param, ctx)
        if not 0 <= number <= 1:
            self.fail(f"must be from 0 to 1, got {value}", param, ctx)
        return Fraction(repr(number))


EXISTING = click.Path(exists=True, dir_okay=False, path_type=Path)
"""A file that is there."""

file = click.argument("file", type=EXISTING)


def _regularizers(need: str) -> Callable[[CommandT], CommandT]:
    return click.option(
        "-r",
        "--regularizer",
        "regularizers",
        type=RegularizerType(),
        multiple=True,
        metavar="[PATTERN=]NAME:FIELD=VALUE,…",
        help=f"What to regularize with, and which tensors: see below. Repeatable. {need}",
    )


regularizers = _regularizers("This or --plan is required.")
regularizers_or_none = _regularizers("Without it, and without --plan, nothing is required of tensors.")
plan = click.option(
    "-p",
    "--plan",
    type=EXISTING,
    metavar="FILE",
    help="What to regularize with, and which tensors, in a TOML file: see below.",
)
step = click.option(
    "--step",
    type=click.IntRange(0, (1 << 63) - 1),
    metavar="NUMBER",
    help="The step of training that the plan is for, from 0 on; required where it changes over steps.",
)
step_sizes = click.option(
    "-s",
    "--step-size",
    "step_sizes",
    type=StepSizeType(),
    multiple=True,
    metavar="[PATTERN=]NUMBER",
    help="Step size, >= 0; with PATTERN= for the tensors that it fits. Repeatable. Required, but for "
    "tensors whose table in the plan has one, and for those that stay as they are: exempt, and without loss "
    "gradients.",
)
output = click.option(
    "-o",
    "--output",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Write the result here, in the format of FILE; a file that is there is replaced once the result is "
    "whole. It may be FILE itself. Without it only the figures are shown.",
)


sparsity = click.option(
    "--sparsity",
    type=Share(),
    required=True,
    metavar="NUMBER",
    help="Which part of all chosen elements together is to be 0, from 0 to 1.",
)
only = click.option(
    "--only",
    multiple=True,
    metavar="PATTERN",
    help="Prune the tensors of this name, or whose names match this pattern (*, ?, [abc]); repeatable. "
    "Without it all are pruned that are floating point.",
)
skip = click.option(
    "--skip",
    multiple=True,
    metavar="PATTERN",
    help="Leave these alone, though --only fits them; repeatable.",
)
dry_run = click.option(
    "--dry-run", is_flag=True, help="Show what would become of each tensor; write nothing."
)


def operand(name: str, text: str) -> Callable[[CommandT], CommandT]:
    """Return the option that names the file of an operand."""
    return click.option(f"--{name.replace('_', '-')}", name, type=EXISTING, metavar="FILE", help=text)


loss_gradients_of_step = operand("loss_gradients", "Loss gradients, of every tensor, to step along first.")
loss_gradients = operand("loss_gradients", "Loss gradients, of every tensor, to add the result to.")
reference = operand("reference", "Reference: what is penalized is FILE less this; 0 where it lacks a tensor.")
weights = operand(
    "weights", "Multipliers of the strength, element by element, >= 0; 1 where it lacks a tensor."
)
step_scales = operand("step_scales", "Multipliers of the step size, likewise.")


def call_options(command: CommandT) -> CommandT:
    """Add the options about where and how the call is made, and what is printed."""
    for option in reversed((*_CONNECTION, *_PRINTING)):
        command = option(command)
    return command


def target_options(command: CommandT) -> CommandT:
    """Add the options about where the call is made, and --json."""
    for option in reversed((*_CONNECTION, as_json)):
        command = option(command)
    return command


rounding = click.option(
    "--rounding",
    type=click.Choice(["nearest-even", "stochastic"]),
    default="nearest-even",
    show_default=True,
    help="How the result is rounded to the files' data type: to nearest, or at random with the mean exact, "
    "so that small steps are not lost in 16 bits.",
)
seed = click.option(
    "--seed",
    type=click.IntRange(0, (1 << 64) - 1),
    metavar="NUMBER",
    help="Where stochastic rounding takes its bits from; another for every step.",
)
as_json = click.option(
    "--json",
    "as_json",
    is_flag=True,
    help="Print one JSON object in place of a table, and in place of an error, which goes to standard error.",
)
_PRINTING = (
    click.option(
        "--non-finite",
        type=click.Choice(["reject", "propagate"]),
        default="reject",
        show_default=True,
        help="NaN and infinity in the files: fail, or compute with them.",
    ),
    as_json,
    click.option("-q", "--quiet", is_flag=True, help="No progress bar and no table."),
)
_CONNECTION = (
    click.option(
        "--target",
        "targets",
        multiple=True,
        metavar="TARGET",
        help='The server: "localhost:50051", "unix:/run/regularization.sock"; repeatable, for replicas. '
        "Without it the command starts a server of its own.",
    ),
    click.option("--tls", is_flag=True, help="Encrypt the connection."),
    click.option("--ca", type=EXISTING, metavar="FILE", help="Authorities to trust, in PEM; implies --tls."),
    click.option(
        "--certificate",
        type=EXISTING,
        metavar="FILE",
        help="The client's own certificate, in PEM; implies --tls.",
    ),
    click.option("--key", type=EXISTING, metavar="FILE", help="The key of --certificate, in PEM."),
    click.option(
        "--token",
        envvar="REGULARIZE_TOKEN",
        show_envvar=True,
        help="Bearer token; better given by the environment.",
    ),
    click.option(
        "--compression",
        type=click.Choice(["gzip", "deflate"]),
        help="Compress what is sent, for links that are slower than the processor is at it.",
    ),
    click.option(
        "--timeout",
        type=Seconds(min=0, min_open=True, max=_LONGEST),
        default=3600.0,
        show_default=True,
        metavar="SECONDS",
        help="How long the call may take; at most ten years.",
    ),
)
