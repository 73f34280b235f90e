"""Twenty rolling restarts of two replicas, and twenty-two kills of two processes on one port.

Run it with ``python -m tests.full_size.restarts``. It takes minutes. Where calls are made once each, nothing
is replayed.
"""

from __future__ import annotations

import os
import random
import re
import signal
import tempfile
import threading
import time
from collections import Counter
from pathlib import Path

import numpy as np
from regularization_client import Client, L1Norm, RegularizationError

from tests.support.processes import ServerProcess, serving, until
from tests.support.replicas import Caller, restarted_in_turn

RESTARTS = 20
DRAIN_DELAY = 2.0
KILLS = 22
SECONDS_BETWEEN_KILLS = 4.0
CALLS_A_SECOND = 10


def main() -> None:
    """Do both, and say how calls ended."""
    with tempfile.TemporaryDirectory() as name:
        codes = restarted_in_turn(Path(name), RESTARTS, DRAIN_DELAY)
        print(f"{RESTARTS} restarts, drain delay {DRAIN_DELAY} s: {dict(codes)}")
    with tempfile.TemporaryDirectory() as name:
        killed(Path(name))


def killed(folder: Path) -> None:
    """Kill one of two processes that serves, every few seconds."""
    with serving(folder, "--processes=2", address="127.0.0.1:0") as server:
        until(lambda: server.log.count("event=serving") == 2)
        found = re.search(r"127\.0\.0\.1:\d+", server.log)
        assert found is not None
        over, codes = threading.Event(), Counter[str]()
        client = threading.Thread(target=call_by_the_client, args=(found[0], over, codes))
        client.start()
        with Caller(found[0], 1 / CALLS_A_SECOND) as caller:
            chosen = random.Random(0)  # noqa: S311 - the same processes each time
            kills = 0
            while kills < KILLS:
                time.sleep(SECONDS_BETWEEN_KILLS)
                kills += kill_one(server, chosen)
            time.sleep(2.0)
        over.set()
        client.join()
        print(f"{KILLS} kills, calls made once: {dict(caller.codes)}")
        print(f"{KILLS} kills, the client's calls: {dict(codes)}")


def call_by_the_client(address: str, over: threading.Event, codes: Counter[str]) -> None:
    """Make calls as users do."""
    with Client(address) as client:
        while not over.wait(1 / CALLS_A_SECOND):
            try:
                client.penalty(np.ones(4, np.float32), L1Norm(strength=0.1))
                codes["OK"] += 1
            except RegularizationError as error:
                codes[type(error).__name__] += 1


def kill_one(server: ServerProcess, chosen: random.Random) -> bool:
    """Kill one that serves; whether there was one."""
    pids: dict[str, str] = {}
    there: set[str] = set()
    for line in server.log.splitlines():
        if match := re.search(r"process=(\d)", line):
            if "event=serving" in line:
                there.add(match[1])
            elif "process " in line and ("started" in line or "ended" in line):
                there.discard(match[1])
        pids.update(re.findall(r"process=(\d) pid=(\d+)", line))
    if there:
        os.kill(int(pids[chosen.choice(sorted(there))]), signal.SIGKILL)
    return bool(there)


if __name__ == "__main__":
    main()
