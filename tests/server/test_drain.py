"""A stop that is told before it comes."""

from __future__ import annotations

import signal
import time
from typing import TYPE_CHECKING

from grpc_health.v1 import health_pb2, health_pb2_grpc

from tests.support.messages import TIMEOUT, OpenCall, good_call
from tests.support.processes import channel_to, serving, until
from tests.support.replicas import restarted_in_turn

if TYPE_CHECKING:
    from pathlib import Path

NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING
DELAY = 1.5


def test_calls_are_taken_while_health_says_no(tmp_path: Path) -> None:
    """For the drain delay the port is open, on new connections, too; then the server stops in order."""
    flag = f"--drain-delay={DELAY}"
    with serving(tmp_path, flag) as server, channel_to(server.address) as channel:
        begun = time.monotonic()
        server.signal(signal.SIGTERM)
        until(lambda: "event=draining" in server.log)
        check = health_pb2_grpc.HealthStub(channel).Check
        assert check(health_pb2.HealthCheckRequest(), timeout=TIMEOUT).status == NOT_SERVING
        good_call(channel)
        with channel_to(server.address) as late:
            good_call(late)
        assert "event=stopping" not in server.log
        open_call = OpenCall(channel)
        until(lambda: "event=stopping" in server.log)
        assert time.monotonic() - begun >= DELAY
        assert len(open_call.finish()) == 1
        assert server.wait() == 0


def test_a_second_signal_ends_the_delay(tmp_path: Path) -> None:
    """Whoever does not want to wait need not."""
    with serving(tmp_path, "--drain-delay=600") as server:
        server.signal(signal.SIGTERM)
        until(lambda: "event=draining" in server.log)
        server.signal(signal.SIGTERM)
        assert server.wait() == 128 + signal.SIGTERM


def test_several_processes_drain_together(tmp_path: Path) -> None:
    """The supervisor waits for the delay and the grace period."""
    flags = ("--processes=2", f"--drain-delay={DELAY}", "--grace-period=0")
    with serving(tmp_path, *flags) as server:
        until(lambda: server.log.count("event=serving") == 2)
        begun = time.monotonic()
        server.signal(signal.SIGTERM)
        assert server.wait() == 0
        assert time.monotonic() - begun >= DELAY
        assert server.log.count("finished=true") == 2


def test_rolling_restarts_lose_no_call(tmp_path: Path) -> None:
    """Of calls that gRPC's own client makes once, over two replicas of which one is restarted at a time."""
    codes = restarted_in_turn(tmp_path, restarts=2, drain_delay=1.0)
    assert codes.keys() == {"OK"}
    assert codes["OK"] > 10
