"""Metrics of several processes together, also where one of them is killed."""

from __future__ import annotations

import os
import re
import signal
from collections import Counter
from pathlib import Path

import grpc
import pytest

from tests.support.ended_calls import KINDS, Told, by_reason, by_status, too_late
from tests.support.messages import OpenCall, good_call
from tests.support.metrics import Scrape
from tests.support.processes import ServerProcess, channel_to, serving, until

PROCESSES = 2
QUICK = [kind for kind in KINDS if kind is not too_late]


def pids(server: ServerProcess) -> list[int]:
    """The processes that the supervisor has started, the last ones last."""
    return [int(pid) for pid in re.findall(r'event="process started" process=\d+ pid=(\d+)', server.log)]


def folder_of(server: ServerProcess) -> Path:
    """The folder that its processes keep their metrics in."""
    command = Path(f"/proc/{pids(server)[0]}/cmdline").read_text().split("\0")
    (folder,) = (each.partition("=")[2] for each in command if each.startswith("--metrics-folder="))
    return Path(folder)


def test_counts_are_of_all_processes_and_outlive_them(tmp_path: Path) -> None:
    """Of calls of every kind the sum loses none when a process is killed; its state goes with it."""
    metrics = f"unix:{tmp_path / 'm'}"
    arguments = (f"--processes={PROCESSES}", f"--metrics-listen={metrics}", "--log-format=logfmt")
    with serving(tmp_path, *arguments, address="127.0.0.1:0") as server:
        until(lambda: server.log.count("event=serving") == PROCESSES)
        folder = folder_of(server)
        (address,) = set(re.findall(r"127\.0\.0\.1:\d+", server.log))

        def look() -> Scrape:
            return Scrape(metrics)

        until(lambda: look().value("regularization_server_processes") == PROCESSES)
        told: Counter[Told] = Counter()
        for index in range(24):  # on as many connections, so that both processes have some
            with channel_to(address) as channel:
                told[QUICK[index % len(QUICK)](channel)] += 1
        done = by_status(told)
        until(lambda: look().statuses() == done)
        assert look().summed("regularization_refusals_total", "reason") == by_reason(told)
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
        assert after.statuses() == done
        assert after.value("regularization_calls_in_flight") == 0
        with channel_to(address) as channel:
            good_call(channel)
        until(lambda: look().statuses() == done + Counter({"OK": 1}))
        server.signal(signal.SIGTERM)
        assert server.wait() == 0
    assert not folder.exists()


def test_a_killed_supervisor_leaves_no_files(tmp_path: Path) -> None:
    """Its processes stop then, and remove the folder that it cannot remove any more."""
    arguments = (f"--processes={PROCESSES}", "--metrics-listen=127.0.0.1:0", "--log-format=logfmt")
    with serving(tmp_path, *arguments, address="127.0.0.1:0") as server:
        until(lambda: server.log.count("event=serving") == PROCESSES)
        folder = folder_of(server)
        assert list(folder.glob("*.db"))
        server.signal(signal.SIGKILL)
        until(lambda: not folder.exists())
