"""A log that cannot be written: nobody waits for it, and what was lost is counted."""

from __future__ import annotations

import fcntl
import os
import re
import signal
import subprocess
import sys
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from threading import Event, Thread, current_thread
from typing import TYPE_CHECKING

import pytest
from regularization_server.process import log_writer
from regularization_server.process.log_writer import LogWriter

from tests.support.messages import TIMEOUT, good_call
from tests.support.processes import COMMAND, channel_to, until

if TYPE_CHECKING:
    from collections.abc import Iterator

PIPE_BYTES = 4096


def report(lines: int) -> str:
    """The line that tells of lost ones."""
    return f"lost {lines}"


def take(log: LogWriter, line: str) -> None:
    """Have a line written, which takes its own bytes while it waits."""
    log.take(lambda: line, len(line) + 1)


@contextmanager
def pipe() -> Iterator[tuple[int, int]]:
    """A small pipe's ends, to read and to write; a test may close them itself."""
    reader, writer = os.pipe()
    fcntl.fcntl(writer, fcntl.F_SETPIPE_SZ, PIPE_BYTES)
    try:
        yield reader, writer
    finally:
        for end in (reader, writer):
            try:
                os.close(end)
            except OSError:
                continue


def test_lines_are_written_in_order() -> None:
    """Each as a line of its own, whatever it has in it."""
    with pipe() as (reader, writer):
        log = LogWriter(writer, report)
        for line in ("one", "ünf", "\ud800", "last"):
            take(log, line)
        assert log.flush(TIMEOUT)
        assert os.read(reader, PIPE_BYTES).decode() == "one\nünf\n\\ud800\nlast\n"


