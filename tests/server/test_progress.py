"""Calls that get nowhere are let go within the timeout; those beside them lose nothing."""

from __future__ import annotations

import math
import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any
from unittest.mock import Mock

import grpc
import numpy as np
import pytest
from regularization.v1.layout_pb2 import ParameterLayout, Segment
from regularization.v1.regularizers_pb2 import Regularizer, TrendFilter
from regularization_server import Server, Settings
from regularization_server.calls.arrivals import Arrivals
from regularization_server.calls.messages import MOST_EMPTY
from regularization_server.calls.progress import SECONDS_BETWEEN, Limits, Progress
from regularization_server.calls.threads import CallThreads

from tests.support.attackers import attacking, message
from tests.support.messages import (
    Failed,
    OpenCall,
    answers,
    call,
    chunk,
    good_call,
    header,
    l1_norm,
    layout_of,
    request,
    values_of,
)
from tests.support.processes import channel_to, until

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parents[2]
IDLE = 2.0
SLACK = 2.0
"""Seconds beyond the timeout within which a call is let go."""
IDLE_REASON = "ERROR_REASON_STREAM_IDLE"


def settings(tmp_path: Path, **more: Any) -> Settings:
    """Settings of a server with a short timeout."""
    return Settings(
        listen=(f"unix:{tmp_path / 's'}",), **{"stream_idle_timeout": IDLE, "grace_period": 5, **more}
    )


def vector(elements: int) -> ParameterLayout:
    """One segment of so many elements."""
    return layout_of(Segment(name="theta", shape=[elements], regularizer=l1_norm()))


def call_threads() -> int:
    """Threads that calls have, or have left."""
    return sum(thread.name.startswith(("call", "ahead")) for thread in threading.enumerate())


def failure(stream: Any) -> tuple[Failed, float]:
    """How a call fails, and after how many seconds."""
    began = time.monotonic()
    with pytest.raises(grpc.RpcError) as caught:
        for _ in stream:
            pass
    return Failed.of(caught.value), time.monotonic() - began


def test_a_sender_that_pauses_for_too_long_learns_the_reason(tmp_path: Path) -> None:
    """In the middle of a stream, too: DEADLINE_EXCEEDED, with reason and limit, and its memory is free."""
    with Server(settings(tmp_path)) as server, channel_to(server.addresses[0]) as channel:
        opened = OpenCall(channel)
        failed, seconds = failure(opened.answers)
        opened.close()
        assert (failed.code, failed.reason) == (grpc.StatusCode.DEADLINE_EXCEEDED, IDLE_REASON)
        assert failed.metadata["limit_milliseconds"] == str(round(IDLE * 1000))
        assert IDLE <= seconds < IDLE + SLACK
        until(lambda: server.budget.used == 0)


def test_a_sender_that_pauses_again_and_again_but_brings_enough_is_served(tmp_path: Path) -> None:
    """Pauses that are longer than the timeout together cost nothing where each brings what it must."""
    elements = 256

    def slowly() -> Iterator[Any]:
        yield request("proximal_step", header=header("proximal_step", vector(5 * elements)))
        for index in range(5):
            time.sleep(0.3 * IDLE)
            yield request("proximal_step", chunk=chunk([1.0] * elements, offset=index * elements))

    with Server(settings(tmp_path)) as server, channel_to(server.addresses[0]) as channel:
        got = answers(channel, "proximal_step", slowly())
    assert sum(len(values_of(each)) for each in got) == 5 * elements


@pytest.mark.parametrize("of", ["elements", "nothing"])
def test_messages_that_bring_next_to_nothing_are_no_progress(tmp_path: Path, of: str) -> None:
    """A chunk of one element, or of none, four times a second does not keep a stream open."""

    def drip() -> Iterator[Any]:
        yield request("gradient", header=header("gradient", vector(1000)))
        for index in range(1000):
            time.sleep(0.25)
            one = of == "elements"
            yield request("gradient", chunk=chunk([1.0] * one, offset=index * one))

    with Server(settings(tmp_path)) as server, channel_to(server.addresses[0]) as channel:
        failed, seconds = failure(call(channel, "gradient", drip()))
    assert failed.reason == IDLE_REASON
    assert seconds < IDLE + SLACK


