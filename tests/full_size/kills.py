"""A thousand kills of two replicas, a thousand answers: ``python -m tests.full_size.kills``.

The ordinary tests have the same at a small size (tests/client/test_killed_replicas.py). Each call is hit by a
kill, of the replica that has it, at a place of its own; the other replica has just been started again. It
takes ten minutes.
"""

from __future__ import annotations

import json
import tempfile
import time
from pathlib import Path

from tests.support.forked_servers import nursery
from tests.support.killed_replicas import killed

KILLS = CALLS = 1000


def main() -> None:
    """Do it, and say how calls ended."""
    with (
        tempfile.TemporaryDirectory() as logs,
        tempfile.TemporaryDirectory() as sockets,
        nursery(Path(logs)) as servers,
    ):
        began = time.monotonic()
        report = killed(servers, Path(sockets), KILLS, CALLS)
        seconds = time.monotonic() - began
    figures = {
        "kills": report.kills.total(),
        "by_place": report.kills,
        "calls": report.calls,
        "wrong": report.wrong,
        "failed": report.failed,
        "slowest": round(report.slowest, 1),
        "seconds": round(seconds),
    }
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
