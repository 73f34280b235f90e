"""What came of all vectors: a table of topics, the differences, and the verdict."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path

from .calls import Caller
from .checks import check
from .vectors import Vector

PASSED, FAILED, UNUSABLE = 0, 1, 2
"""Exit codes: all as expected; a vector that is not; nothing could be checked."""
SHOWN = 6
"""Differences that are listed of a vector."""


class Unusable(Exception):
    """Nothing can be checked so: a file is not what it should be, or nobody answers."""


@dataclass(frozen=True)
class Result:
    """What came of a vector.

    Attributes:
        vector: The vector.
        wrong: What was wrong with the answer.
        known: Whether it is known to fail.
    """

    vector: Vector
    wrong: tuple[str, ...]
    known: bool

    @property
    def is_expected(self) -> bool:
        """Whether it passed, or failed as it is known to."""
        return bool(self.wrong) == self.known


def known_failing(file: Path | None, vectors: Iterable[Vector]) -> set[str]:
    """The names in a list of vectors that are known to fail: one a line, # begins a comment.

    Raises:
        Unusable: If a line names no vector, or one twice.
    """
    if file is None:
        return set()
    try:
        lines = file.read_text(encoding="utf-8").splitlines()
    except OSError as error:
        raise Unusable(f"{file}: {error.strerror}") from error
    names = [name for line in lines if (name := line.partition("#")[0].strip())]
    known = {vector.name for vector in vectors}
    for index, name in enumerate(names):
        if name not in known or name in names[:index]:
            raise Unusable(f"{file}: {name!r} names no vector, or one that is named before")
    return set(names)


def chosen(vectors: list[Vector], only: list[str], skipped: list[str]) -> list[Vector]:
    """The vectors whose names match one of the patterns, where there are any, and none of those to skip.

    Raises:
        Unusable: If there is none.
    """
    found = [
        vector
        for vector in vectors
        if (not only or any(fnmatchcase(vector.name, each) for each in only))
        and not any(fnmatchcase(vector.name, each) for each in skipped)
    ]
    if not found:
        raise Unusable("no vector has such a name")
    return found


def results(vectors: list[Vector], caller: Caller, known: set[str]) -> Iterator[Result]:
    """Check one vector after the other."""
    for vector in vectors:
        yield Result(vector, tuple(check(vector, caller)), vector.name in known)


def report(found: list[Result], skipped: int = 0) -> tuple[str, int]:
    """The report, and the exit code."""
    lines = [f"{'topic':<16} {'passed':>6} {'failed':>6} {'known':>6}"]
    for topic in dict.fromkeys(result.vector.topic for result in found):
        of_topic = [result for result in found if result.vector.topic == topic]
        lines.append(_row(topic, of_topic))
    lines.append(_row("all", found))
    if skipped:
        lines.append(f"{skipped} left out: their requests are no messages that generated code writes")
    for result in found:
        if result.wrong and not result.known:
            lines += ["", f"FAILED {result.vector.name}: {result.vector.document['about']}"]
            lines += [f"  {text}" for text in result.wrong[:SHOWN]]
        elif not result.is_expected:
            lines += ["", f"PASSED {result.vector.name}, which is on the list of those known to fail"]
    return "\n".join(lines), PASSED if all(result.is_expected for result in found) else FAILED


def _row(name: str, of: list[Result]) -> str:
    passed = sum(not result.wrong for result in of)
    known = sum(bool(result.wrong) and result.known for result in of)
    return f"{name:<16} {passed:>6} {len(of) - passed - known:>6} {known:>6}"