def test_slow_senders_and_readers_end_and_honest_streams_lose_nothing(tmp_path: Path) -> None:
    """Senders of a byte a second, and readers that read nothing, end in time, and free their threads."""
    with Server(settings(tmp_path)) as server, ExitStack() as stack:
        address = server.addresses[0]
        with channel_to(address) as channel:
            good_call(channel)
        senders = stack.enter_context(attacking(address))
        readers = stack.enter_context(attacking(address, reads=False))
        first = request("gradient", header=header("gradient", vector(1 << 20))).SerializeToString()
        part = request("gradient", chunk=chunk([1.0] * 1024)).SerializeToString()
        began = time.monotonic()
        slow = senders.begin("Gradient", 40)
        unread = readers.begin("Gradient", 10)
        for stream in unread:
            readers.send(stream, message(first) + message(part))
        honest = HonestStreams(address, 10)
        while time.monotonic() - began < IDLE + SLACK and len(senders.ended) + len(readers.ended) < 40:
            for stream in set(slow) - senders.ended.keys():
                senders.send(stream, message(first)[:1] if stream % 4 == 1 else b"\0")
            time.sleep(0.5)
        until(
            lambda: senders.ended.keys() >= set(slow) and readers.ended.keys() >= set(unread),
            IDLE + 2 * SLACK,
        )
        assert time.monotonic() - began < IDLE + 2 * SLACK
        honest.finish()
        until(lambda: server.budget.used == 0)
        assert not any(thread.name.startswith("ahead") for thread in threading.enumerate())


class HonestStreams:
    """Streams that go on, a chunk at a time, and check what they get."""

    def __init__(self, address: str, count: int) -> None:
        self._stop = threading.Event()
        self._errors: list[BaseException] = []
        self._threads = [threading.Thread(target=self._go_on, args=(address,)) for _ in range(count)]
        for thread in self._threads:
            thread.start()

    def finish(self) -> None:
        """End, and raise what went wrong."""
        self._stop.set()
        for thread in self._threads:
            thread.join()
        assert self._errors == []

    def _go_on(self, address: str) -> None:
        elements = 1024
        try:
            with channel_to(address) as channel:
                while not self._stop.is_set():
                    got = answers(channel, "gradient", self._stream(elements))
                    given = np.concatenate([values_of(each) for each in got])
                    np.testing.assert_array_equal(given, np.full(4 * elements, 0.1, np.float32))
        except BaseException as error:
            self._errors.append(error)

    @staticmethod
    def _stream(elements: int) -> Iterator[Any]:
        yield request("gradient", header=header("gradient", vector(4 * elements)))
        for index in range(4):
            time.sleep(0.1)
            yield request("gradient", chunk=chunk([1.0] * elements, offset=index * elements))


@pytest.mark.parametrize("method", ["ListRegularizers", "Gradient"])
def test_a_reader_that_takes_nothing_is_let_go(tmp_path: Path, method: str) -> None:
    """Whether its answer is one message or many: the call ends, and a stop need not wait for it."""
    raw = request("gradient", header=header("gradient"), chunk=chunk()).SerializeToString()
    with Server(settings(tmp_path)) as server, attacking(server.addresses[0], reads=False) as attack:
        (stream,) = attack.begin(method)
        attack.send(stream, message(raw if method == "Gradient" else b""), end=True)
        until(lambda: stream in attack.ended, IDLE + 2 * SLACK)
        assert server.stop(1)


def test_a_reader_that_comes_too_late_learns_the_reason(tmp_path: Path) -> None:
    """It takes no messages, so there is no room for details: the text begins with the reason."""
    elements, parts = 1 << 19, 32

    def stream() -> Iterator[Any]:
        yield request("gradient", header=header("gradient", vector(parts * elements)))
        for index in range(parts):
            yield request("gradient", chunk=chunk([1.0] * elements, offset=index * elements))

    with Server(settings(tmp_path)) as server, channel_to(server.addresses[0]) as channel:
        unread = call(channel, "gradient", stream())
        until(lambda: in_flight(server) == 1)
        until(lambda: in_flight(server) == 0, IDLE + 2 * SLACK)
        failed, _ = failure(unread)
    assert failed.code is grpc.StatusCode.DEADLINE_EXCEEDED
    assert (failed.reason, failed.text.partition(": ")[0]) == (None, IDLE_REASON)


def test_whoever_watches_knows_when_to_look_next() -> None:
    """At the moment when a call is overdue, whichever of its limits that is, and a first message is."""
    transport: Any = None
    began = time.monotonic()
    for limits, seconds in (Limits(IDLE), IDLE), (Limits(IDLE, 1.5), 1.5), (Limits(IDLE, 0.2), 1.0):
        progress = Progress(limits, transport)
        assert progress.end_if_overdue(began) == math.inf
        with progress.waiting():
            assert seconds <= progress.end_if_overdue(began) - began < seconds + SLACK / 4
        assert progress.end_if_overdue(began) == math.inf
    arrivals, unsent = Arrivals(1, IDLE), Mock()
    assert arrivals.end_overdue() == math.inf
    arrivals.add(unsent, unsent)
    assert IDLE <= arrivals.end_overdue() - began < IDLE + SLACK / 4


