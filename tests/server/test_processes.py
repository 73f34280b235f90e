"""Several server processes: on one port, each with its own health and budget, watched by one."""

from __future__ import annotations

import os
import re
import signal
import socket
from contextlib import ExitStack, contextmanager
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

import click
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from regularization_server import Server, Settings
from regularization_server.command import main
from regularization_server.process.options import arguments_of
from regularization_server.process.ports import reserved
from regularization_server.process.supervisor import FIRST_PAUSE, LONGEST_PAUSE, Child, shares
from regularization_server.settings import SettingInvalid

from tests.server.test_command import run
from tests.support.messages import TIMEOUT, OpenCall, good_call
from tests.support.processes import ServerProcess, channel_to, serving, until

if TYPE_CHECKING:
    from collections.abc import Iterator

LOCAL = "127.0.0.1:0"


@contextmanager
def processes(folder: Path, count: int, *arguments: str, address: str = LOCAL) -> Iterator[ServerProcess]:
    """So many processes, all of them ready."""
    flags = (f"--processes={count}", "--log-format=logfmt", *arguments)
    with serving(folder, *flags, address=address) as server:
        until(lambda: server.log.count("event=serving") == count)
        yield server


def lines(server: ServerProcess, event: str) -> list[str]:
    """The lines of an event in the log."""
    return [line for line in server.log.splitlines() if f"event={event} " in line.replace('"', "")]


def port_of(server: ServerProcess) -> str:
    """The TCP address that all processes listen on."""
    found = {match for line in lines(server, "serving") for match in re.findall(r"127\.0\.0\.1:\d+", line)}
    (address,) = found
    return str(address)


def pids(server: ServerProcess) -> dict[int, int]:
    """The process id of each process's last start."""
    pairs = [re.findall(r"process=(\d+) pid=(\d+)", line) for line in lines(server, "process started")]
    return {int(index): int(pid) for ((index, pid),) in pairs}


def is_alive(pid: int) -> bool:
    """Whether there is such a process, and it is not dead already."""
    try:
        return "State:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    except FileNotFoundError:
        return False


def test_connections_are_spread_over_the_processes(tmp_path: Path) -> None:
    """All listen on one port, which was free; each answers calls, and the log says which did."""
    with processes(tmp_path, 2) as server:
        address = port_of(server)

        def both_have_answered() -> bool:
            with channel_to(address) as channel:
                good_call(channel)
            answered = {re.findall(r"process=(\d)", line)[0] for line in lines(server, "call")}
            return answered == {"0", "1"}

        until(both_have_answered)


def test_each_process_has_its_own_unix_socket_and_health(tmp_path: Path) -> None:
    """The path itself and the path with .1 behind it, each SERVING; they go away with their processes."""
    path = tmp_path / "s"
    with processes(tmp_path, 2, address=f"unix:{path}") as server:
        for address in (server.address, f"{server.address}.1"):
            with channel_to(address) as channel:
                good_call(channel)
                health = health_pb2_grpc.HealthStub(channel).Check(
                    health_pb2.HealthCheckRequest(), timeout=TIMEOUT
                )
                assert health.status == health_pb2.HealthCheckResponse.SERVING
        server.signal(signal.SIGTERM)
        assert server.wait() == 0
    assert not [each for each in tmp_path.iterdir() if each.name.startswith("s")]


def time_of(line: str) -> datetime:
    """When a line was logged."""
    return datetime.fromisoformat(re.findall(r"timestamp=(\S+)", line)[0])


def test_a_process_that_dies_is_started_again(tmp_path: Path) -> None:
    """The others go on serving meanwhile; the new one takes the dead one's place soon, however often."""
    with processes(tmp_path, 2, address=f"unix:{tmp_path / 's'}") as server:
        for kills in range(1, 4):
            os.kill(pids(server)[0], signal.SIGKILL)
            with channel_to(f"{server.address}.1") as channel:
                good_call(channel)
            until(lambda kills=kills: server.log.count("event=serving") == 2 + kills)
        assert server.log.count("process=0 status=-9") == 3
        ends = map(time_of, lines(server, "process ended"))
        starts = map(time_of, lines(server, "process started")[2:])
        pauses = [(start - end).total_seconds() for end, start in zip(ends, starts, strict=True)]
        assert FIRST_PAUSE <= pauses[0] < pauses[1] < pauses[2] < 8 * FIRST_PAUSE
        with channel_to(server.address) as channel:
            good_call(channel)
        server.signal(signal.SIGTERM)
        assert server.wait() == 0


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_all_stop_together_once_their_calls_are_done(tmp_path: Path, number: signal.Signals) -> None:
    """After a signal to the supervisor a call in flight finishes; the exit code is 0, and nobody is left."""
    with processes(tmp_path, 2, address=f"unix:{tmp_path / 's'}") as server, ExitStack() as stack:
        channel = stack.enter_context(channel_to(f"{server.address}.1"))
        open_call = OpenCall(channel)
        server.signal(number)
        until(lambda: "event=stopped process=0" in server.log)
        (last,) = open_call.finish()
        assert last.HasField("summary")
        assert server.wait() == 0
        assert not any(map(is_alive, pids(server).values()))


def test_a_second_signal_stops_all_at_once(tmp_path: Path) -> None:
    """In the middle of the grace period, with the signal's exit code."""
    flags = ("--grace-period=600",)
    with processes(tmp_path, 2, *flags, address=f"unix:{tmp_path / 's'}") as server:
        with channel_to(server.address) as channel:
            open_call = OpenCall(channel)
            server.signal(signal.SIGTERM)
            until(lambda: server.log.count("event=stopping ") == 2)
            server.signal(signal.SIGTERM)
            assert server.wait() == 128 + signal.SIGTERM
            open_call.close()
        assert not any(map(is_alive, pids(server).values()))


