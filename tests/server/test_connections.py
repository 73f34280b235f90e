"""What connections may cost: pings without answers, bursts, streams that nobody reads, compression."""

from __future__ import annotations

import re
import socket
import time
from collections import Counter
from contextlib import ExitStack, suppress
from itertools import chain, count
from pathlib import Path

import grpc
import pytest
from regularization.v1.layout_pb2 import Segment
from regularization_server import Server, Settings
from regularization_server.process.grpc_options import stream_window

from tests.support.attackers import attacking
from tests.support.http2_frames import MuteSender, connected
from tests.support.messages import (
    SERVICE,
    TIMEOUT,
    OpenCall,
    chunk,
    good_call,
    header,
    l1_norm,
    layout_of,
    request,
)
from tests.support.processes import ServerProcess, channel_to, serving, until

MIB = 1 << 20


def test_a_client_that_answers_no_ping_is_gone_after_the_keepalive_timeout() -> None:
    """The time to answer is the setting's, not gRPC's own minute beside it."""
    settings = Settings(listen=("127.0.0.1:0",), keepalive_time=1, keepalive_timeout=1)
    with Server(settings) as server, connected(server.addresses[0]) as connection:
        started = time.monotonic()
        while connection.recv(1 << 16):
            assert time.monotonic() - started < TIMEOUT


def test_a_burst_below_the_limit_of_calls_is_served(tmp_path: Path) -> None:
    """Of 1,900 calls that come at once, with room for 2,000, none is refused."""
    of = layout_of(Segment(name="theta", shape=[3], regularizer=l1_norm()))
    message = request("proximal_step", header=header("proximal_step", of), chunk=chunk((0.8, -0.3, 0.5)))
    raw = message.SerializeToString()
    with serving(tmp_path) as server, ExitStack() as stack:
        channels = [stack.enter_context(channel_to(server.address)) for _ in range(16)]
        calls = [
            channels[index % len(channels)].unary_unary(f"/{SERVICE}/ProximalStep").future(raw, timeout=60)
            for index in range(1900)
        ]
        codes = Counter(call.code() for call in calls)
    assert codes == {grpc.StatusCode.OK: 1900}


@pytest.mark.parametrize("guarded", [False, True])
def test_a_compressed_message_is_not_opened_beyond_the_limit(tmp_path: Path, guarded: bool) -> None:
    """What would be 128 MiB is refused before it is opened, with a token asked for and without."""
    token = tmp_path / "token"
    token.write_text("secret")
    with (
        serving(tmp_path, *(["--token-file", str(token)] if guarded else [])) as server,
        grpc.insecure_channel(server.address, compression=grpc.Compression.Gzip) as channel,
    ):
        before = most_memory(server)
        with pytest.raises(grpc.RpcError) as caught:
            list(channel.stream_stream(f"/{SERVICE}/Gradient")(iter([bytes(128 * MIB)]), timeout=TIMEOUT))
        assert caught.value.code() is not grpc.StatusCode.DEADLINE_EXCEEDED
        assert most_memory(server) - before < 64 * MIB


def most_memory(server: ServerProcess) -> int:
    """The most bytes of memory that a server has had so far."""
    status = Path(f"/proc/{server.process.pid}/status").read_text()
    (kib,) = re.findall(r"VmHWM:\s*(\d+) kB", status)
    return int(kib) << 10


def test_a_stream_whose_answers_are_not_read_is_held_back() -> None:
    """A sender that reads nothing soon sends nothing, while others are served."""
    elements = MIB // 4
    ones = [1.0] * elements
    of = layout_of(Segment(name="theta", shape=[1 << 40], regularizer=l1_norm()))
    first = request("proximal_step", header=header("proximal_step", of)).SerializeToString()
    chunks = (
        request("proximal_step", chunk=chunk(ones, offset=index * elements)).SerializeToString()
        for index in count()
    )
    with Server(Settings(listen=("127.0.0.1:0",))) as server, connected(server.addresses[0]) as connection:
        sender = MuteSender(connection, "ProximalStep", chain([first], chunks))
        sender.send_all(64 * MIB, quiet=2)
        # What the engine took of it, and one message that is half there.
        assert MIB <= sender.sent <= stream_window(server.budget.total) + 6 * MIB
        with channel_to(server.addresses[0]) as channel:
            good_call(channel)


def test_silent_connections_are_closed_and_limited() -> None:
    """Of many that say nothing only so many are taken, those not for long, and then there is room again."""
    settings = Settings(listen=("127.0.0.1:0",), max_connections=20, handshake_timeout=1)
    with Server(settings) as server, ExitStack() as stack:
        before = open_files()
        silent = [stack.enter_context(socket.create_connection(place_of(server))) for _ in range(60)]
        # This process has both ends.
        assert open_files() - before <= len(silent) + 20 + 10
        for connection in silent:
            connection.settimeout(TIMEOUT)
            with suppress(ConnectionResetError):
                while connection.recv(1 << 10):
                    pass
        with channel_to(server.addresses[0]) as channel:
            good_call(channel)


def test_a_connection_without_calls_is_closed() -> None:
    """One that speaks HTTP/2 and calls nothing is closed when it has been idle for too long."""
    settings = Settings(listen=("127.0.0.1:0",), max_connection_idle=1)
    with Server(settings) as server, attacking(server.addresses[0]) as connection:
        until(lambda: connection.closed, 5)


def test_an_old_connection_ends_within_its_grace_and_a_client_does_not_notice() -> None:
    """A call that outlives age and grace is cut off; calls that follow each other never are."""
    settings = Settings(listen=("127.0.0.1:0",), max_connection_age=1, max_connection_age_grace=1)
    with Server(settings) as server, channel_to(server.addresses[0]) as channel:
        opened = OpenCall(channel)
        with pytest.raises(grpc.RpcError) as caught:
            next(opened.answers)
        opened.close()
        assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
        end = time.monotonic() + 3
        while time.monotonic() < end:
            good_call(channel)


@pytest.mark.parametrize(("kib", "served"), [(12, True), (17, False)])
def test_headers_have_a_limit(kib: int, served: bool) -> None:
    """16 KiB of them: with fewer a call is always served, and with more never."""
    with Server(Settings(listen=("127.0.0.1:0",))) as server, channel_to(server.addresses[0]) as channel:
        codes = set()
        for _ in range(20):
            call = channel.unary_unary("/grpc.health.v1.Health/Check").future(
                b"", metadata=(("x-long", "x" * (kib << 10)),), timeout=TIMEOUT
            )
            codes.add(call.code())
    assert codes == {grpc.StatusCode.OK if served else grpc.StatusCode.RESOURCE_EXHAUSTED}


def open_files() -> int:
    """Descriptors of this process."""
    return sum(1 for _ in Path("/proc/self/fd").iterdir())


def place_of(server: Server) -> tuple[str, int]:
    """Host and port."""
    host, _, port = server.addresses[0].rpartition(":")
    return host, int(port)