def test_a_stopped_client_frees_its_calls(tmp_path: Path) -> None:
    """Of a client whose process is stopped, the server holds no call beyond the timeout."""
    script = """
        import sys
        from tests.support.messages import OpenCall
        from tests.support.processes import channel_to
        with channel_to(sys.argv[1]) as channel:
            calls = [OpenCall(channel, timeout=None) for _ in range(20)]
            print("open", flush=True)
            sys.stdin.read()
    """
    with Server(settings(tmp_path)) as server:
        client = subprocess.Popen(
            [sys.executable, "-c", textwrap.dedent(script), server.addresses[0]],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        try:
            assert client.stdout is not None
            assert client.stdout.readline() == b"open\n"
            os.kill(client.pid, signal.SIGSTOP)
            assert in_flight(server) == 20
            until(lambda: in_flight(server) == 0, IDLE + SLACK)
        finally:
            client.kill()
            client.communicate()


def in_flight(server: Server) -> int:
    """Calls whose handlers run."""
    return server._calls._handlers


def test_a_call_may_take_so_long_and_no_longer(tmp_path: Path) -> None:
    """A sender that always goes on, and an idle one, too, is ended with the reason when its time is over."""

    def endless() -> Iterator[Any]:
        yield request("gradient", header=header("gradient", vector(1 << 30)))
        for index in range(1000):
            time.sleep(0.05)
            yield request("gradient", chunk=chunk([1.0] * 1024, offset=index * 1024))

    with (
        Server(settings(tmp_path, max_call_seconds=1, stream_idle_timeout=30)) as server,
        channel_to(server.addresses[0]) as channel,
    ):
        for begin in (lambda: call(channel, "gradient", endless()), lambda: OpenCall(channel).answers):
            stream = begin()
            failed, seconds = failure(stream)
            assert failed.code is grpc.StatusCode.DEADLINE_EXCEEDED
            assert failed.reason == "ERROR_REASON_CALL_TOO_LONG"
            assert failed.metadata["limit_milliseconds"] == "1000"
            assert 0.5 < seconds < 1 + SLACK
            stream.cancel()


def test_a_computation_ends_when_the_call_has_taken_too_long(tmp_path: Path) -> None:
    """What is being computed stops, too."""
    elements = 200_000
    of = layout_of(
        Segment(
            name="theta",
            shape=[elements],
            regularizer=Regularizer(trend_filter=TrendFilter(strength=1e6, order=2)),
        )
    )
    noise = np.random.default_rng(0).normal(size=elements)
    stream = [request("proximal_step", header=header("proximal_step", of), chunk=chunk(noise))]
    with (
        Server(settings(tmp_path, max_call_seconds=1)) as server,
        channel_to(server.addresses[0]) as channel,
    ):
        failed, _ = failure(call(channel, "proximal_step", stream))
        assert failed.reason == "ERROR_REASON_CALL_TOO_LONG"
        until(lambda: in_flight(server) == 0)


@pytest.mark.parametrize("method", ["penalty", "gradient", "measure"])
def test_a_stream_may_have_so_many_empty_messages(server: Server, channel: grpc.Channel, method: str) -> None:
    """As many as may be are nothing to a call; one more ends it."""
    empty = [request(method, chunk=chunk([]))] * (MOST_EMPTY // 2) + [request(method)] * (MOST_EMPTY // 2)
    first, last = request(method, header=header(method)), request(method, chunk=chunk())
    assert answers(channel, method, [first, *empty, last])
    with pytest.raises(grpc.RpcError) as caught:
        answers(channel, method, [first, *empty, request(method), last])
    assert Failed.of(caught.value).reason == "ERROR_REASON_TOO_MANY_EMPTY_MESSAGES"


class Late:
    """Messages of which the next one is there after so many looks."""

    def __init__(self, looks: int) -> None:
        self._looks = looks
        self.waited: list[float] = []

    def next_within(self, seconds: float) -> bytes:
        """Give the message, or none in time; nobody really waits."""
        self.waited.append(seconds)
        if len(self.waited) < self._looks:
            raise TimeoutError
        return bytes(100)


def test_a_sender_is_not_blamed_for_a_slow_reader_however_long_that_takes() -> None:
    """Nor is it looked for without a pause, where it had hardly any time left itself."""
    transport: Any = None
    progress, late = Progress(Limits(IDLE), transport), Late(5_000)
    progress._patience = 1e-6
    messages: Any = late
    with progress.waiting():
        assert progress.next_of(messages) == bytes(100)
    assert min(late.waited[1:]) >= SECONDS_BETWEEN


def test_work_that_fails_costs_no_thread() -> None:
    """The one that ran it goes on, and the log says what it was."""
    log, done = Logged(), threading.Event()
    threads = CallThreads(1, log, Arrivals(1, IDLE))  # type: ignore[arg-type] # all that is used of a log
    threads.run(lambda: 1 // 0)
    threads.run(done.set)
    assert done.wait(10)
    assert [type(error) for error in log.errors] == [ZeroDivisionError]
    threads.shutdown()


class Logged:
    """A log of errors."""

    def __init__(self) -> None:
        self.errors: list[BaseException] = []

    def error(self, event: str, *, exc_info: BaseException) -> None:
        """Keep one."""
        self.errors.append(exc_info)
