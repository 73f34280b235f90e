"""Health on an address of its own: who may ask there, what is there, and what of callers reaches it."""

from __future__ import annotations

import re
import signal
import socket
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from regularization_server import Server, Settings
from regularization_server.process.supervisor import shares
from regularization_server.server import SERVICES
from regularization_server.settings import SettingInvalid

from tests.server.test_command import run
from tests.server.test_processes import processes
from tests.support.attackers import WATCH, attacking
from tests.support.certificates import Authority
from tests.support.messages import SERVICE, TIMEOUT, OpenCall, good_call
from tests.support.metrics import Scrape
from tests.support.processes import channel_to, serving, until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING
REFLECT = "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo"


def status_at(address: str, service: str = "") -> int:
    """What a new connection hears of a service."""
    with channel_to(address) as channel:
        request = health_pb2.HealthCheckRequest(service=service)
        return int(health_pb2_grpc.HealthStub(channel).Check(request, timeout=TIMEOUT).status)


@contextmanager
def server_with(folder: Path, **settings: Any) -> Iterator[tuple[Server, str]]:
    """A server with health on a Unix socket beside its own, and the address of that."""
    given = {"listen": (f"unix:{folder / 's'}",), "health_listen": f"unix:{folder / 'h'}", **settings}
    with Server(Settings(**given)) as server:
        assert server.health_address is not None
        yield server, server.health_address


def test_health_alone_is_served_there(tmp_path: Path) -> None:
    """The same statuses as on the other addresses, in every method; nothing else, and no shared memory."""
    with server_with(tmp_path) as (_, address), channel_to(address) as channel:
        assert [status_at(address, name) for name in ("", SERVICE)] == [SERVING, SERVING]
        stub = health_pb2_grpc.HealthStub(channel)
        listed = stub.List(health_pb2.HealthListRequest(), timeout=TIMEOUT).statuses
        assert set(listed) == {"", *SERVICES}
        with pytest.raises(grpc.RpcError, match="NOT_FOUND"):
            status_at(address, "nobody")
        for method in (f"/{SERVICE}/Penalty", f"/{SERVICE}/ListRegularizers", REFLECT):
            with pytest.raises(grpc.RpcError, match="UNIMPLEMENTED"):
                list(channel.stream_stream(method)(iter([b""]), timeout=TIMEOUT))
        assert {each.name for each in tmp_path.iterdir()} == {"s", "s.memory", "h"}
    assert list(tmp_path.iterdir()) == []


def test_it_is_asked_in_the_clear_where_callers_need_tls_and_tokens(tmp_path: Path) -> None:
    """Also on every interface, where a start is refused that lets tokens come so."""
    Authority().sign("server").write(tmp_path, "server")
    (tmp_path / "token").write_text("secret")
    tls = {"tls_certificate": tmp_path / "server.pem", "tls_key": tmp_path / "server.key"}
    callers = {"listen": ("127.0.0.1:0",), "token_file": tmp_path / "token", **tls}
    with server_with(tmp_path, health_listen="0.0.0.0:0", **callers) as (server, address):
        port = address.removeprefix("0.0.0.0:")
        assert int(port) not in {0, int(server.addresses[0].rpartition(":")[2])}
        assert status_at(f"127.0.0.1:{port}") == SERVING


@contextmanager
def _connection(address: str) -> Iterator[socket.socket]:
    """A connection to a Unix socket, which says nothing."""
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(TIMEOUT)
        connection.connect(address.removeprefix("unix:"))
        yield connection


def test_callers_do_not_reach_it(tmp_path: Path) -> None:
    """Not with all connections that they may have, and hundreds of half-sent calls of health itself."""
    with ExitStack() as stack:
        _, address = stack.enter_context(server_with(tmp_path, max_connections=4, max_concurrent_calls=8))
        attacks = [stack.enter_context(attacking(f"unix:{tmp_path / 's'}")) for _ in range(4)]
        for attack in attacks:
            attack.begin(WATCH, 200)
        further = stack.enter_context(_connection(f"unix:{tmp_path / 's'}"))
        until(lambda: further.recv(1 << 10) == b"")
        for _ in range(3):
            assert status_at(address) == SERVING


def test_who_asks_for_health_does_not_reach_callers(tmp_path: Path) -> None:
    """Half-sent checks and silent connections there leave all calls to callers."""
    with ExitStack() as stack:
        server, address = stack.enter_context(server_with(tmp_path, max_connections=4))
        for _ in range(2):
            stack.enter_context(attacking(address)).begin(WATCH, 200)
        for _ in range(8):
            stack.enter_context(_connection(address))
        with channel_to(server.addresses[0]) as channel:
            good_call(channel)


