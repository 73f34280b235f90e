"""Calls that fail by the hundred: so many lines a second, and a count of the rest."""

from __future__ import annotations

import logging
import re
import struct
import subprocess
import sys
import textwrap
from contextlib import ExitStack
from pathlib import Path

import grpc
import pytest
from regularization_server import Server, Settings
from regularization_server.process.line_limit import LINES_A_SECOND

from tests.support.http2_frames import (
    DATA,
    END_HEADERS,
    END_STREAM,
    HEADERS,
    connected,
    frame,
    headers,
)
from tests.support.messages import good_call, header, request
from tests.support.processes import channel_to, serving, until

ROOT = Path(__file__).parents[2]
RST_STREAM, CANCEL = 3, struct.pack(">I", 8)
CALLS = 5 * LINES_A_SECOND


@pytest.fixture(autouse=True)
def everything_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    """Calls leave lines at info."""
    caplog.set_level(logging.INFO)


def not_logged(text: str) -> int:
    """How many lines were left out."""
    return sum(map(int, re.findall(r'"failed calls not logged" lines=(\d+)', text)))


def test_refusals_have_so_many_lines_a_second(
    server: Server, caplog: pytest.LogCaptureFixture, channel: grpc.Channel
) -> None:
    """The others are counted, each once; a call that is served has its line all the same."""
    bad = frame(DATA, END_STREAM, 1, struct.pack(">BI", 0, 1) + b"\xff")
    with ExitStack() as stack:
        # A connection has no more streams at once than a share of the calls.
        for _ in range(CALLS // LINES_A_SECOND):
            connection = stack.enter_context(connected(server.addresses[0]))
            for stream in range(1, 2 * LINES_A_SECOND, 2):
                call = frame(HEADERS, END_HEADERS, stream, headers("ListPlans"))
                connection.sendall(call + bad[:5] + struct.pack(">I", stream) + bad[9:])
        until(lambda: caplog.text.count("MESSAGE_UNREADABLE") + not_logged(caplog.text) == CALLS)
    good_call(channel)
    until(lambda: "status=OK" in caplog.text)
    assert not_logged(caplog.text) >= LINES_A_SECOND


def test_streams_that_are_reset_at_once_have_no_lines(
    server: Server, caplog: pytest.LogCaptureFixture, channel: grpc.Channel
) -> None:
    """Whoever opens and resets streams pays nothing, and would fill the log."""
    with connected(server.addresses[0]) as connection:
        for stream in range(1, 2 * CALLS, 2):
            opened = frame(HEADERS, END_HEADERS, stream, headers("Penalty"))
            connection.sendall(opened + frame(RST_STREAM, 0, stream, CANCEL))
        good_call(channel)
        until(lambda: "status=OK" in caplog.text)
    assert caplog.text.count("status=") == 1


def test_a_count_is_told_at_the_stop_at_the_latest(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """What was left out in the last second is not lost."""
    with Server(Settings(listen=(f"unix:{tmp_path / 's'}",))) as server:
        server._failures.leave_out()
    assert not_logged(caplog.text) == 1


def test_what_libraries_log_is_limited(tmp_path: Path) -> None:
    """A header that gRPC cannot read is a line of its own, which a caller can have as often as it likes."""
    strange = (b"x-header", b"\xff")
    with serving(tmp_path, "--log-format=logfmt") as server, connected(server.address) as connection:
        for stream in range(1, 2 * CALLS, 2):
            call = frame(HEADERS, END_HEADERS, stream, headers("ListPlans", strange))
            connection.sendall(call + frame(DATA, END_STREAM, stream, bytes(5)))
        until(lambda: "lines of libraries not logged" in server.log)
        assert 0 < server.log.count("Invalid encoding") < CALLS


def test_a_client_that_is_killed_is_cancelled(server: Server, caplog: pytest.LogCaptureFixture) -> None:
    """Its connection breaks off in the middle of its streams; that is not a stream that is too short."""
    script = """
        import sys, threading
        from tests.support.messages import call, chunk, header, request
        from tests.support.processes import channel_to
        never = threading.Event()
        def half():
            yield request("gradient", header=header("gradient"), chunk=chunk((1, 2, 3, 4)))
            never.wait()
        with channel_to(sys.argv[1]) as channel:
            calls = [call(channel, "gradient", half()) for _ in range(60)]
            print(*map(next, calls), flush=True)
            never.wait()
    """
    command = [sys.executable, "-c", textwrap.dedent(script), server.addresses[0]]
    with subprocess.Popen(command, stdout=subprocess.PIPE, cwd=ROOT) as client:
        assert client.stdout is not None
        assert client.stdout.readline()
        client.kill()
    until(lambda: caplog.text.count("status=") == 60)
    assert caplog.text.count("status=CANCELLED") == 60


def test_a_stream_that_is_too_short_is_told_so(server: Server, caplog: pytest.LogCaptureFixture) -> None:
    """Whoever is there still, and has ended its stream in order, hears what is missing."""
    with channel_to(server.addresses[0]) as channel:
        start = channel.stream_stream("/regularization.v1.RegularizationService/Gradient")
        message = request("gradient", header=header("gradient")).SerializeToString()
        with pytest.raises(grpc.RpcError) as caught:
            list(start(iter([message]), timeout=30))
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    until(lambda: "reason=ERROR_REASON_STREAM_TOO_SHORT" in caplog.text)
