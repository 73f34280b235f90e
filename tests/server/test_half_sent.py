"""Calls that send their headers and then nothing: they take nobody's thread, and do not stay."""

from __future__ import annotations

import threading
import time
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc
from regularization.v1.regularization_service_pb2 import ListRegularizersRequest
from regularization.v1.regularization_service_pb2_grpc import RegularizationServiceStub
from regularization_server import Server, Settings
from regularization_server.calls import grpc_internals

from tests.support.attackers import CHECK, REFLECT, WATCH, Calls, attacking, message
from tests.support.messages import TIMEOUT, Failed, chunk, good_call, header, request
from tests.support.processes import channel_to, until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

IDLE = 2.0
SLACK = 2.0
"""Seconds beyond the timeout within which a call is let go."""
CONNECTIONS = 6
EACH = 30
"""Half-sent calls on each connection; all together several times as many as there are threads."""


def small(tmp_path: Path, **more: Any) -> Settings:
    """Settings of a server with room for few calls."""
    return Settings(listen=(f"unix:{tmp_path / 's'}",), max_concurrent_calls=4, grace_period=5, **more)


def health_of(channel: grpc.Channel) -> int:
    """What the server says of its health."""
    stub = health_pb2_grpc.HealthStub(channel)
    status: int = stub.Check(health_pb2.HealthCheckRequest(), timeout=TIMEOUT).status
    return status


def test_this_version_of_grpc_is_known() -> None:
    """What is used of the inside of gRPC is there; otherwise calls would take threads with their headers."""
    assert grpc_internals.KNOWN


@pytest.mark.parametrize("method", [CHECK, WATCH, REFLECT, "ListRegularizers", "ListPlans", "ProximalStep"])
def test_headers_alone_starve_nobody(tmp_path: Path, method: str) -> None:
    """Beside many times as many half-sent calls as the server takes, everything is served."""
    with Server(small(tmp_path)) as server, ExitStack() as stack:
        attacks = [stack.enter_context(attacking(server.addresses[0])) for _ in range(CONNECTIONS)]
        before = threading.active_count()
        for attack in attacks:
            attack.begin(method, EACH)
        until(lambda: waiting_in(server) == CONNECTIONS * EACH)
        with channel_to(server.addresses[0]) as channel:
            assert health_of(channel) == health_pb2.HealthCheckResponse.SERVING
            good_call(channel)
            assert list_services(channel)
            assert threading.active_count() < before + EACH
        assert not any(attack.ended for attack in attacks)


def list_services(channel: grpc.Channel) -> list[Any]:
    """What reflection knows."""
    stub = reflection_pb2_grpc.ServerReflectionStub(channel)
    requests = [reflection_pb2.ServerReflectionRequest(list_services="")]
    return list(stub.ServerReflectionInfo(iter(requests), timeout=TIMEOUT))


@pytest.mark.parametrize("method", [CHECK, WATCH, REFLECT, "ListRegularizers", "ProximalStep"])
def test_a_call_without_a_message_is_let_go(tmp_path: Path, method: str) -> None:
    """When the timeout is over, the server ends calls of which it has nothing but the headers."""
    settings = small(tmp_path, stream_idle_timeout=IDLE)
    with Server(settings) as server, attacking(server.addresses[0]) as attack:
        began = time.monotonic()
        streams = attack.begin(method, 20)
        until(lambda: attack.ended.keys() >= set(streams), IDLE + 2 * SLACK)
        assert time.monotonic() - began >= IDLE


