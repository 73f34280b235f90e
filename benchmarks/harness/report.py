"""What a benchmark hands back, and what it was meant to reach."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Protocol

from benchmarks.harness.measure import Spread, console, print_table


@dataclass(frozen=True, slots=True)
class Aim:
    """A figure that has a bound.

    Args:
        words: What it is.
        bound: What it is meant to be.
        figure: What it is, in each round.
        at_least: Whether the bound is the least it may be; else the greatest.
        best: The same from the best round of either side, where that says something else.
    """

    words: str
    bound: float
    figure: Spread
    at_least: bool = True
    best: float | None = None

    @property
    def met(self) -> bool:
        """Whether the median keeps to the bound."""
        return self.figure.median >= self.bound if self.at_least else self.figure.median <= self.bound

    def row(self) -> list[str]:
        """The aim as a row of a table."""
        return [
            self.words,
            f"{'≥' if self.at_least else '≤'} {self.bound:g}",
            self.figure.text(),
            "" if self.best is None else f"{self.best:.2f}",
            "yes" if self.met else "no",
        ]


class Findings(Protocol):
    """What a benchmark hands back."""

    @property
    def aims(self) -> Iterable[Aim]:
        """The figures that have a bound."""


def print_aims(findings: Iterable[Findings | None], *, quick: bool) -> None:
    """Prints what was meant to be reached, and whether it was.

    Args:
        findings: Of the benchmarks that were run.
        quick: Whether they were run with smaller payloads than the bounds are for.
    """
    rows = [aim.row() for finding in findings if finding is not None for aim in finding.aims]
    if rows:
        console.print()
        if quick:
            console.print("The bounds are for the full sizes, not for those of --quick.")
        print_table(["Aim", "bound", "median", "best / best", "reached"], rows)


def run_alone(run: Callable[..., Findings | None], explanation: str | None) -> None:
    """Runs one benchmark from its own command line.

    Args:
        run: The benchmark's `run`.
        explanation: The module's docstring.
    """
    parser = argparse.ArgumentParser(description=explanation)
    parser.add_argument("--quick", action="store_true", help="fewer rounds, smaller payloads")
    quick = parser.parse_args().quick
    print_aims([run(quick=quick)], quick=quick)
