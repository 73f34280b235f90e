"""Options that both programs have."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from pathlib import Path

from .report import UNUSABLE, Unusable, chosen, known_failing
from .vectors import VECTORS, Vector, load_all

EXIT_CODES = "exit code: 0 all as expected, 1 a vector that is not, 2 nothing could be checked"


def parser(description: str) -> argparse.ArgumentParser:
    """A parser with the options that say which vectors."""
    made = argparse.ArgumentParser(description=description, epilog=EXIT_CODES)
    made.add_argument(
        "--vectors",
        type=Path,
        default=VECTORS,
        metavar="DIR",
        help="the folder of vectors (default: v1 here)",
    )
    made.add_argument(
        "--only",
        action="append",
        default=[],
        metavar="PATTERN",
        help="only vectors of such names; repeatable",
    )
    made.add_argument(
        "--skip", action="append", default=[], metavar="PATTERN", help="no vectors of such names; repeatable"
    )
    made.add_argument(
        "--known-failing",
        type=Path,
        metavar="FILE",
        help="vectors that may fail, a name a line, # begins a comment; one that passes is an error",
    )
    return made


def asked_for(arguments: argparse.Namespace) -> tuple[list[Vector], set[str]]:
    """The vectors that are asked for, and the names of those that are known to fail."""
    try:
        vectors = load_all(arguments.vectors)
    except (OSError, ValueError) as error:
        raise Unusable(f"{arguments.vectors} has no vectors: {error}") from error
    known = known_failing(arguments.known_failing, vectors)
    return chosen(vectors, arguments.only, arguments.skip), known


def finish(work: Callable[[], int]) -> None:
    """Exit with the code that work gives, or say why there is none."""
    try:
        code = work()
    except Unusable as error:
        print(error, file=sys.stderr)
        code = UNUSABLE
    sys.exit(code)
