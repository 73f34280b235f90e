from __future__ import annotations

import fcntl
import grp
import logging
import os
import resource
import signal
import socket
import stat
import subprocess
import sys
import tempfile
import textwrap
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from regularization_server import Server, Settings
from regularization_server.settings import SettingInvalid

from tests.support.messages import TIMEOUT, good_call
from tests.support.processes import channel_to, serving, until
from tests.support.shared_memory import (
    ALLOCATE,
    MALFORMED,
    NO_HANDLE,
    NO_ROOM,
    NO_SUCH_REGION,
    OK,
    RELEASE,
    TOO_MANY_REGIONS,
    HandOffClient,
    hand_off_of,
    mapped_regions,
    regions_of,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parents[2]
PAGE = os.sysconf("SC_PAGESIZE")
FOREIGN = 54321
"""A user and a group that nothing here belongs to."""


def test_region_is_zeros_and_sealed(client: HandOffClient) -> None:
    """A region begins as zeros, and nobody can make it shorter, longer, or unsealed."""
    memory = client.allocate(PAGE + 1)
    assert memory.bytes[:] == bytes(PAGE + 1)
    seals = fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SEAL
    assert memory.seals & seals == seals
    reply, (descriptor,) = client.ask(ALLOCATE, PAGE)
    assert reply.status == OK
    for size in (0, 2 * PAGE):
        with pytest.raises(PermissionError):
            os.ftruncate(descriptor, size)
    os.close(descriptor)


def test_handles_differ(client: HandOffClient) -> None:
    """No two regions have the same handle, and none has that of zeros."""
    handles = {client.allocate(1).handle for _ in range(100)}
    assert len(handles) == 100
    assert NO_HANDLE not in handles


def test_release(server: Server, client: HandOffClient) -> None:
    """A region that is released goes at once, and cannot be released again."""
    memory = client.allocate(3 * PAGE - 1)
    assert regions_of(server) == (3 * PAGE, 1)
    assert client.release(memory) == OK
    assert regions_of(server) == (0, 0)
    assert client.release(memory) == NO_SUCH_REGION


def test_regions_of_another_connection_stay(server: Server, client: HandOffClient) -> None:
    """A connection can release only what it got itself."""
    memory = client.allocate(PAGE)
    with hand_off_of(server.addresses[0]) as other:
        assert other.release(memory) == NO_SUCH_REGION
    assert regions_of(server) == (PAGE, 1)


def test_closed_connection_frees_its_regions(server: Server, client: HandOffClient) -> None:
    """What a connection got goes when it closes; what others got stays."""
    kept = client.allocate(PAGE)
    with hand_off_of(server.addresses[0]) as other:
        for _ in range(5):
            other.allocate(PAGE)
        assert regions_of(server) == (6 * PAGE, 6)
    until(lambda: regions_of(server) == (PAGE, 1))
    kept.bytes[0] = 1


def test_killed_client_frees_its_regions(tmp_path: Path) -> None:
    """A client whose process is killed leaves no mapping behind in the server's process."""
    script = """
        import sys
        from tests.support.shared_memory import HandOffClient
        client = HandOffClient(sys.argv[1])
        memories = [client.allocate(1 << 20) for _ in range(3)]
        print("ready", flush=True)
        sys.stdin.read()
    """
    with serving(tmp_path) as server:
        command = [sys.executable, "-c", textwrap.dedent(script), server.address]
        client = subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        with client:
            assert client.stdout is not None
            assert client.stdout.readline() == b"ready\n"
            assert mapped_regions(server.process.pid) == 3
            client.send_signal(signal.SIGKILL)
        until(lambda: mapped_regions(server.process.pid) == 0)
        with channel_to(server.address) as channel:
            good_call(channel)


@pytest.mark.parametrize("size", [0, (1 << 20) + 1, 1 << 62, (1 << 63) - 1, 1 << 63, (1 << 64) - 1])
def test_sizes_that_are_refused(tmp_path: Path, size: int) -> None:
    """Nothing, and more than the budget, is refused, whatever the size; the connection goes on."""
    settings = Settings(listen=(f"unix:{tmp_path / 's'}",), shared_memory_budget=1 << 20)
    with Server(settings) as server, hand_off_of(server.addresses[0]) as client:
        reply, descriptors = client.ask(ALLOCATE, size)
        assert (reply.status, reply.size, reply.handle, descriptors) == (NO_ROOM, 0, NO_HANDLE, [])
        client.allocate(1 << 20)


def test_budget_of_all_connections(tmp_path: Path) -> None:
    """All connections share one budget, in whole pages; what is released may be had again."""
    settings = Settings(listen=(f"unix:{tmp_path / 's'}",), shared_memory_budget=3 * PAGE)
    with (
        Server(settings) as server,
        hand_off_of(server.addresses[0]) as first,
        hand_off_of(server.addresses[0]) as second,
    ):
        memory = first.allocate(PAGE + 1)
        second.allocate(1)
        assert second.ask(ALLOCATE, 1)[0].status == NO_ROOM
        assert first.release(memory) == OK
        second.allocate(2 * PAGE)


def test_too_many_regions(tmp_path: Path) -> None:
    """Regions beyond the limit are refused, until one is released."""
    settings = Settings(listen=(f"unix:{tmp_path / 's'}",), shared_memory_regions=2)
    with Server(settings) as server, hand_off_of(server.addresses[0]) as client:
        memories = [client.allocate(1) for _ in range(2)]
        assert client.ask(ALLOCATE, 1)[0].status == TOO_MANY_REGIONS
        assert client.release(memories[0]) == OK
        client.allocate(1)


def test_too_many_connections(tmp_path: Path) -> None:
    """Connections beyond the limit are closed; one that closes makes room."""
    settings = Settings(listen=(f"unix:{tmp_path / 's'}",), shared_memory_regions=1)
    with Server(settings) as server, hand_off_of(server.addresses[0]) as first:
        first.allocate(1)
        with hand_off_of(server.addresses[0]) as second:
            assert second.socket.recv(1) == b""
        first.close()
        until(lambda: regions_of(server) == (0, 0))
        with hand_off_of(server.addresses[0]) as third:
            third.allocate(1)


@pytest.mark.parametrize(
    ("operation", "size", "handle"),
    [
        (0, 1, NO_HANDLE),
        (3, 1, NO_HANDLE),
        (2**32 - 1, 1, NO_HANDLE),
        (ALLOCATE, 1, b"x" * 16),
        (RELEASE, 1, NO_HANDLE),
    ],
)
def test_malformed_request(client: HandOffClient, operation: int, size: int, handle: bytes) -> None:
    """A request that is none is answered so, and the connection with its regions goes on."""
    memory = client.allocate(1)
    assert client.ask(operation, size, handle)[0].status == MALFORMED
    assert client.release(memory) == OK


@pytest.mark.parametrize("magic", [b"RGM2", b"\0\0\0\0", b"PRI "])
def test_other_protocol(server: Server, client: HandOffClient, magic: bytes) -> None:
    """Who speaks another protocol, or another version, hears that and is disconnected."""
    client.allocate(1)
    assert client.ask(ALLOCATE, 1, magic=magic)[0].status == MALFORMED
    assert client.socket.recv(1) == b""
    until(lambda: regions_of(server) == (0, 0))


def test_requests_in_pieces_and_in_batches(client: HandOffClient) -> None:
    """A request may come byte by byte, and several may come at once: each has its reply, in order."""
    raw = b"RGM1" + (1).to_bytes(4, "little") + (7).to_bytes(8, "little") + NO_HANDLE
    for byte in raw:
        client.socket.sendall(bytes([byte]))
    assert client.receive()[0].size == 7
    client.socket.sendall(3 * raw)
    handles = set()
    for _ in range(3):
        reply, (descriptor,) = client.receive()
        os.close(descriptor)
        handles.add(reply.handle)
    assert len(handles) == 3


def test_half_a_request_keeps_nobody_waiting(server: Server, client: HandOffClient) -> None:
    """A client that sends half a request and waits does not keep others from their memory."""
    client.socket.sendall(b"RGM1")
    with hand_off_of(server.addresses[0]) as other:
        other.allocate(1)


def test_client_that_does_not_read_is_disconnected(server: Server, client: HandOffClient) -> None:
    """A client that asks on and on and reads no reply is disconnected, and loses its regions."""
    raw = b"RGM1" + (1).to_bytes(4, "little") + (0).to_bytes(8, "little") + NO_HANDLE
    client.allocate(1)
    with pytest.raises(ConnectionError):
        client.socket.sendall(1_000_000 * raw)
    until(lambda: regions_of(server) == (0, 0))
    with hand_off_of(server.addresses[0]) as other:
        other.allocate(1)


def test_foreign_memory_is_not_taken(client: HandOffClient) -> None:
    """Descriptors that a client passes are dropped unseen."""
    raw = b"RGM1" + (3).to_bytes(4, "little") + (0).to_bytes(8, "little") + NO_HANDLE
    ours, theirs = socket.socketpair()
    with ours, theirs:
        for _ in range(10):
            socket.send_fds(client.socket, [raw], [theirs.fileno()])
            assert client.receive()[0].status == MALFORMED
        theirs.close()
        # The other end is closed only where nobody has a copy of it.
        assert ours.recv(1) == b""


def test_only_the_owner_may_write_to_the_socket(server: Server, tmp_path: Path) -> None:
    """The hand-off's file is the owner's alone, whatever the other socket's permissions are."""
    mode = (tmp_path / "s.memory").stat().st_mode
    assert stat.S_ISSOCK(mode)
    assert stat.S_IMODE(mode) == 0o600


ASK_AS = """
    import os, socket, sys
    address, user, group, groups = sys.argv[1], *map(int, sys.argv[2:4]), list(map(int, sys.argv[4:]))
    os.setgroups(groups)
    os.setgid(group)
    os.setuid(user)
    client = socket.socket(socket.AF_UNIX)
    try:
        client.connect(address)
        client.sendall(b"RGM1" + (1).to_bytes(4, "little") + (1).to_bytes(8, "little") + bytes(16))
        print(len(client.recv(32)))
    except OSError as error:
        print(type(error).__name__)
"""


def ask_as(path: Path, user: int, group: int, *groups: int) -> str:
    """What another user gets from a hand-off: the number of bytes of the reply, or an error's name."""
    arguments = [str(path), *map(str, (user, group, *groups))]
    command = [sys.executable, "-c", textwrap.dedent(ASK_AS), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=TIMEOUT).stdout.strip()


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """A folder that every user may enter."""
    if os.geteuid() != 0:
        pytest.skip("only root can become another user")
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        yield Path(folder)


def test_foreign_user(open_folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Another user cannot connect, and where the file lets it, is disconnected without a word."""
    caplog.set_level(logging.INFO)
    path = open_folder / "s.memory"
    with Server(Settings(listen=(f"unix:{open_folder / 's'}",))) as server:
        assert ask_as(path, FOREIGN, FOREIGN) == "PermissionError"
        path.chmod(0o666)
        # The system may tell of the bytes that nobody read by an error.
        assert ask_as(path, FOREIGN, FOREIGN) in {"0", "ConnectionResetError", "BrokenPipeError"}
        assert f"user={FOREIGN}" in caplog.text
        assert regions_of(server) == (0, 0)
        with hand_off_of(server.addresses[0]) as client, channel_to(server.addresses[0]) as channel:
            client.allocate(1)
            good_call(channel)


def test_group(open_folder: Path) -> None:
    """Members of the group that is set may have memory, by their first group or another; others may not."""
    path = open_folder / "s.memory"
    settings = Settings(listen=(f"unix:{open_folder / 's'}",), shared_memory_group=str(FOREIGN))
    with Server(settings):
        assert (path.stat().st_gid, stat.S_IMODE(path.stat().st_mode)) == (FOREIGN, 0o660)
        assert ask_as(path, FOREIGN, FOREIGN) == "32"
        assert ask_as(path, FOREIGN, FOREIGN + 1, FOREIGN + 2, FOREIGN) == "32"
        path.chmod(0o666)
        assert ask_as(path, FOREIGN, FOREIGN + 1, FOREIGN + 2) != "32"


def test_group_by_name(tmp_path: Path) -> None:
    """A group may be named; one that is not there is a setting that does not work."""
    address = f"unix:{tmp_path / 's'}"
    own = os.getegid()
    with Server(Settings(listen=(address,), shared_memory_group=grp.getgrgid(own).gr_name)):
        assert (tmp_path / "s.memory").stat().st_gid == own
    for group, text in (("nowhere", "no group 'nowhere'"), (str(2**40), "cannot give")):
        with pytest.raises(SettingInvalid, match=text) as caught:
            Server(Settings(listen=(address,), shared_memory_group=group)).start()
        assert caught.value.setting == "shared_memory_group"
    assert list(tmp_path.iterdir()) == []


def test_socket_comes_and_goes_with_the_server(tmp_path: Path) -> None:
    """The hand-off's file is there while the server runs; what a killed server left is replaced."""
    path = tmp_path / "s.memory"
    with serving(tmp_path) as server:
        assert path.is_socket()
        server.signal(signal.SIGKILL)
        server.wait()
    assert path.is_socket()
    with serving(tmp_path) as server:
        with hand_off_of(server.address) as client:
            client.allocate(1)
        server.signal(signal.SIGTERM)
        assert server.wait() == 0
    assert not path.exists()


def test_what_is_there_is_left_alone(tmp_path: Path) -> None:
    """Where something else has the hand-off's path, the server says so and gives all its addresses back."""
    (tmp_path / "s.memory").write_text("something else")
    with pytest.raises(SettingInvalid, match="is not a socket") as caught:
        Server(Settings(listen=(f"unix:{tmp_path / 's'}",))).start()
    assert caught.value.setting == "shared_memory"
    assert [path.name for path in tmp_path.iterdir()] == ["s.memory"]


def test_path_without_room_for_the_suffix(tmp_path: Path) -> None:
    """A path that is too long for the hand-off is refused, unless shared memory is switched off."""
    path = tmp_path / ("s" * (107 - len(str(tmp_path)) - 1))
    with pytest.raises(SettingInvalid, match="must have 1 to 107 bytes") as caught:
        Server(Settings(listen=(f"unix:{path}",))).start()
    assert caught.value.setting == "shared_memory"
    with Server(Settings(listen=(f"unix:{path}",), shared_memory=False)):
        assert path.is_socket()


def test_switched_off_and_without_a_unix_socket(tmp_path: Path) -> None:
    """No hand-off where shared memory is switched off, nor where the server has no Unix socket."""
    with Server(Settings(listen=(f"unix:{tmp_path / 's'}",), shared_memory=False)) as server:
        assert server.regions is None
        assert [path.name for path in tmp_path.iterdir()] == ["s"]
    with Server(Settings(listen=("127.0.0.1:0",))) as server:
        assert server.regions is None


def test_abstract_socket() -> None:
    """An abstract socket has its hand-off beside it, under an abstract name."""
    address = f"unix-abstract:regularization-test-{os.getpid()}"
    with Server(Settings(listen=(address,))), hand_off_of(address) as client:
        client.allocate(1)
    with pytest.raises(ConnectionRefusedError):
        HandOffClient(address)


def test_stopped_server_frees_everything(tmp_path: Path) -> None:
    """A server that stops closes the connections of the hand-off, and frees their regions."""
    server = Server(Settings(listen=(f"unix:{tmp_path / 's'}",)))
    server.start()
    with hand_off_of(server.addresses[0]) as client:
        client.allocate(1)
        server.stop()
        assert regions_of(server) == (0, 0)
        assert client.socket.recv(1) == b""
    assert list(tmp_path.iterdir()) == []


def test_no_more_descriptors(tmp_path: Path) -> None:
    """Where the server may open no more files, clients hear it, and once it may again, all is well."""
    with serving(tmp_path) as server, hand_off_of(server.address) as client:
        memory = client.allocate(1)
        # Those that are open stay open; there is no number below this for a new one.
        limit = limit_descriptors(server.process.pid, 3)
        assert client.ask(ALLOCATE, 1)[0].status == TOO_MANY_REGIONS
        with hand_off_of(server.address) as waiting:
            until(lambda: "no connection for shared memory" in server.log)
            assert client.release(memory) == OK
            limit_descriptors(server.process.pid, limit)
            waiting.allocate(1)


def limit_descriptors(process: int, limit: int) -> int:
    """Limit the numbers of a process's new descriptors; the limit until now."""
    before, most = resource.prlimit(process, resource.RLIMIT_NOFILE)
    resource.prlimit(process, resource.RLIMIT_NOFILE, (limit, most))
    return before