def test_the_longest_wait_ends_where_too_many_wait(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Beyond the limit, the calls that have waited longest are refused, and later ones are served."""
    monkeypatch.setattr("regularization_server.server.most_waiting", lambda settings: 20)
    with Server(small(tmp_path)) as server, attacking(server.addresses[0]) as attack:
        streams = attack.begin("ListRegularizers", 30)
        until(lambda: attack.ended.keys() == set(streams[:10]))
        with channel_to(server.addresses[0]) as channel:
            good_call(channel)


def test_where_too_many_wait_another_caller_keeps_his_call(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who begins more than may wait loses calls of his own, also where another has waited for longer."""
    monkeypatch.setattr("regularization_server.server.most_waiting", lambda settings: 20)
    (tmp_path / "tokens").write_text("greedy: aaaa\nmodest: bbbb\n")
    settings = small(tmp_path, token_file=tmp_path / "tokens")
    begins = threading.Event()
    whole = request("penalty", header=header("penalty"), chunk=chunk())

    def late() -> Iterator[Any]:
        begins.wait(TIMEOUT)
        yield whole

    with (
        Server(settings) as server,
        channel_to(server.addresses[0]) as channel,
        attacking(server.addresses[0]) as greedy,
    ):
        own = (("authorization", "Bearer bbbb"),)
        modest = RegularizationServiceStub(channel).Penalty.future(late(), timeout=TIMEOUT, metadata=own)
        until(lambda: waiting_in(server) == 1)
        for more in (15, 45):
            streams = greedy.begin("Gradient", more, (b"authorization", b"Bearer aaaa"))
        until(lambda: len(greedy.ended) == 60 + 1 - 20)
        assert not greedy.ended.keys() & set(streams[-19:])
        begins.set()
        assert modest.result().summary.total.elements == 8
        assert waiting_in(server) == 19


def test_a_late_sender_learns_the_reason(tmp_path: Path) -> None:
    """A stream whose first message never comes ends with DEADLINE_EXCEEDED, the reason and the limit."""
    with Server(small(tmp_path, stream_idle_timeout=1)) as server, channel_to(server.addresses[0]) as channel:
        done = threading.Event()
        stub = RegularizationServiceStub(channel)
        with pytest.raises(grpc.RpcError) as caught:
            stub.Penalty(iter(done.wait, True), timeout=TIMEOUT)
        done.set()
    failed = Failed.of(caught.value)
    assert (failed.code, failed.reason) == (
        grpc.StatusCode.DEADLINE_EXCEEDED,
        "ERROR_REASON_STREAM_IDLE",
    )
    assert failed.metadata["limit_milliseconds"] == "1000"


def test_a_call_that_takes_one_message_and_gets_none_says_so(server: Server) -> None:
    """A half-close without a message is MESSAGE_UNREADABLE, and ends the call at once."""
    with channel_to(server.addresses[0]) as channel:
        call = channel.stream_unary(
            "/regularization.v1.RegularizationService/ListRegularizers",
            request_serializer=ListRegularizersRequest.SerializeToString,
        )
        with pytest.raises(grpc.RpcError) as caught:
            call(iter(()), timeout=TIMEOUT)
        assert Failed.of(caught.value).reason == "ERROR_REASON_MESSAGE_UNREADABLE"


def test_calls_that_are_reset_leave_no_line_and_no_thread(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Of calls that are cancelled before their first message, nothing is left, not in the log either."""
    caplog.set_level("INFO")
    with Server(small(tmp_path)) as server, attacking(server.addresses[0]) as attack:
        for _ in range(10):
            attack.reset(attack.begin("ProximalStep", 30))
        with channel_to(server.addresses[0]) as channel:
            good_call(channel)
        until(lambda: waiting_in(server) == 0)
    assert caplog.text.count("method=") == 1


def waiting_in(server: Server) -> int:
    """Calls that wait for their first message."""
    return len(server._arrivals)


def test_a_watcher_that_does_not_read_keeps_health_from_nobody(tmp_path: Path) -> None:
    """Beside many who watch and take no answer, health is told, and the server stops in time."""
    with Server(small(tmp_path, stream_idle_timeout=IDLE)) as server:
        with attacking(server.addresses[0], reads=False) as attack:
            watch(attack, 20)
            with channel_to(server.addresses[0]) as channel:
                assert health_of(channel) == health_pb2.HealthCheckResponse.SERVING
                began = time.monotonic()
                assert server.stop()
        assert time.monotonic() - began < TIMEOUT / 2


def watch(attack: Calls, count: int) -> None:
    """Watch health."""
    for stream in attack.begin(WATCH, count):
        attack.send(stream, message(b""), end=True)


def test_a_watcher_that_reads_stays(tmp_path: Path) -> None:
    """Watching health lasts longer than a call may, however quiet it is, and hears of the stop."""
    settings = small(tmp_path, stream_idle_timeout=1, max_call_seconds=1)
    with Server(settings) as server, channel_to(server.addresses[0]) as channel:
        answers = health_pb2_grpc.HealthStub(channel).Watch(health_pb2.HealthCheckRequest(), timeout=TIMEOUT)
        assert next(answers).status == health_pb2.HealthCheckResponse.SERVING
        time.sleep(2.5)
        assert answers.is_active()
        stopping = threading.Thread(target=server.stop)
        stopping.start()
        assert next(answers).status == health_pb2.HealthCheckResponse.NOT_SERVING
        stopping.join()


def test_without_the_inside_of_grpc_calls_are_served_and_let_go(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With a version of gRPC that is not known, everything is served, and an idle call is CANCELLED."""
    monkeypatch.setattr(grpc_internals, "KNOWN", False)
    with Server(small(tmp_path, stream_idle_timeout=1)) as server, channel_to(server.addresses[0]) as channel:
        good_call(channel)
        assert list_services(channel)
        assert health_of(channel) == health_pb2.HealthCheckResponse.SERVING
        done = threading.Event()
        with pytest.raises(grpc.RpcError) as caught:
            RegularizationServiceStub(channel).Penalty(iter(done.wait, True), timeout=TIMEOUT)
        done.set()
        assert caught.value.code() in {grpc.StatusCode.DEADLINE_EXCEEDED, grpc.StatusCode.CANCELLED}
        assert waiting_in(server) == 0
