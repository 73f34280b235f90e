"""Global magnitude pruning of a file: the smallest of all weights become 0, wherever they are."""

from __future__ import annotations

import math
from collections.abc import Mapping
from contextlib import ExitStack, closing
from dataclasses import dataclass
from fnmatch import fnmatchcase
from fractions import Fraction
from pathlib import Path
from typing import Any

import click
from regularization.v1.regularizers_pb2 import TopK

from .._config import CallOptions, Figure
from .._errors import ArgumentError
from .._files import StoredTensor, TensorFile, TensorWriter, open_tensors
from .._joint import Joint
from .._request.call import Call
from .._request.method import PROXIMAL_STEP
from .._results import Summary
from . import report
from .plan import call_on, wire_type
from .settings import Setting
from .signals import interruptibly
from .work import Server, carried_out, check_ending, progress_bar

_FIGURES: tuple[Figure, ...] = ("nonzeros",)


@dataclass(frozen=True, slots=True)
class Pruning:
    """A file whose smallest weights are to be 0."""

    file: Path
    sparsity: Fraction
    """Which part of the elements of all chosen tensors is to be 0 at least, from 0 to 1."""
    only: tuple[str, ...]
    """Names or patterns of the tensors that are chosen; none for all of floating point."""
    skip: tuple[str, ...]
    """Names or patterns of tensors that are not chosen even so."""
    server: Server
    non_finite: Any
    as_json: bool
    quiet: bool
    dry_run: bool
    output: Path | None = None

    def run(self) -> None:
        """Do it, and print what has become of each tensor."""
        if self.output is None and not self.dry_run:
            raise click.UsageError("Missing option '-o' / '--output', or '--dry-run'.")
        if self.output is not None:
            check_ending(self.output, self.file)
        with ExitStack() as stack:
            file = stack.enter_context(open_tensors(self.file))
            output = None
            if self.output is not None and not self.dry_run:
                output = stack.enter_context(file.writer(self.output, keep_others=True))
            chosen = self._chosen(file)
            call = self._call(file, chosen, output)
            connection = stack.enter_context(closing(self.server.connection()))
            with progress_bar(call.elements, quiet=self.quiet) as progress:
                conditions = self.server.conditions(progress)
                summary = interruptibly(lambda: carried_out(connection, [call], conditions), connection.close)
            if output is not None:
                output.commit()
        self._print([name for name in file.tensors if name not in chosen], summary)

    def _chosen(self, file: TensorFile) -> Mapping[str, StoredTensor]:
        """Return the tensors to prune, by name.

        Raises:
            ArgumentError: If a pattern fits nothing, or tensors are not of one data type that is computed.
        """
        for pattern in (*self.only, *self.skip):
            if not any(_fits(name, (pattern,)) for name in file.tensors):
                raise ArgumentError(f"{self.file}: {pattern!r} matches none of its tensors")
        chosen = {
            name: tensor
            for name, tensor in file.tensors.items()
            if not _fits(name, self.skip)
            and (_fits(name, self.only) if self.only else tensor.data_type is not None)
        }
        if not chosen:
            raise ArgumentError(f"{self.file}: no tensor is left to prune")
        _check_types(file, chosen)
        return chosen

    def _call(
        self, file: TensorFile, chosen: Mapping[str, StoredTensor], output: TensorWriter | None
    ) -> Call:
        elements = sum(math.prod(tensor.shape) for tensor in chosen.values())
        removed = math.floor(self.sparsity * elements + Fraction(1, 2))
        shared = Setting(Joint(TopK(count=elements - removed)))
        return call_on(
            PROXIMAL_STEP,
            list(chosen.values()),
            dict.fromkeys(chosen, shared),
            {"parameters": file},
            CallOptions(non_finite=self.non_finite, sparse=self.server.is_remote, figures=_FIGURES),
            output,
            step_size=1.0,
        )

    def _print(self, left_alone: list[str], summary: Summary) -> None:
        written = None if self.dry_run or self.output is None else str(self.output)
        if self.as_json:
            about = {"file": str(self.file), "output": written, "left_alone": left_alone}
            report.show(report.sparsity_json(summary, summary.segments, **about))
        elif not self.quiet:
            report.show(report.sparsity_table(summary, summary.segments))
            if left_alone:
                report.show(f"left alone: {', '.join(map(report.printable, left_alone))}")
            report.show("nothing written" if written is None else f"written: {written}")


def _fits(name: str, patterns: tuple[str, ...]) -> bool:
    return any(name == pattern or fnmatchcase(name, pattern) for pattern in patterns)


def _check_types(file: TensorFile, chosen: Mapping[str, StoredTensor]) -> None:
    first, *rest = chosen.values()
    for tensor in (first, *rest):
        if tensor.data_type is None:
            raise ArgumentError(
                f"{file.path}: tensor {tensor.name!r} must be floating point of 16, 32 or 64 bits to be "
                f"pruned, is {tensor.type_name}; leave it alone with --skip",
                segment=tensor.name,
            )
        if wire_type(tensor) != wire_type(first):
            raise ArgumentError(
                f"{file.path}: tensors that are pruned together must have one data type: {first.name!r} is "
                f"{first.type_name}, {tensor.name!r} is {tensor.type_name}; choose by --only and --skip",
                segment=tensor.name,
            )