def test_it_says_not_serving_until_the_last_call_is_done(tmp_path: Path) -> None:
    """At once after the signal, to who watches and on new connections, when others are not taken any more."""
    flags = (f"--health-listen=unix:{tmp_path / 'h'}",)
    with ExitStack() as stack:
        server = stack.enter_context(serving(tmp_path, *flags))
        address = f"unix:{tmp_path / 'h'}"
        channel = stack.enter_context(channel_to(address))
        request = health_pb2.HealthCheckRequest()
        watched = health_pb2_grpc.HealthStub(channel).Watch(request, timeout=TIMEOUT)
        assert next(watched).status == SERVING
        open_call = OpenCall(stack.enter_context(channel_to(server.address)))
        server.signal(signal.SIGTERM)
        assert next(watched).status == NOT_SERVING
        until(lambda: "stopping" in server.log)
        assert [status_at(address) for _ in range(3)] == [NOT_SERVING] * 3
        assert len(open_call.finish()) == 1
        assert server.wait() == 0
    assert not (tmp_path / "h").exists()


def test_calls_there_are_counted(tmp_path: Path) -> None:
    """With those of health on other addresses, and what is not there as other."""
    with server_with(tmp_path, metrics_listen=f"unix:{tmp_path / 'm'}") as (server, address):
        for each in (address, address, server.addresses[0]):
            status_at(each)
        with channel_to(address) as channel, pytest.raises(grpc.RpcError):
            good_call(channel)
        metrics = f"unix:{tmp_path / 'm'}"
        until(lambda: Scrape(metrics).statuses(grpc_method="grpc.health.v1.Health/Check") == {"OK": 3})
        assert Scrape(metrics).statuses(grpc_method="other") == {"UNIMPLEMENTED": 1}


def test_each_process_answers(tmp_path: Path) -> None:
    """On Unix sockets of their own; a TCP port is one for all, and is free again at the end."""
    flags = (f"--health-listen=unix:{tmp_path / 'h'}",)
    with processes(tmp_path, 2, *flags) as server:
        assert [status_at(f"unix:{tmp_path / name}") for name in ("h", "h.1")] == [SERVING, SERVING]
        server.signal(signal.SIGTERM)
        assert server.wait() == 0
    with processes(tmp_path, 2, "--health-listen=127.0.0.1:0") as server:
        (address,) = set(re.findall(r"health=(127\.0\.0\.1:\d+)", server.log))
        assert status_at(address) == SERVING


def test_processes_have_addresses_of_health_of_their_own() -> None:
    """As they have of callers; none where none is set."""
    settings = Settings(processes=2, health_listen="unix-abstract:h")
    assert [each.health_listen for each in shares(settings)] == ["unix-abstract:h", "unix-abstract:h.1"]
    assert [each.health_listen for each in shares(Settings(processes=2))] == [None, None]


def test_a_start_that_fails_gives_it_back(tmp_path: Path) -> None:
    """Whether its own address or a later one cannot be had; a stop afterwards is none."""
    taken = Settings(listen=(f"unix:{tmp_path / 's'}",), health_listen=f"unix:{tmp_path / 'absent' / 'h'}")
    other = Settings(
        listen=(f"unix:{tmp_path / 's'}",),
        health_listen=f"unix:{tmp_path / 'h'}",
        metrics_listen=f"unix:{tmp_path / 'absent' / 'm'}",
    )
    for settings in (taken, other):
        server = Server(settings)
        with pytest.raises(SettingInvalid, match="absent"):
            server.start()
        assert server.stop()
        assert list(tmp_path.iterdir()) == []


def test_a_living_servers_socket_is_not_taken(tmp_path: Path) -> None:
    """Health of one server is not another's, nor is its service."""
    with server_with(tmp_path):
        for address in (f"unix:{tmp_path / 's'}", f"unix:{tmp_path / 'h'}"):
            second = Server(Settings(listen=(f"unix:{tmp_path / 'other'}",), health_listen=address))
            with pytest.raises(SettingInvalid, match=r"health_listen: .* is in use"):
                second.start()


def test_the_probe_asks_there(tmp_path: Path) -> None:
    """Where it is set and neither a target nor TLS is; with TLS it asks where callers do."""
    (tmp_path / "ca.pem").write_bytes(Authority().certificate)
    environment = {
        "PATH": "",
        "REGULARIZATION_LISTEN": f"unix:{tmp_path / 's'}",
        "REGULARIZATION_HEALTH_LISTEN": f"unix:{tmp_path / 'h'}",
    }
    with server_with(tmp_path):
        assert run("probe", **environment).stdout == f"unix:{tmp_path / 'h'}: SERVING\n"
        flags = ("probe", "--target", f"unix:{tmp_path / 's'}")
        assert run(*flags, **environment).stdout == f"unix:{tmp_path / 's'}: SERVING\n"
    absent = run("probe", "--timeout=0.1", "--tls-ca", tmp_path / "ca.pem", **environment)
    assert absent.stderr.startswith(f"unix:{tmp_path / 's'}: ")
