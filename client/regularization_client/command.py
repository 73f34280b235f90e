"""The ``regularize`` command."""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from ._cli import options, plan_commands, report
from ._cli.inspection import Inspection
from ._cli.plan_file import SYNTAX as PLAN_SYNTAX
from ._cli.prune import Pruning
from ._cli.signals import exiting_on_sigterm
from ._cli.specifications import SYNTAX
from ._cli.work import Server, Work, catalogue
from ._errors import RegularizationError
from ._request.method import GRADIENT, PENALTY, PROXIMAL_STEP, Method

_STATUS = """\
Exit status: 0 if all went well, 1 if the call or a file failed, 2 if the command line is wrong, 130 after
Ctrl-C, 143 after SIGTERM. A run that fails or is interrupted leaves no file behind.

With --json an error is an object on standard error, {"error": {"message": …, "kind": …, "status": …}}, with
what is known of "file", "code", "reason", "field", "segment" and "element" beside them."""

_EPILOG = f"""{SYNTAX}

\b
Examples of what -r takes:
  l1_norm:strength=1e-4
  'fc*.weight=group_lasso:strength=0.1,groups.axis=0'
  'embedding=group_lasso:strength=0.1,groups.sizes=[2,3,5]'
  '*=none'

{PLAN_SYNTAX}

{_STATUS}"""

INTERRUPTED = (128 + signal.SIGINT, 128 + signal.SIGTERM)
"""The statuses after a signal."""


_plan_file = click.argument("plan_file", metavar="PLAN", type=options.EXISTING)


class _Group(click.Group):
    """Turns the errors that are to be expected into one line on standard error, and a status."""

    def main(self, args: Sequence[str] | None = None, *more: Any, **options: Any) -> Any:
        """Run, and exit with the status that the help text tells."""
        arguments = list(sys.argv[1:] if args is None else args)
        status = self._run(arguments, *more, **{**options, "standalone_mode": False})
        if args is None and status in INTERRUPTED:
            # What is to be left is in order by now, and whatever a thread computes still is for nobody: the
            # interpreter would wait for it.
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(status)
        sys.exit(status)

    def _run(self, arguments: list[str], *more: Any, **options: Any) -> int:
        try:
            with exiting_on_sigterm():
                status = super().main(arguments, *more, **options)
        except click.Abort:
            return 128 + signal.SIGINT
        except SystemExit as exiting:
            return exiting.code if isinstance(exiting.code, int) else 1
        except (click.ClickException, RegularizationError, OSError) as error:
            return report.tell(error, as_json="--json" in arguments)
        return status if isinstance(status, int) else 0


@click.group(cls=_Group, epilog=_STATUS, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="regularization-service", prog_name="regularize")
def main() -> None:
    """Penalty, gradient and proximal step of regularizers over tensor files.

    Files are .npy, .npz and .safetensors, or the index of several, .safetensors.index.json; of floating point
    of 16, 32 or 64 bits, and of any size: they are streamed to a regularization server, or to one that the
    command starts for itself.
    """


@main.command(epilog=_EPILOG)
@options.file
@options.regularizers
@options.plan
@options.step
@options.reference
@options.weights
@options.call_options
def penalty(**arguments: Any) -> None:
    """Show the penalty of the tensors in FILE.

    The number of elements that are nonzero is shown beside it.
    """
    _work(PENALTY, arguments).run()


@main.command(epilog=_EPILOG)
@options.file
@options.regularizers
@options.plan
@options.step
@options.output
@options.rounding
@options.seed
@options.loss_gradients
@options.reference
@options.weights
@options.call_options
def gradient(**arguments: Any) -> None:
    """Compute the gradient of the penalty at the tensors in FILE.

    Where the penalty has a kink, it is the subgradient of the smallest norm.
    """
    _work(GRADIENT, arguments).run()