def test_processes_do_not_outlive_the_supervisor(tmp_path: Path) -> None:
    """Where it is killed, they stop by themselves."""
    with processes(tmp_path, 2) as server:
        children = pids(server).values()
        server.process.kill()
        until(lambda: not any(map(is_alive, children)))


def test_the_supervisor_has_no_grpc_in_it(tmp_path: Path) -> None:
    """What starts processes has never loaded it, so nothing of it is forked."""
    with processes(tmp_path, 1 + 1) as server:
        assert "cygrpc" not in Path(f"/proc/{server.process.pid}/maps").read_text()
        assert "cygrpc" in Path(f"/proc/{pids(server)[0]}/maps").read_text()


def test_settings_that_cannot_work_end_it(tmp_path: Path) -> None:
    """With exit code 2: an address that is taken is seen at once, an unreadable file in the first process."""
    with socket.create_server(("127.0.0.1", 0)) as other:
        address = f"127.0.0.1:{other.getsockname()[1]}"
        taken = run("--processes=2", f"--listen={address}")
    assert (taken.returncode, taken.stderr.count("Error: --listen")) == (2, 1)
    assert address in taken.stderr
    missing = tmp_path / "missing.pem"
    unreadable = run("--processes=2", f"--listen={LOCAL}", f"--token-file={missing}")
    assert unreadable.returncode == 2
    assert f"Error: --token-file: cannot read {missing}" in unreadable.stderr


def test_what_all_may_take_together_is_divided() -> None:
    """Budgets are; addresses are told apart where they must be; everything else is each process's."""
    settings = Settings(
        processes=3,
        listen=("127.0.0.1:5", "unix:/run/s", "unix-abstract:s"),
        memory_budget=300,
        shared_memory_budget=3000,
        shared_memory_regions=30,
        threads=6,
        grace_period=7.0,
    )
    first, second, third = shares(settings)
    assert [each.memory_budget for each in (first, second, third)] == [100] * 3
    assert [each.shared_memory_budget for each in (first, second, third)] == [1000] * 3
    assert [each.shared_memory_regions for each in (first, second, third)] == [10] * 3
    assert [each.threads for each in (first, second, third)] == [2] * 3
    assert first.listen == settings.listen
    assert second.listen == ("127.0.0.1:5", "unix:/run/s.1", "unix-abstract:s.1")
    assert third.listen == ("127.0.0.1:5", "unix:/run/s.2", "unix-abstract:s.2")
    assert all(each.reuse_port and each.processes == 1 for each in (first, second, third))
    assert third.grace_period == 7.0
    with pytest.raises(SettingInvalid, match="memory_budget"):
        shares(Settings(processes=3, memory_budget=2))


@pytest.mark.parametrize(
    "settings",
    [
        Settings(),
        Settings(
            listen=("unix:/a", "0.0.0.0:1"),
            reuse_port=True,
            shared_memory=False,
            unix_socket_mode=0o640,
            grace_period=0.25,
            threads=3,
            token_file=Path("/run/token"),
            allow_plain_token=True,
            max_connection_age=60.5,
        ),
    ],
)
def test_settings_survive_the_command_line(settings: Settings) -> None:
    """What the supervisor writes as flags, a process reads as the same settings."""
    context = main.make_context("regularization-server", arguments_of(settings), resilient_parsing=False)
    names = {option.name for option in main.params if isinstance(option, click.Option)}
    read = {name: context.params[name] for name in Settings.__dataclass_fields__ if name in names}
    assert Settings(**read) == settings


def test_pauses_grow_where_a_process_keeps_dying() -> None:
    """From the first pause, doubled, to the longest."""
    child = Child(0, ["--no-such-flag"])
    pauses = []
    for _ in range(3):
        child.start()
        assert child.process is not None
        child.process.wait(TIMEOUT)
        assert child.ended()
        assert child.due is not None
        pauses.append(child._pause)
    assert pauses == [2 * FIRST_PAUSE, 4 * FIRST_PAUSE, 8 * FIRST_PAUSE]
    assert max(pauses) <= LONGEST_PAUSE
    assert child.statuses == [2, 2, 2]


def test_a_server_in_a_program_is_one_process() -> None:
    """Several are the command's."""
    with pytest.raises(SettingInvalid, match="processes: must be 1"):
        Server(Settings(processes=2))


def test_servers_share_a_port_only_where_both_allow_it() -> None:
    """Otherwise the second hears that it is in use."""
    with reserved(LOCAL) as address:
        sharing = Settings(listen=(address,), reuse_port=True)
        with Server(sharing), Server(sharing), channel_to(address) as channel:
            good_call(channel)
            with pytest.raises(SettingInvalid, match="in use"):
                Server(Settings(listen=(address,))).start()
    with Server(Settings(listen=(LOCAL,))) as server, pytest.raises(SettingInvalid, match="in use"):
        Server(Settings(listen=server.addresses, reuse_port=True)).start()


def test_a_reserved_port_takes_no_connections() -> None:
    """Nothing listens on it, so none is lost there."""
    with reserved(LOCAL) as address:
        host, _, port = address.rpartition(":")
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection((host, int(port)), timeout=5)


def test_addresses_that_are_none_cannot_be_reserved() -> None:
    """They must have a host and a port."""
    with pytest.raises(SettingInvalid, match="host:port"), reserved("nowhere"):
        pass
