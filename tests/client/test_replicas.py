"""Several servers, one of which stops without a word; and proxies that servers on this host do not need."""

from __future__ import annotations

import signal
import socket
import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
from regularization_client import Client, DeadlineExceededError, L1Norm, RegularizationError, Retry, Tls
from regularization_client._transport.replicas import Replica, Turns
from regularization_client._transport.targets import single_addresses

from tests.support.faulty_server import answering, echo
from tests.support.processes import ServerProcess, serving, until

L1 = L1Norm(strength=0.1)
THETA = np.random.default_rng(2).standard_normal(5000).astype(np.float32)
PATIENCE = 2.0
RETRY = Retry(first_pause=0.01, longest_silence=PATIENCE)
GENEROUS = 20.0
"""Seconds that tell waiting for a stopped server's sign from waiting for the deadline, on any machine."""


@contextmanager
def two_servers(folder: Path, *, tcp: bool = False) -> Iterator[tuple[ServerProcess, ServerProcess]]:
    """Two server processes."""
    with ExitStack() as stack:
        servers = []
        for name in "ab":
            (folder / name).mkdir()
            address = f"127.0.0.1:{free_port()}" if tcp else None
            servers.append(stack.enter_context(serving(folder / name, address=address)))
        yield servers[0], servers[1]


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port: int = free.getsockname()[1]
        return port


@pytest.mark.parametrize("tcp", [False, True], ids=["unix", "tcp"])
@pytest.mark.parametrize("known", [False, True], ids=["from the start", "in between"])
def test_calls_go_to_the_replica_that_answers(socket_folder: Path, tcp: bool, known: bool) -> None:
    """All are answered; one waits for a sign of life, and the others do not."""
    with two_servers(socket_folder, tcp=tcp) as (one, two):
        if not known:
            one.signal(signal.SIGSTOP)
        with Client([one.address, two.address], timeout=120, retry=RETRY) as client:
            if known:
                for _ in range(4):
                    client.penalty(THETA, L1)
                one.signal(signal.SIGSTOP)
            took = []
            for number in range(12):
                began = time.monotonic()
                if number % 3 == 0:
                    assert client.penalty(THETA, L1).nonzeros == THETA.size
                elif number % 3 == 1:
                    assert client.proximal_step(THETA, L1, step_size=1.0).elements == THETA.size
                else:
                    assert client.list_regularizers()
                took.append(time.monotonic() - began)
        one.signal(signal.SIGCONT)
    assert max(took) < GENEROUS
    assert sum(each > PATIENCE / 4 for each in took) <= 4


def test_a_large_call_goes_on_where_its_server_is_stopped_midway(socket_folder: Path) -> None:
    """With buffers full of what nobody reads; its bits are those of a call that was not."""
    theta = np.random.default_rng(4).standard_normal(1 << 22).astype(np.float32)
    with two_servers(socket_folder) as servers:
        addresses = [server.address for server in servers]
        with Client(addresses, timeout=120, retry=RETRY, chunk_bytes=1 << 16) as client:
            expected = client.proximal_step(theta, L1, step_size=1.0)
            stopped: list[ServerProcess] = []

            def stop(done: int, total: int) -> None:
                if done > total // 3 and not stopped:
                    busy = [each for each in servers if "call" in each.log.splitlines()[-1]]
                    stopped.append(servers[1] if busy == [servers[0]] else servers[0])
                    stopped[0].signal(signal.SIGSTOP)

            began = time.monotonic()
            step = client.proximal_step(theta, L1, step_size=1.0, progress=stop)
            again = client.proximal_step(theta, L1, step_size=1.0)
            took = time.monotonic() - began
            for server in stopped:
                server.signal(signal.SIGCONT)
    assert stopped
    np.testing.assert_array_equal(step.parameters, expected.parameters)
    assert step.exact_penalty == again.exact_penalty == expected.exact_penalty
    assert took < 2 * GENEROUS


def test_a_replica_that_goes_on_takes_its_turn_again(socket_folder: Path) -> None:
    """Once it has answered a probe."""
    with (
        two_servers(socket_folder) as (one, two),
        Client([one.address, two.address], timeout=120, retry=RETRY) as client,
    ):
        one.signal(signal.SIGSTOP)
        for _ in range(3):
            client.penalty(THETA, L1)
        before = one.log.count("Penalty")
        one.signal(signal.SIGCONT)

        def answers_again() -> bool:
            client.penalty(THETA, L1)
            return one.log.count("Penalty") > before + 2

        until(answers_again)


def test_a_long_computation_is_waited_for() -> None:
    """Nothing moves in it for many times the longest silence, and its server says that it is there."""
    calls = []

    def think(requests: Iterable[Any], context: grpc.ServicerContext) -> Iterator[Any]:
        calls.append(1)
        time.sleep(3)
        yield from echo(requests, context)

    retry = Retry(longest_silence=0.5)
    with answering(think) as one, answering(think) as two, Client([one, two], retry=retry) as client:
        assert client.proximal_step(THETA, L1, step_size=1.0).elements == THETA.size
    assert len(calls) == 1


