from __future__ import annotations

import threading
import time
from contextlib import ExitStack
from typing import TYPE_CHECKING

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from regularization_server import Server, Settings
from regularization_server.calls.arrivals import Arrivals
from regularization_server.calls.threads import CallThreads
from regularization_server.process.logs import library_logger

from tests.support.messages import TIMEOUT, OpenCall, call, chunk, good_call, header, request
from tests.support.processes import channel_to, until

if TYPE_CHECKING:
    from pathlib import Path

IDLE = 1000
CHANNELS = 5


def test_small_call_beside_a_thousand_idle_streams(server: Server) -> None:
    """A thousand streams that are open and idle do not keep a small call waiting."""
    with ExitStack() as stack:
        channels = [stack.enter_context(channel_to(server.addresses[0])) for _ in range(CHANNELS)]
        idle = [OpenCall(channels[index % CHANNELS]) for index in range(IDLE)]
        with channel_to(server.addresses[0]) as other:
            good_call(other)
        for open_call in idle:
            open_call.cancel()


def test_one_connection_has_a_share_of_the_calls(tmp_path: Path) -> None:
    """A client holds back what is beyond the share of its connection, and has its turn when there is room."""
    settings = Settings(listen=(f"unix:{tmp_path / 's'}",), max_streams_per_connection=2)
    with Server(settings) as server, channel_to(server.addresses[0]) as channel:
        taken = [OpenCall(channel) for _ in range(2)]
        with channel_to(server.addresses[0]) as other:
            good_call(other)
        third = call(channel, "gradient", [request("gradient", header=header("gradient"), chunk=chunk())])
        time.sleep(0.5)
        assert third.is_active()
        taken[0].finish()
        assert list(third)
        taken[1].cancel()


def test_calls_beyond_the_limit_are_refused(tmp_path: Path) -> None:
    """With all calls taken a new one is RESOURCE_EXHAUSTED, health is answered, and room comes back."""
    settings = Settings(listen=(f"unix:{tmp_path / 's'}",), max_concurrent_calls=2)
    with Server(settings) as server, channel_to(server.addresses[0]) as channel:
        taken = [OpenCall(channel) for _ in range(2)]
        with pytest.raises(grpc.RpcError) as caught:
            good_call(channel)
        assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        health = health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(), timeout=TIMEOUT)
        assert health.status == health_pb2.HealthCheckResponse.SERVING
        for open_call in taken:
            open_call.cancel()
        until(lambda: succeeds(channel))


def succeeds(channel: grpc.Channel) -> bool:
    """Whether a call is served."""
    try:
        good_call(channel)
    except grpc.RpcError:
        return False
    return True


def test_watching_health_takes_no_thread(server: Server, channel: grpc.Channel) -> None:
    """Watching health does not take the threads that calls need."""
    stub = health_pb2_grpc.HealthStub(channel)
    watches = [stub.Watch(health_pb2.HealthCheckRequest(), timeout=TIMEOUT) for _ in range(50)]
    for watch in watches:
        next(watch)
    until(lambda: busy_threads() == 0)
    good_call(channel)
    for watch in watches:
        watch.cancel()


def busy_threads() -> int:
    """Threads of calls beyond those that could wait for work."""
    return max(0, sum(thread.name.startswith("call") for thread in threading.enumerate()) - 40)


def test_no_thread_to_be_had(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the system gives no more threads, work waits for one that is there, and nothing is raised."""
    threads = CallThreads(4, library_logger(), Arrivals(1, TIMEOUT))
    release = threading.Event()
    started = threading.Event()
    threads.submit(lambda: (started.set(), release.wait(TIMEOUT)))
    assert started.wait(TIMEOUT)

    start = threading.Thread.start

    def refuse(thread: threading.Thread) -> None:
        if thread.name.startswith("call"):  # what else goes on in the process has its threads
            raise RuntimeError("can't start new thread")
        start(thread)

    done = threading.Event()
    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", refuse)
        threads.submit(done.set)
    assert not done.is_set()
    release.set()
    assert done.wait(TIMEOUT)
    threads.shutdown()
