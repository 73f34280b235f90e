"""The life of a server process: starting, stopping, and what callers see of it."""

from __future__ import annotations

import signal
from threading import Thread
from typing import TYPE_CHECKING, Any

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from regularization_server import Server, Settings
from regularization_server.calls.admission import Calls
from regularization_server.settings import SettingInvalid

from tests.support.messages import SERVICE, TIMEOUT, Failed, OpenCall, good_call
from tests.support.processes import channel_to, serving, until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING


def watch(channel: grpc.Channel, service: str = "") -> Iterator[Any]:
    """The health of a service as it changes."""
    stub = health_pb2_grpc.HealthStub(channel)
    changes: Iterator[Any] = stub.Watch(health_pb2.HealthCheckRequest(service=service), timeout=TIMEOUT)
    return changes


def test_calls_in_flight_finish(tmp_path: Path) -> None:
    """After SIGTERM health is NOT_SERVING at once, a call in flight finishes, and the exit code is 0."""
    with serving(tmp_path) as server, channel_to(server.address) as channel:
        health = [watch(channel), watch(channel, SERVICE)]
        assert [next(changes).status for changes in health] == [SERVING, SERVING]
        open_call = OpenCall(channel)
        server.signal(signal.SIGTERM)
        assert [next(changes).status for changes in health] == [NOT_SERVING, NOT_SERVING]
        (last,) = open_call.finish()
        assert last.HasField("summary")
        assert server.wait() == 0
        assert "finished=true" in server.log


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_idle_server_stops(tmp_path: Path, number: signal.Signals) -> None:
    """Without calls in flight either signal ends the process with 0 and removes the socket."""
    with serving(tmp_path) as server, channel_to(server.address) as channel:
        good_call(channel)
        server.signal(number)
        assert server.wait() == 0
    assert not (tmp_path / "s").exists()


def test_no_new_calls_while_stopping(tmp_path: Path) -> None:
    """While calls in flight finish, a new call is UNAVAILABLE, or closed; clients replay both."""
    with (
        serving(tmp_path) as server,
        channel_to(server.address) as channel,
        channel_to(server.address) as other,
    ):
        open_call = OpenCall(channel)
        server.signal(signal.SIGTERM)
        until(lambda: "stopping" in server.log)
        for late in (channel, other):
            with pytest.raises(grpc.RpcError) as caught:
                good_call(late)
            assert caught.value.code() in {grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED}
        assert len(open_call.finish()) == 1
        assert server.wait() == 0


def test_call_past_the_grace_period_is_cut_off(tmp_path: Path) -> None:
    """A call that does not finish within the grace period ends with UNAVAILABLE, and the process with 0."""
    with serving(tmp_path, "--grace-period", "0.2") as server, channel_to(server.address) as channel:
        open_call = OpenCall(channel)
        server.signal(signal.SIGTERM)
        with pytest.raises(grpc.RpcError) as caught:
            list(open_call.answers)
        assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
        assert server.wait() == 0
        open_call.close()


def test_second_signal_stops_at_once(tmp_path: Path) -> None:
    """A second signal ends the process in the middle of its grace period, with the signal's exit code."""
    with serving(tmp_path, "--grace-period", "600") as server, channel_to(server.address) as channel:
        open_call = OpenCall(channel)
        server.signal(signal.SIGTERM)
        until(lambda: "stopping" in server.log)
        server.signal(signal.SIGTERM)
        assert server.wait() == 128 + signal.SIGTERM
        open_call.close()


def test_call_that_gets_through_while_stopping(server: Server, channel: grpc.Channel) -> None:
    """A call that reaches the service after it stopped to take calls hears why."""
    calls: Calls = server._calls
    calls.close()
    with pytest.raises(grpc.RpcError) as caught:
        good_call(channel)
    got = Failed.of(caught.value)
    assert got.code is grpc.StatusCode.UNAVAILABLE
    assert got.reason == "ERROR_REASON_SHUTTING_DOWN"


def test_two_addresses(tmp_path: Path) -> None:
    """A server listens on several addresses, and tells the port that was free."""
    with Server(Settings(listen=(f"unix:{tmp_path / 's'}", "127.0.0.1:0"))) as server:
        assert server.addresses[0] == f"unix:{tmp_path / 's'}"
        host, port = server.addresses[1].split(":")
        assert host == "127.0.0.1"
        assert int(port) > 0
        for address in server.addresses:
            with channel_to(address) as channel:
                good_call(channel)


def test_socket_of_a_dead_server_is_replaced(tmp_path: Path) -> None:
    """The socket file that a killed server left does not stand in the way of the next."""
    with serving(tmp_path) as server:
        server.signal(signal.SIGKILL)
        server.wait()
    assert (tmp_path / "s").is_socket()
    with serving(tmp_path) as server, channel_to(server.address) as channel:
        good_call(channel)


def test_socket_permissions(tmp_path: Path) -> None:
    """Owner and group may call through a Unix socket, unless the mode is set otherwise."""
    path = tmp_path / "s"
    address = f"unix:{path}"
    with Server(Settings(listen=(address,))):
        assert path.stat().st_mode & 0o777 == 0o660
    with Server(Settings(listen=(address,), unix_socket_mode=0o600)):
        assert path.stat().st_mode & 0o777 == 0o600


def test_failed_start_gives_addresses_back(tmp_path: Path) -> None:
    """Where one address cannot be listened on, the others are free again."""
    path = tmp_path / "s"
    server = Server(Settings(listen=(f"unix:{path}", f"unix:{tmp_path / 'absent' / 's'}")))
    with pytest.raises(SettingInvalid, match="absent"):
        server.start()
    assert not path.exists()
    with (
        Server(Settings(listen=(f"unix:{path}",))) as next_server,
        channel_to(next_server.addresses[0]) as channel,
    ):
        good_call(channel)


def test_stopping_twice_and_before_the_start(tmp_path: Path) -> None:
    """A server may be stopped at any time, any number of times; it starts once."""
    server = Server(Settings(listen=(f"unix:{tmp_path / 's'}",)))
    assert server.stop()
    server.start()
    assert server.stop()
    assert server.stop()
    with pytest.raises(RuntimeError, match="once"):
        server.start()


def test_next_server_may_take_the_socket_over(tmp_path: Path) -> None:
    """While calls of a stopping server finish, the next one listens on the same socket, and keeps it."""
    settings = Settings(listen=(f"unix:{tmp_path / 's'}",))
    with Server(settings) as first, channel_to(first.addresses[0]) as channel:
        open_call = OpenCall(channel)
        stopping = Thread(target=first.stop, kwargs={"grace": TIMEOUT})
        stopping.start()
        until(lambda: not (tmp_path / "s").exists())
        with Server(settings) as second, channel_to(second.addresses[0]) as other:
            assert len(open_call.finish()) == 1
            stopping.join()
            good_call(other)


def test_stop_waits_for_what_is_on_its_way(tmp_path: Path) -> None:
    """A stop in the same moment as the last request does not cut off its answer."""
    for number in range(20):
        with (
            Server(Settings(listen=(f"unix:{tmp_path / str(number)}",))) as server,
            channel_to(server.addresses[0]) as channel,
        ):
            open_call = OpenCall(channel)
            open_call.send_rest()
            assert server.stop(grace=TIMEOUT)
            (last,) = open_call.answers
            assert last.HasField("summary")