def test_one_target_is_waited_for(socket_folder: Path) -> None:
    """Until the deadline: there is nobody else."""
    retry = Retry(longest_silence=0.2)
    with serving(socket_folder) as server, Client(server.address, retry=retry) as client:
        client.penalty(THETA, L1)
        server.signal(signal.SIGSTOP)
        with pytest.raises(DeadlineExceededError):
            client.penalty(THETA, L1, timeout=2)
        server.signal(signal.SIGCONT)
        assert client.penalty(THETA, L1).nonzeros == THETA.size


def test_turns_are_taken_by_those_that_are_not_in_doubt() -> None:
    """If all are, by the one that has been for longest."""

    class Never:
        def add_done_callback(self, callback: Any) -> None:
            pass

    replicas = [Replica(lambda seconds: Never()) for _ in range(3)]  # type: ignore[arg-type, return-value]
    turns = Turns(replicas)
    assert [turns.next() for _ in range(6)] == [0, 1, 2] * 2
    replicas[1].doubt()
    assert {turns.next() for _ in range(6)} == {0, 2}
    time.sleep(0.01)
    replicas[0].doubt()
    time.sleep(0.01)
    replicas[2].doubt()
    assert {turns.next() for _ in range(3)} == {1}
    replicas[2].trust()
    assert {turns.next() for _ in range(3)} == {2}


@pytest.mark.parametrize(
    ("address", "single"),
    [
        ("localhost:1", ["localhost:1"]),
        ("unix:/a,/b", ["unix:/a", "unix:/b"]),
        ("unix:/a", ["unix:/a"]),
        ("ipv4:127.0.0.1:1,127.0.0.2:2", ["ipv4:127.0.0.1:1", "ipv4:127.0.0.2:2"]),
        ("ipv6:[::1]:1,[::1]:2", ["ipv6:[::1]:1", "ipv6:[::1]:2"]),
        ("dns:///a:1", ["dns:///a:1"]),
    ],
)
def test_the_addresses_in_one(address: str, single: list[str]) -> None:
    """As grpc writes several."""
    assert single_addresses(address) == single


@contextmanager
def proxy() -> Iterator[tuple[str, list[bytes]]]:
    """A proxy that refuses everything: its URL, and what it was sent."""
    seen: list[bytes] = []
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            while True:
                try:
                    peer, _ = listener.accept()
                except OSError:
                    return
                with peer:
                    seen.append(peer.recv(4096))

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{listener.getsockname()[1]}", seen
        listener.shutdown(socket.SHUT_RDWR)
        thread.join(10)


@pytest.mark.parametrize("variable", ["http_proxy", "https_proxy", "grpc_proxy"])
@pytest.mark.parametrize("several", [False, True])
def test_a_proxy_sees_nothing_of_what_stays_on_this_host(
    monkeypatch: pytest.MonkeyPatch, variable: str, several: bool
) -> None:
    """Not even that there was a call: its token would be in the clear."""
    for name in ("no_proxy", "no_grpc_proxy"):
        monkeypatch.delenv(name, raising=False)
    with proxy() as (url, seen), answering(echo) as one, answering(echo) as two:
        monkeypatch.setenv(variable, url)
        targets = [one, two] if several else one
        with Client(targets, token="secret", retry=Retry(attempts=1)) as client:  # noqa: S106
            for _ in range(4):
                client.proximal_step(THETA, L1, step_size=1.0)
    assert seen == []


def test_others_go_through_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """As with any program; a token goes there only where TLS hides it from the proxy."""
    for name in ("no_proxy", "no_grpc_proxy"):
        monkeypatch.delenv(name, raising=False)
    with proxy() as (url, seen):
        monkeypatch.setenv("http_proxy", url)
        once = Retry(attempts=1)
        with (
            Client("regularization.invalid:1", tls=Tls(), token="secret", retry=once) as client,  # noqa: S106
            pytest.raises(RegularizationError),
        ):
            client.penalty(THETA, L1, timeout=5)
    assert seen[0].startswith(b"CONNECT regularization.invalid:1 ")
    assert all(b"secret" not in each for each in seen)


@pytest.mark.parametrize("token", ["secret\n", "sécret", "a\0b"])
def test_a_token_that_no_header_can_carry_is_refused(token: str) -> None:
    """With the rule, and without the token; a file's last line end is the usual one."""
    with Client("localhost:1", token=token) as client, pytest.raises(RegularizationError) as caught:
        client.penalty(THETA, L1)
    assert "printable ASCII" in str(caught.value)
    assert "cret" not in str(caught.value)