def test_lines_are_put_together_in_the_writing_thread() -> None:
    """Whoever logs only says of what, and the order stays; one that cannot be put together is counted."""
    with pipe() as (reader, writer):
        log = LogWriter(writer, report)
        log.take(lambda: current_thread().name, 10)
        log.take(lambda: str(1 // 0), 10)
        take(log, "after")
        assert log.flush(TIMEOUT)
        take(log, "next")
        assert log.flush(TIMEOUT)
        assert os.read(reader, PIPE_BYTES).decode().splitlines() == ["log", "after", "next", "lost 1"]


def test_what_goes_into_one_write_is_decided_by_the_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    """Not by what they took while they waited: longer ones would end in the middle of another process's."""
    writes: list[int] = []
    begun, may_go_on = Event(), Event()

    def write_some(_: int, raw: bytes) -> int:
        writes.append(len(raw))
        return len(raw)

    def first() -> str:
        begun.set()
        assert may_go_on.wait(TIMEOUT)
        return "first"

    monkeypatch.setattr(log_writer, "_write_some", write_some)
    log = LogWriter(0, report)
    log.take(first, 1)
    assert begun.wait(TIMEOUT)
    for size in (1000, 3000, 3000, 95, 1):
        log.take(partial("x".__mul__, size), 1)
    may_go_on.set()
    assert log.flush(TIMEOUT)
    assert writes == [6, 1001 + 3001, 3001 + 96 + 2]


@pytest.mark.parametrize("blocking", [True, False])
def test_a_full_pipe_keeps_nobody_waiting(blocking: bool) -> None:
    """What finds no room is dropped and counted, and told of once somebody reads again."""
    with pipe() as (reader, writer):
        os.set_blocking(writer, blocking)
        log = LogWriter(writer, report, most_waiting=10 * PIPE_BYTES)
        line = "x" * 99
        for _ in range(2000):
            take(log, line)
        assert not log.flush(0.01)
        received = os.read(reader, PIPE_BYTES).decode()
        while sum(map(lines_in, received.splitlines())) < 2000:
            received += os.read(reader, PIPE_BYTES).decode()
        assert log.flush(TIMEOUT)
    whole = received.splitlines().count(line)
    assert 40 < whole < 2000


def lines_in(text: str) -> int:
    """How many lines one of the test above stands for."""
    return int(text.removeprefix("lost ")) if text.startswith("lost ") else 1


def test_a_full_disk_is_told_of_once_there_is_room(tmp_path: Path) -> None:
    """A line that was cut off in the middle ends there; the lines after it are whole."""
    path = tmp_path / "log"
    script = f"""
import os, resource, signal
from regularization_server.process.log_writer import LogWriter
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (250, resource.RLIM_INFINITY))
log = LogWriter(os.open({str(path)!r}, os.O_CREAT | os.O_WRONLY), "lost {{}}".format)
for letter in "abcde":
    log.take(lambda: letter * 99, 100)
    assert log.flush(10)
resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
log.take(lambda: "f", 2)
assert log.flush(10)
log.take(lambda: "g", 2)
assert log.flush(10)
"""
    subprocess.run([sys.executable, "-c", script], check=True)
    assert path.read_text().splitlines() == ["a" * 99, "b" * 99, "c" * 50, "f", "lost 3", "g"]


def test_without_a_descriptor_lines_go_nowhere() -> None:
    """There is nothing to wait for."""
    log = LogWriter(None, report)
    take(log, "line")
    assert log.flush(0)


@contextmanager
def logging_to(descriptor: int | None, folder: Path, *arguments: str) -> Iterator[subprocess.Popen[bytes]]:
    """A server that answers, and logs there; nowhere at all for None."""
    closing = [] if descriptor is not None else ["sh", "-c", 'exec "$@" 2>&-', "sh"]
    flags = ["--listen", f"unix:{folder / 's'}", "--log-level=debug", *arguments]
    process = subprocess.Popen([*closing, COMMAND, *flags], stderr=descriptor)
    try:
        until(lambda: (folder / "s").exists())
        yield process
    finally:
        process.kill()
        process.wait()


def answers_and_stops(process: subprocess.Popen[bytes], folder: Path, calls: int) -> None:
    """Check that a server answers so many calls, and ends with 0."""
    with channel_to(f"unix:{folder / 's'}") as channel:
        for _ in range(calls):
            good_call(channel)
    process.send_signal(signal.SIGTERM)
    assert process.wait(TIMEOUT) == 0


@pytest.mark.parametrize("processes", [1, 2])
@pytest.mark.parametrize("kind", ["full disk", "reader gone", "none"])
def test_a_log_that_cannot_be_written_costs_no_answer(tmp_path: Path, kind: str, processes: int) -> None:
    """Calls are answered, and SIGTERM ends the command with 0."""
    with pipe() as (reader, writer), Path("/dev/full").open("wb") as full:
        os.close(reader)
        descriptor = {"full disk": full.fileno(), "reader gone": writer, "none": None}[kind]
        with logging_to(descriptor, tmp_path, f"--processes={processes}") as process:
            answers_and_stops(process, tmp_path, 3)


@pytest.mark.parametrize("processes", [1, 2])
def test_a_pipe_that_nobody_reads_costs_no_answer(tmp_path: Path, processes: int) -> None:
    """Not while it fills up, and not when it is full; nor does it keep the command from its end."""
    with pipe() as (_, writer), logging_to(writer, tmp_path, f"--processes={processes}") as process:
        answers_and_stops(process, tmp_path, 100)


def test_a_log_that_is_read_again_says_what_was_lost(tmp_path: Path) -> None:
    """Lines that found a pipe full, and no room to wait, are told of by number."""
    script = f"""
from regularization_server import command
from regularization_server.process import log_writer
log_writer.LogWriter.__init__.__defaults__ = (4096,)
command.main(["--listen", "unix:{tmp_path / "s"}", "--log-format=logfmt"])
"""
    with pipe() as (reader, writer):
        process = subprocess.Popen([sys.executable, "-c", script], stderr=writer)
        os.close(writer)
        try:
            until(lambda: (tmp_path / "s").exists())
            with channel_to(f"unix:{tmp_path / 's'}") as channel:
                for _ in range(100):
                    good_call(channel)
                process.send_signal(signal.SIGTERM)
            received = b""
            while piece := os.read(reader, 1 << 16):
                received += piece
            assert process.wait(TIMEOUT) == 0
        finally:
            process.kill()
    log = received.decode()
    written = log.count("event=call ")
    (lost,) = re.findall(r'event="log lines dropped" lines=(\d+)', log)
    assert 0 < written < 100
    assert int(lost) >= 100 - written


def test_lines_of_several_processes_stay_whole() -> None:
    """Two writers to one pipe: no line is in the middle of another."""
    with pipe() as (reader, writer):
        received = bytearray()

        def read() -> None:
            while piece := os.read(reader, 1 << 16):
                received.extend(piece)

        reading = Thread(target=read)
        reading.start()
        ends = [writer, os.dup(writer)]
        try:
            logs = [LogWriter(end, report) for end in ends]
            for _ in range(1000):
                for letter, log in zip("ab", logs, strict=True):
                    take(log, letter * 1500)
            assert all(log.flush(TIMEOUT) for log in logs)
        finally:
            # Whoever reads a pipe waits as long as anybody could write to it.
            for end in ends:
                os.close(end)
            reading.join()
    lines = received.decode().splitlines()
    assert len(lines) == 2000
    assert set(lines) == {"a" * 1500, "b" * 1500}
