from __future__ import annotations

import json
import logging
import sys
from functools import partial
from typing import TYPE_CHECKING, Any

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from regularization.v1.layout_pb2 import Segment

from tests.support.http2_frames import status_of
from tests.support.messages import (
    TIMEOUT,
    OpenCall,
    answers,
    chunk,
    good_call,
    header,
    l1_norm,
    layout_of,
    request,
)
from tests.support.processes import ServerProcess, channel_to, serving, until

if TYPE_CHECKING:
    from pathlib import Path

    from regularization_server import Server


def call_lines(log: str) -> list[dict[str, Any]]:
    """The lines of calls in a log of JSON."""
    lines = [json.loads(line) for line in log.splitlines()]
    return [line for line in lines if line["event"] == "call"]


def has_calls(server: ServerProcess, count: int) -> bool:
    """Whether the log of a server has the lines of so many calls."""
    return len(call_lines(server.log)) >= count


def test_one_line_for_each_call(tmp_path: Path) -> None:
    """A call leaves one line with method, peer, elements, bytes, seconds and status."""
    with serving(tmp_path, "--log-format", "json") as server, channel_to(server.address) as channel:
        message = request("gradient", header=header("gradient"), chunk=chunk())
        (answer,) = answers(channel, "gradient", [message])
        until(lambda: len(call_lines(server.log)) == 1)
        (line,) = call_lines(server.log)
    assert line.pop("seconds") >= 0
    assert line.pop("timestamp")
    assert len(line.pop("request_id")) == 16
    assert line == {
        "event": "call",
        "level": "info",
        "method": "/regularization.v1.RegularizationService/Gradient",
        "peer": "unix:",
        "elements": 8,
        "bytes_received": message.ByteSize(),
        "bytes_sent": answer.ByteSize(),
        "status": "OK",
    }


def test_failed_call_says_why(tmp_path: Path) -> None:
    """A failed call's line has the reason and the place, and nothing that the caller has named."""
    of = layout_of(Segment(name="secret", shape=[8], regularizer=l1_norm(-12345.5)))
    with serving(tmp_path, "--log-format", "json") as server, channel_to(server.address) as channel:
        with pytest.raises(grpc.RpcError) as caught:
            answers(channel, "gradient", [request("gradient", header=header("gradient", of))])
        until(lambda: len(call_lines(server.log)) == 1)
        (line,) = call_lines(server.log)
        assert "secret" not in server.log
        assert "12345" not in server.log
    assert "12345" in str(caught.value.details())
    assert line["status"] == "INVALID_ARGUMENT"
    assert line["reason"] == "ERROR_REASON_FIELD_OUT_OF_RANGE"
    assert line["field"] == "header.layout.segments[0].regularizer.l1_norm.strength"


FAULTY = """
from regularization_server import command
from regularization_server.calls import service
def opened(self, requests, *_):
    secret_local = str(bytes(next(requests).header))
    try:
        raise KeyError(secret_local)
    except KeyError as error:
        raise ValueError(f"no {secret_local}") from error
service.RegularizationService._opened = opened
command.main()
"""
"""A server whose service fails at every call, with a caller's name in variables and texts."""


@pytest.mark.parametrize("log_format", ["console", "json", "logfmt"])
def test_a_fault_is_told_without_contents(tmp_path: Path, log_format: str) -> None:
    """The log says where it happened and of which type the errors are: no local variables, and no texts."""
    of = layout_of(Segment(name="wine cellar", shape=[8], regularizer=l1_norm()))
    arguments = ("--log-format", log_format)
    with serving(tmp_path, *arguments, command=[sys.executable, "-c", FAULTY]) as server:
        with channel_to(server.address) as channel, pytest.raises(grpc.RpcError) as caught:
            answers(channel, "gradient", [request("gradient", header=header("gradient", of), chunk=chunk())])
        assert caught.value.code() is grpc.StatusCode.INTERNAL
        until(lambda: "ValueError" in server.log)
        assert "KeyError" in server.log
        assert "in opened" in server.log
        assert "cellar" not in server.log


@pytest.mark.parametrize("exists", [True, False])
def test_what_libraries_log_has_no_contents(tmp_path: Path, exists: bool) -> None:
    """Of a header that is not UTF-8 gRPC tells with its bytes; the command's log has its sentence alone."""
    value = b"\xffwine cellar" if exists else b"wine cellar"
    with serving(tmp_path, "--log-format", "logfmt") as server:
        status_of(server.address, "ListRegularizers", [(b"authorization", value)])
        until(lambda: "event=call" in server.log)
        assert ("Invalid encoding" in server.log) is exists
        assert "cellar" not in server.log


@pytest.mark.parametrize(("log_format", "text"), [("console", "status"), ("logfmt", "status=OK")])
def test_formats_for_people(tmp_path: Path, log_format: str, text: str) -> None:
    """The other formats have one line for a call, too."""
    with serving(tmp_path, "--log-format", log_format) as server, channel_to(server.address) as channel:
        good_call(channel)
        until(lambda: "ProximalStep" in server.log)
        (line,) = [line for line in server.log.splitlines() if "ProximalStep" in line]
    assert text in line


def test_health_checks_are_quiet(tmp_path: Path) -> None:
    """Health checks are logged at level debug, and not above it."""
    for level, count in (("debug", 1), ("info", 0)):
        folder = tmp_path / level
        folder.mkdir()
        arguments = ("--log-format", "json", "--log-level", level)
        with serving(folder, *arguments) as server, channel_to(server.address) as channel:
            health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(), timeout=TIMEOUT)
            good_call(channel)
            until(partial(has_calls, server, count + 1))
            checks = [line for line in call_lines(server.log) if line["method"].startswith("/grpc.health")]
            assert len(checks) == count


def test_call_that_was_cancelled(
    server: Server, channel: grpc.Channel, caplog: pytest.LogCaptureFixture
) -> None:
    """A call that its client cancels is logged as CANCELLED, unless gRPC tells of the stream's end first."""
    caplog.set_level(logging.INFO)
    for _ in range(5):
        open_call = OpenCall(channel)
        open_call.cancel()
    until(lambda: "status=CANCELLED" in caplog.text)


def test_server_inside_a_program_is_quiet(
    server: Server, channel: grpc.Channel, capfd: pytest.CaptureFixture[str]
) -> None:
    """A server inside another program writes nothing to its standard output and error."""
    good_call(channel)
    assert capfd.readouterr() == ("", "")
