"""What calls leave behind in a server: ``python -m tests.full_size.soak [CALLS]``, or ``make soak``.

A hundred thousand calls of all methods and lengths, a tenth of them cancelled, by eight callers; then those
of a server that keeps a hundred bytes of each call, which must be noticed. Resident memory is read when the
server has given back what malloc kept.
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from random import Random
from typing import Any

from regularization.v1.layout_pb2 import Segment

from tests.support.messages import METHODS, OpenCall, answers, chunk, header, l1_norm, layout_of, request
from tests.support.processes import COMMAND, ServerProcess, channel_to, serving

CALLS = 100_000
WARM_UP = 0.3
"""Of the calls, how many more come first: by then threads, caches and malloc have what they keep."""

CALLERS = 8
CANCELLED = 0.1
MOST_RESIDENT = 2 << 20
MOST_OTHERS = 5
"""Threads and descriptors that may be more than before."""

SECONDS_TO_REST = 25
"""In which idle threads end, and memory goes back to the system twice."""

LEAKED = 100
LEAKING = (sys.executable, "-m", "tests.full_size.soak", "--leaking-server")


def main() -> int:
    """Soak a server and one that leaks; the exit code says whether each did as it should."""
    if sys.argv[1:2] == ["--leaking-server"]:
        _serve_and_leak(sys.argv[2:])
        return 0
    calls = int(sys.argv[1]) if len(sys.argv) > 1 else CALLS
    clean = _soaked("server", calls, (COMMAND,))
    leaking = _soaked("leaks", calls, LEAKING)
    return int(not clean or leaking)


def _soaked(name: str, calls: int, command: tuple[str | Path, ...]) -> bool:
    """Whether a server has after so many calls what it had before."""
    with tempfile.TemporaryDirectory() as folder, serving(Path(folder), command=command) as server:
        _make(server, round(WARM_UP * calls), 0)
        before = _figures(server)
        began = time.monotonic()
        _make(server, calls, 1)
        seconds = time.monotonic() - began
        after = _figures(server)
    more = {key: after[key] - before[key] for key in before}
    holds = more["resident"] <= MOST_RESIDENT and max(more["threads"], more["descriptors"]) <= MOST_OTHERS
    report = {"soak": name, "calls": calls, "seconds": round(seconds), "before": before, "more": more}
    print(json.dumps({**report, "holds": holds}), flush=True)
    return holds


def _make(server: ServerProcess, calls: int, seed: int) -> None:
    """Make so many calls."""
    with ThreadPoolExecutor(CALLERS) as pool:
        list(pool.map(lambda index: _call(server, calls // CALLERS, seed * CALLERS + index), range(CALLERS)))


def _call(server: ServerProcess, calls: int, seed: int) -> None:
    random = Random(seed)  # noqa: S311 - the same calls every time
    with channel_to(server.address) as channel:
        for _ in range(calls):
            if random.random() < CANCELLED:
                OpenCall(channel).cancel()
                continue
            method, elements = random.choice(list(METHODS)), random.choice(LENGTHS)
            answers(channel, method, MESSAGES[method, elements])


def _figures(server: ServerProcess) -> dict[str, int]:
    """What a server's process has of the system, once it is at rest."""
    time.sleep(SECONDS_TO_REST)
    place = Path(f"/proc/{server.process.pid}")
    status = dict(line.split(":", 1) for line in (place / "status").read_text().splitlines())
    return {
        "resident": int(status["VmRSS"].split()[0]) << 10,
        "threads": int(status["Threads"]),
        "descriptors": sum(1 for _ in (place / "fd").iterdir()),
    }


def _messages(method: str, elements: int) -> list[bytes]:
    """A stream of so many elements, in up to four chunks."""
    of = layout_of(Segment(name="theta", shape=[elements], regularizer=l1_norm()))
    step = -(-elements // 4)
    parts = [chunk([1.0] * min(step, elements - begin), offset=begin) for begin in range(0, elements, step)]
    first = request(method, header=header(method, of))
    return [each.SerializeToString() for each in (first, *(request(method, chunk=part) for part in parts))]


LENGTHS = (3, 100, 1000, 10_000)
MESSAGES = {(method, elements): _messages(method, elements) for method in METHODS for elements in LENGTHS}


def _serve_and_leak(arguments: list[str]) -> None:
    """Be a server that keeps some bytes of each call."""
    from regularization_server.calls.stack import Stack
    from regularization_server.command import main as serve

    kept: list[bytes] = []
    around = Stack.around

    def leaking(*given: Any, **named: Any) -> Any:
        kept.append(bytes(LEAKED - sys.getsizeof(b"")))
        return around(*given, **named)

    Stack.around = leaking  # type: ignore[method-assign] # the leak of the control
    serve(arguments)


if __name__ == "__main__":
    sys.exit(main())
