"""Twenty rolling restarts of two replicas, and twenty-two kills of two processes on one port.

Run it with ``python -m tests.full_size.restarts``. It takes three minutes. Calls are made once each: nothing
is replayed.
"""

from __future__ import annotations

import os
import re
import signal
import tempfile
import time
from pathlib import Path

from tests.support.processes import serving, until
from tests.support.replicas import Caller, restarted_in_turn

RESTARTS = 20
DRAIN_DELAY = 2.0
KILLS = 22
CALLS_A_SECOND = 10


def main() -> None:
    """Do both, and say how calls ended."""
    with tempfile.TemporaryDirectory() as name:
        codes = restarted_in_turn(Path(name), RESTARTS, DRAIN_DELAY)
        print(f"{RESTARTS} restarts, drain delay {DRAIN_DELAY} s: {dict(codes)}")
    with tempfile.TemporaryDirectory() as name:
        killed(Path(name))


def killed(folder: Path) -> None:
    """Kill one of two processes every second."""
    with serving(folder, "--processes=2", address="127.0.0.1:0") as server:
        until(lambda: server.log.count("event=serving") == 2)
        found = re.search(r"127\.0\.0\.1:\d+", server.log)
        assert found is not None
        with Caller(found[0], 1 / CALLS_A_SECOND) as caller:
            for kill in range(KILLS):
                time.sleep(1.0)
                started = re.findall(rf"process={kill % 2} pid=(\d+)", server.log)
                os.kill(int(started[-1]), signal.SIGKILL)
            time.sleep(2.0)
        print(f"{KILLS} kills: {dict(caller.codes)}")


if __name__ == "__main__":
    main()
