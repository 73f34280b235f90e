from __future__ import annotations

import gc
import json
import logging
import subprocess
import sys
import textwrap
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Event
from typing import TYPE_CHECKING, Any, NamedTuple

import grpc
import numpy as np
import pytest
from regularization.v1.layout_pb2 import Segment
from regularization.v1.summary_pb2 import SummaryFigures
from regularization_kernels.engine import run_whole
from regularization_server import Server, Settings

from tests.support.messages import TIMEOUT, call, good_call, l1_norm, layout, layout_of
from tests.support.processes import channel_to, serving, until
from tests.support.shared_memory import (
    OK,
    HandOffClient,
    failed,
    hand_off_of,
    regions_of,
    shared_call,
    shared_request,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from regularization_kernels.engine import Summary

ROOT = Path(__file__).parents[2]
BLOCK = 1 << 18


class Held(NamedTuple):
    """Calls on shared memory that wait before they compute."""

    begun: Event
    """Set when one has begun."""
    go_on: Event
    """Lets it go on."""
    checks: list[Callable[[], None]]
    """What each asks whether anybody waits."""

    def is_given_up(self) -> bool:
        """Whether the server knows that nobody waits for the first."""
        try:
            self.checks[0]()
        except Exception:
            return True
        return False


@pytest.fixture
def held(monkeypatch: pytest.MonkeyPatch) -> Iterator[Held]:
    """Makes calls on shared memory wait."""
    begun, go_on, checks = Held(Event(), Event(), [])

    def wait(*arguments: Any, **options: Any) -> Summary:
        checks.append(arguments[-1])
        begun.set()
        assert go_on.wait(TIMEOUT)
        return run_whole(*arguments, **options)

    monkeypatch.setattr("regularization_server.shared_memory.shared_calls.run_whole", wait)
    yield Held(begun, go_on, checks)
    go_on.set()


@pytest.mark.parametrize("how", ["release", "close"])
def test_region_outlives_a_call_that_uses_it(
    server: Server, channel: grpc.Channel, client: HandOffClient, held: Held, how: str
) -> None:
    """A region that goes in the middle of a call is no longer found, and lasts until the call ends."""
    begun, go_on, _ = held
    memory = client.holding(1, 2, 3, 4, 5, 6, 7, 8)
    both = {"parameters": memory.at(), "result": memory.at()}
    with ThreadPoolExecutor(1) as pool:
        answer = pool.submit(shared_call, channel, "proximal_step", layout(), both)
        assert begun.wait(TIMEOUT)
        if how == "release":
            assert client.release(memory) == OK
        else:
            client.close()
        until(lambda: gone(channel, memory.at()))
        assert regions_of(server) == (4096, 1)
        go_on.set()
        assert answer.result().summary.total.nonzeros == 8
    np.testing.assert_allclose(memory.elements(), (0.99, 1.99, 2.99, 3.99, 4.99, 5.99, 7, 8), rtol=1e-6)
    until(lambda: regions_of(server) == (0, 0))
    good_call(channel)


def gone(channel: grpc.Channel, stretch: Any) -> bool:
    """Whether a region is not to be found."""
    stream = [shared_request("gradient", layout(), {"parameters": stretch, "result": stretch})]
    return failed(channel, "gradient", stream).reason == "ERROR_REASON_REGION_UNKNOWN"


def test_client_that_is_killed_in_a_call(server: Server, channel: grpc.Channel, held: Held) -> None:
    """What a client had that is killed in the middle of a call goes when the call ends."""
    begun, go_on, _ = held
    script = """
        import sys
        from tests.support.messages import layout
        from tests.support.processes import channel_to
        from tests.support.shared_memory import HandOffClient, shared_call
        client = HandOffClient(sys.argv[1])
        memory = client.holding(*range(8))
        with channel_to(sys.argv[1]) as channel:
            shared_call(channel, "gradient", layout(), {"parameters": memory.at(), "result": memory.at()})
    """
    killed = subprocess.Popen([sys.executable, "-c", textwrap.dedent(script), server.addresses[0]], cwd=ROOT)
    try:
        assert begun.wait(TIMEOUT)
        assert regions_of(server) == (4096, 1)
    finally:
        killed.kill()
        killed.wait()
    go_on.set()
    until(lambda: regions_of(server) == (0, 0))
    good_call(channel)


@pytest.mark.parametrize("how", ["cancel", "deadline"])
def test_call_that_nobody_waits_for_ends(
    server: Server,
    channel: grpc.Channel,
    client: HandOffClient,
    held: Held,
    caplog: pytest.LogCaptureFixture,
    how: str,
) -> None:
    """A call that is cancelled, or whose time is over, computes no more, and is logged as what it is."""
    caplog.set_level(logging.INFO)
    begun, go_on, _ = held
    memory = client.holding(*range(1, 9))
    before = memory.bytes[:]
    stream = [shared_request("gradient", layout(), {"parameters": memory.at(), "result": memory.at()})]
    started = call(channel, "gradient", stream, timeout=0.5 if how == "deadline" else TIMEOUT)
    assert begun.wait(TIMEOUT)
    if how == "cancel":
        started.cancel()
    with pytest.raises(grpc.RpcError) as caught:
        list(started)
    status = caught.value.code().name
    assert status == {"cancel": "CANCELLED", "deadline": "DEADLINE_EXCEEDED"}[how]
    assert client.release(memory) == OK
    until(held.is_given_up)
    go_on.set()
    until(lambda: regions_of(server) == (0, 0) and f"status={status}" in caplog.text)
    assert memory.bytes[:] == before
    assert not [line for line in caplog.records if line.levelno > logging.INFO]


@pytest.mark.parametrize("threads", [1, 2])
def test_failed_call_keeps_nothing(tmp_path: Path, threads: int) -> None:
    """A call that fails lets go of its regions by itself, without the collector of garbage."""
    elements = 2 * BLOCK
    of = layout_of(Segment(name="weight", shape=[elements], regularizer=l1_norm()))
    settings = Settings(listen=(f"unix:{tmp_path / 's'}",), threads=threads)
    gc.collect()
    gc.disable()
    try:
        with (
            Server(settings) as server,
            channel_to(server.addresses[0]) as channel,
            hand_off_of(server.addresses[0]) as client,
        ):
            for where in (0, elements - 1):
                memory = client.allocate(4 * elements)
                memory.elements()[where] = float("nan")
                both = {"parameters": memory.at(), "result": memory.at()}
                got = failed(channel, "gradient", [shared_request("gradient", of, both)])
                assert got.metadata["element"] == str(where)
                assert got.violations == ["header.shared.parameters"]
                assert client.release(memory) == OK
                until(lambda: regions_of(server) == (0, 0))
    finally:
        gc.enable()


def test_many_calls_at_once(server: Server, channel: grpc.Channel, client: HandOffClient) -> None:
    """Calls on regions that come and go at the same time have nothing to do with each other."""

    def steps(number: int) -> None:
        with hand_off_of(server.addresses[0]) as own:
            for _ in range(20):
                memory = own.holding(*(8 * [float(number)]))
                both = {"parameters": memory.at(), "result": memory.at()}
                shared_call(channel, "gradient", layout(), both, figures=SummaryFigures(penalty=False))
                assert tuple(memory.elements()) == pytest.approx((0.1,) * 6 + (0, 0))
                assert own.release(memory) == OK

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(steps, range(1, 9)))
    until(lambda: regions_of(server) == (0, 0))


def test_call_is_logged(tmp_path: Path) -> None:
    """A call on shared memory leaves the line of any call, and says that it is one."""
    with (
        serving(tmp_path, "--log-format", "json") as server,
        channel_to(server.address) as channel,
        hand_off_of(server.address) as client,
    ):
        memory = client.holding(*range(8))
        shared_call(channel, "penalty", layout(), {"parameters": memory.at()})
        good_call(channel)
        until(lambda: server.log.count('"event": "call"') == 2)
        lines = [json.loads(line) for line in server.log.splitlines()]
        first, second = (line for line in lines if line["event"] == "call")
        assert memory.handle.hex() not in server.log
    assert first["method"] == "/regularization.v1.RegularizationService/Penalty"
    assert (first["elements"], first["shared"], first["status"]) == (8, True, "OK")
    assert "shared" not in second
