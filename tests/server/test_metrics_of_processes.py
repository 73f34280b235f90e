"""Metrics of several processes together, also where one of them is killed."""

from __future__ import annotations

import os
import re
import signal
from pathlib import Path

import grpc
import pytest

from tests.support.messages import OpenCall, good_call
from tests.support.metrics import Scrape
from tests.support.processes import ServerProcess, channel_to, serving, until

PROCESSES = 2


def pids(server: ServerProcess) -> list[int]:
    """The processes that the supervisor has started, the last ones last."""
    return [int(pid) for pid in re.findall(r'event="process started" process=\d+ pid=(\d+)', server.log)]


def folders() -> set[Path]:
    """The folders of metrics that there are."""
    return set(Path("/dev/shm").glob("regularization-metrics-*"))  # noqa: S108 - looked at


@pytest.mark.skipif(not os.access("/dev/shm", os.W_OK), reason="has no memory for files")  # noqa: S108
def test_counts_are_of_all_processes_and_outlive_them(tmp_path: Path) -> None:
    """The sum loses nothing when a process is killed in the middle of calls; its state goes with it."""
    before = folders()
    metrics = f"unix:{tmp_path / 'm'}"
    arguments = (f"--processes={PROCESSES}", f"--metrics-listen={metrics}", "--log-format=logfmt")
    with serving(tmp_path, *arguments, address="127.0.0.1:0") as server:
        until(lambda: server.log.count("event=serving") == PROCESSES)
        (address,) = set(re.findall(r"127\.0\.0\.1:\d+", server.log))

        def look() -> Scrape:
            return Scrape(metrics)

        until(lambda: look().value("regularization_server_processes") == PROCESSES)
        done = 0
        for _ in range(12):  # on as many connections, so that both processes have some
            with channel_to(address) as channel:
                good_call(channel)
                good_call(channel)
                done += 2
        until(lambda: look().statuses() == {"OK": done})
        with channel_to(address) as channel:
            half = [OpenCall(channel) for _ in range(3)]
            until(lambda: look().value("regularization_calls_in_flight") == 3)
            victims = pids(server)
            for pid in victims:
                os.kill(pid, signal.SIGKILL)
            for each in half:
                each.close()
                with pytest.raises(grpc.RpcError):
                    list(each.answers)
        until(lambda: len(pids(server)) == 2 * PROCESSES)
        until(lambda: look().value("regularization_server_starts_total") == 2 * PROCESSES)
        until(lambda: look().value("regularization_server_processes") == PROCESSES)
        after = look()
        assert after.statuses() == {"OK": done}
        assert after.value("regularization_calls_in_flight") == 0
        with channel_to(address) as channel:
            good_call(channel)
        until(lambda: look().statuses() == {"OK": done + 1})
        assert len(folders() - before) == 1
        server.signal(signal.SIGTERM)
        assert server.wait() == 0
    assert folders() == before