@main.command(epilog=_EPILOG)
@options.file
@options.regularizers
@options.plan
@options.step
@options.step_sizes
@options.output
@options.rounding
@options.seed
@options.loss_gradients_of_step
@options.reference
@options.weights
@options.step_scales
@options.call_options
def prox(**arguments: Any) -> None:
    """Take a proximal step from the tensors in FILE.

    The figures that are shown are those of the new parameters.
    """
    _work(PROXIMAL_STEP, arguments).run()


@main.command(epilog=_STATUS)
@options.file
@options.sparsity
@options.only
@options.skip
@options.dry_run
@options.output
@options.call_options
def prune(**arguments: Any) -> None:
    """Set the smallest elements of the tensors in FILE to 0, wherever they are.

    The largest magnitudes of all chosen tensors together stay, of equal ones the first; every other tensor is
    copied as it is. FILE may be the index of several (.safetensors.index.json): then so is the output, in
    another folder, with all its files. Tensors are read several times, and memory does not grow with them.
    """
    Pruning(server=_server(arguments), **arguments).run()


@main.command(epilog=_STATUS)
@click.argument("names", nargs=-1, metavar="[NAME]...")
@options.target_options
def regularizers(names: tuple[str, ...], as_json: bool, **arguments: Any) -> None:
    """List the regularizers, or show formulas and fields.

    They are those that the server knows. Without a NAME there is a line for each; of those that are named,
    everything is shown.
    """
    known = catalogue(Server(**arguments), names)
    if as_json:
        report.show(report.catalogue_json(known))
    else:
        report.show(report.descriptions(known) if names else report.catalogue_table(known))


@main.command(epilog=_EPILOG)
@options.file
@options.regularizers_or_none
@options.plan
@options.step
@click.option(
    "--check", is_flag=True, help="Exit with 1 where a tensor is outside of a set that it should be in."
)
@options.call_options
def inspect(**arguments: Any) -> int:
    """Show what is in FILE: names, shapes, types, zeros, and the rule for each.

    With --check it tells which tensors are outside of the sets of their rules: not sparse as 2:4 asks for,
    with more elements than may stay, outside of a ball or of bounds.
    """
    return Inspection(server=_server(arguments), **arguments).run()


@main.group(epilog=_STATUS)
def plan() -> None:
    """Write plan files, and see what they do.

    A plan says in TOML with what the tensors of a model are regularized, by name and pattern, and how that
    changes over the steps of training: see "regularize prox --help".
    """


@plan.command(epilog=_STATUS)
@_plan_file
@click.argument("file", required=False, type=options.EXISTING)
@options.target_options
def check(plan_file: Path, file: Path | None, as_json: bool, **arguments: Any) -> None:
    """Check the plan in PLAN, and whether it fits the tensors in FILE.

    Every number that changes is looked at where its schedule begins and ends. Only names and shapes are sent.
    """
    said = plan_commands.check(plan_file, file, Server(**arguments))
    report.show(json.dumps({"plan": str(plan_file), "right": True}) if as_json else said)


@plan.command(epilog=_STATUS)
@_plan_file
@options.file
@options.step
@options.as_json
def explain(plan_file: Path, file: Path, step: int | None, as_json: bool) -> None:
    """Show which table of PLAN is for which tensor in FILE, and what it says."""
    report.show(plan_commands.explain(plan_file, file, step, as_json=as_json))


@plan.command(epilog=_STATUS)
@options.file
def init(file: Path) -> None:
    """Show a plan to begin with, for the tensors in FILE.

    It has a table for each kind of tensor by its name; biases and all else of one axis are exempt.
    """
    report.show(plan_commands.begin(file))


def _server(arguments: dict[str, Any]) -> Server:
    """Take what is about the server out of the arguments."""
    return Server(**{name: arguments.pop(name) for name in Server.__dataclass_fields__})


def _work(method: Method, arguments: dict[str, Any]) -> Work:
    server = _server(arguments)
    named = {name: arguments.pop(name) for name in Work.__dataclass_fields__ if name in arguments}
    return Work(method=method, server=server, operands=arguments, **named)
