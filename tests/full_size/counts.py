"""Whether metrics count right: ``python -m tests.full_size.counts [CALLS]``.

Ten thousand calls that end in every way there is, of one process and of two: what Prometheus is told must be
what the callers were told, by status and by reason, to the last one. Then as many calls of methods that there
are not, by names made up at random: they may make one label. The ordinary tests have the same at a small size
(tests/server/test_metrics.py, test_metrics_of_processes.py).
"""

from __future__ import annotations

import json
import re
import string
import sys
import tempfile
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING

from tests.support.ended_calls import KINDS, Told, by_reason, by_status, called, too_late
from tests.support.metrics import Scrape
from tests.support.processes import channel_to, serving, until

if TYPE_CHECKING:
    from collections.abc import Iterator

CALLS = 10_000
CALLERS = 8
CALLS_OF_A_CONNECTION = 100
"""After which a caller makes another, so that each process has some."""

TOO_LATE = 0.02
"""Of the calls; each of them takes a second."""

SECONDS_TO_COUNT = 20.0
"""A call that was left is counted once its server has noticed."""

LETTERS = string.ascii_letters + string.digits + "._-/~%$ "
LONGEST_NAME = 2000


def main() -> int:
    """Count, and say what came of it; the exit code says whether all was right."""
    calls = int(sys.argv[1]) if len(sys.argv) > 1 else CALLS
    right = [_counts(calls, processes) for processes in (1, 2)]
    return int(not all([*right, _names(calls)]))


@contextmanager
def _counting(processes: int) -> Iterator[tuple[str, str]]:
    """A server that counts, and where it and its metrics are."""
    with tempfile.TemporaryDirectory() as folder:
        metrics = f"unix:{folder}/m"
        flags = (f"--processes={processes}", f"--metrics-listen={metrics}", "--log-format=logfmt")
        with serving(Path(folder), *flags, address="127.0.0.1:0") as server:
            until(lambda: server.log.count("event=serving") == processes)
            (address,) = set(re.findall(r"addresses=\['(127\.0\.0\.1:\d+)'\]", server.log))
            yield address, metrics


def _counts(calls: int, processes: int) -> bool:
    """Whether calls of every kind are counted as they have ended."""
    with _counting(processes) as (address, metrics):
        began = time.monotonic()
        with ThreadPoolExecutor(CALLERS) as pool:
            tallies = pool.map(lambda seed: _mixed(address, calls // CALLERS, seed), range(CALLERS))
        told: Counter[Told] = sum(tallies, Counter())
        seconds = time.monotonic() - began
        counted, reasons = _statuses(metrics, by_status(told)), _reasons(metrics)
    right = counted == by_status(told) and reasons == by_reason(told)
    report = {"counts": sum(told.values()), "processes": processes, "seconds": round(seconds)}
    print(json.dumps({**report, "told": by_status(told), "counted": counted, "right": right}), flush=True)
    if not right:
        print(json.dumps({"reasons told": by_reason(told), "counted": reasons}), flush=True)
    return right


def _mixed(address: str, calls: int, seed: int) -> Counter[Told]:
    """What a caller was told who makes calls of every kind."""
    random, told = Random(seed), Counter[Told]()  # noqa: S311 - the same calls every time
    quick = [kind for kind in KINDS if kind is not too_late]
    for begin in range(0, calls, CALLS_OF_A_CONNECTION):
        with channel_to(address) as channel:
            for _ in range(min(CALLS_OF_A_CONNECTION, calls - begin)):
                kind = too_late if random.random() < TOO_LATE else random.choice(quick)
                told[kind(channel)] += 1
    return told


def _names(calls: int) -> bool:
    """Whether names that callers make up are one label."""
    with _counting(1) as (address, metrics):
        with channel_to(address) as channel:
            called(channel, "no.such.Service/Method", b"")
            before = _label_sets(metrics)
            random, told = Random(0), Counter[str]()  # noqa: S311 - likewise
            for _ in range(calls):
                name = "".join(random.choices(LETTERS, k=random.randint(1, LONGEST_NAME)))
                told[called(channel, name, b"").status] += 1
        counted = _statuses(metrics, Counter({"UNIMPLEMENTED": calls + 1}))
        after = _label_sets(metrics)
    others = {each for each in after if ("grpc_method", "other") in each}
    right = after == before and told.keys() == {"UNIMPLEMENTED"} and counted["UNIMPLEMENTED"] == calls + 1
    report = {"names": calls, "told": told, "counted": counted}
    print(json.dumps({**report, "label sets of them": len(others), "right": right}), flush=True)
    return right


def _statuses(metrics: str, expected: Counter[str]) -> Counter[str]:
    """The calls counted by status, once they are as expected or time is over."""
    end = time.monotonic() + SECONDS_TO_COUNT
    while (counted := Counter(Scrape(metrics).statuses())) != expected and time.monotonic() < end:
        time.sleep(0.2)
    return counted


def _reasons(metrics: str) -> Counter[str]:
    """The refusals counted by reason."""
    return Scrape(metrics).summed("regularization_refusals_total", "reason")


def _label_sets(metrics: str) -> set[frozenset[tuple[str, str]]]:
    """All label sets of calls, of whatever metric, without the bounds of buckets."""
    every = {frozenset(pair for pair in labels if pair[0] != "le") for _, labels in Scrape(metrics).samples}
    return {labels for labels in every if "grpc_method" in dict(labels)}


if __name__ == "__main__":
    sys.exit(main())
