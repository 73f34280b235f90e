from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
from collections import Counter
from typing import TYPE_CHECKING

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from regularization.v1 import layout_pb2, plan_pb2
from regularization.v1.layout_pb2 import DATA_TYPE_FLOAT32, Segment
from regularization_kernels import interruption
from regularization_server import Server, Settings
from regularization_server.observability.instruments import INSTRUMENTS, exported_name
from regularization_server.observability.plan_metrics import MOST_EXPORTED, MOST_SEGMENTS
from regularization_server.settings import SettingInvalid

from tests.support.ended_calls import KINDS, Told, by_reason, by_status, called, good, refused
from tests.support.messages import (
    TIMEOUT,
    OpenCall,
    answers,
    call,
    chunk,
    good_call,
    header,
    l1_norm,
    layout_of,
    request,
)
from tests.support.metrics import Scrape
from tests.support.processes import channel_to, until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

PREFIX = "regularization.v1.RegularizationService"


@pytest.fixture
def counting(tmp_path: Path) -> Iterator[Server]:
    """A server that keeps metrics, with plans."""
    plans = tmp_path / "plans"
    plans.mkdir()
    (plans / "digits.toml").write_text('["*"]\nregularizer = "l1_norm"\nstrength = 0.1\n')
    settings = Settings(
        listen=(f"unix:{tmp_path / 's'}",), metrics_listen="127.0.0.1:0", plans=plans, max_concurrent_calls=64
    )
    with Server(settings) as server:
        yield server


@pytest.fixture
def counted(counting: Server) -> Iterator[grpc.Channel]:
    """A channel to it."""
    with channel_to(counting.addresses[0]) as channel:
        yield channel


def scrape(server: Server) -> Scrape:
    """A look at a server's metrics."""
    assert server.metrics_address is not None
    return Scrape(server.metrics_address)


def test_counts_are_the_clients(counting: Server, counted: grpc.Channel) -> None:
    """Of calls of every kind, several at once, by status and by reason: to the last one."""
    told: Counter[Told] = Counter()
    changing = threading.Lock()

    def caller(first: int) -> None:
        for index in range(first, first + 2 * len(KINDS)):
            ended = KINDS[index % len(KINDS)](counted)
            with changing:
                told[ended] += 1

    threads = [threading.Thread(target=caller, args=(first,)) for first in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    statuses, reasons = by_status(told), by_reason(told)
    assert set(statuses) == {
        "OK",
        "INVALID_ARGUMENT",
        "RESOURCE_EXHAUSTED",
        "UNIMPLEMENTED",
        "CANCELLED",
        "DEADLINE_EXCEEDED",
    }
    assert len(reasons) == 5
    until(lambda: scrape(counting).statuses() == statuses, 10)
    last = scrape(counting)
    assert sum(last.summed("grpc_server_call_started_total", "grpc_method").values()) == told.total()
    assert last.value("regularization_calls_in_flight") == 0
    assert last.summed("regularization_refusals_total", "reason") == reasons


def test_names_of_callers_make_one_label(counting: Server, counted: grpc.Channel) -> None:
    """Methods that there are not are one, however many names they are called by."""
    before = scrape(counting).label_sets("grpc_server_call_started_total")
    for index in range(100):
        assert called(counted, f"no.such.Service{index}/Method{index}", b"").status == "UNIMPLEMENTED"
    after = scrape(counting)
    assert after.label_sets("grpc_server_call_started_total") == before + 1
    assert after.statuses(grpc_method="other") == {"UNIMPLEMENTED": 100}


def whole_call() -> bytes:
    """The one message of a call."""
    raw: bytes = request("gradient", header=header("gradient"), chunk=chunk()).SerializeToString()
    return raw


def test_want_of_room_is_counted_by_the_token_s_name(tmp_path: Path) -> None:
    """Of the caller that has used up its share; where the server has no room, nobody is named."""
    (tmp_path / "tokens").write_text("nightly: 6f1e8a52c0\n")
    settings = Settings(
        listen=(f"unix:{tmp_path / 's'}",),
        metrics_listen="127.0.0.1:0",
        token_file=tmp_path / "tokens",
        max_calls_per_caller=1,
    )
    name, reason = "regularization_refusals_total", "TOO_MANY_CALLS"
    with Server(settings) as server, channel_to(server.addresses[0]) as channel:
        method = channel.stream_stream(f"/{PREFIX}/Gradient")
        shown, done = (("authorization", "Bearer 6f1e8a52c0"),), threading.Event()
        open_call = method(_then_wait([whole_call()], done), timeout=TIMEOUT, metadata=shown)
        until(lambda: scrape(server).value("regularization_calls_in_flight") == 1)
        with pytest.raises(grpc.RpcError):
            list(method(iter([whole_call()]), timeout=TIMEOUT, metadata=shown))
        of_caller = {"scope": "caller", "token": "nightly"}
        until(lambda: scrape(server).value(name, reason=reason, **of_caller) == 1)
        done.set()
        list(open_call)
        server._calls._limit = 0
        with pytest.raises(grpc.RpcError):
            list(method(iter([whole_call()]), timeout=TIMEOUT, metadata=shown))
        until(lambda: scrape(server).value(name, reason=reason, scope="server", token="") == 1)


def test_figures_of_calls(counting: Server, counted: grpc.Channel) -> None:
    """Bytes and elements are those that went over the wire."""
    message = request("gradient", header=header("gradient"), chunk=chunk())
    (answer,) = answers(counted, "gradient", [message])
    until(lambda: scrape(counting).statuses() == {"OK": 1})
    one = scrape(counting)
    labels = {"grpc_method": f"{PREFIX}/Gradient", "grpc_status": "OK"}
    received = "grpc_server_call_rcvd_total_compressed_message_size_bytes"
    sent = "grpc_server_call_sent_total_compressed_message_size_bytes"
    assert one.value(f"{received}_sum", **labels) == message.ByteSize()
    assert one.value(f"{sent}_sum", **labels) == answer.ByteSize()
    assert 0 < one.value("grpc_server_call_duration_seconds_sum", **labels) < TIMEOUT
    assert (
        one.value("regularization_elements_total", grpc_method=f"{PREFIX}/Gradient", memory="streamed") == 8
    )


def test_the_state_is_that_of_the_look(counting: Server, counted: grpc.Channel) -> None:
    """Calls in flight and what they hold, against their limits; nothing is left of them."""
    matrix = Segment(name="m", shape=[64, 64], regularizer=l1_norm())
    matrix.regularizer.nuclear_norm.strength = 0.1
    stream = [request("gradient", header=header("gradient", layout_of(matrix)), chunk=chunk())]
    half = [OpenCall(counted) for _ in range(3)]
    buffering = call(counted, "gradient", _then_wait(stream, done := threading.Event()))
    until(lambda: scrape(counting).value("regularization_memory_budget_used_bytes") > 0)
    # What the half-sent ones hold is there before the last has begun.
    until(lambda: scrape(counting).value("regularization_calls_in_flight") == 4)
    now = scrape(counting)
    assert now.value("regularization_calls_limit") == 64
    assert now.value("regularization_memory_budget_limit_bytes") == 2**30
    assert now.value("regularization_server_processes") == 1
    assert now.value("process_resident_memory_bytes") > 10 * 2**20
    assert 0 < now.value("process_open_fds") < now.value("process_max_fds")
    for each in half:
        each.finish()
    done.set()
    buffering.cancel()
    until(lambda: scrape(counting).value("regularization_calls_in_flight") == 0)
    until(lambda: scrape(counting).value("regularization_memory_budget_used_bytes") == 0)


def _then_wait(messages: list[object], done: threading.Event) -> Iterator[object]:
    yield from messages
    done.wait(TIMEOUT)


def test_waits_for_a_core_are_counted(
    counting: Server, counted: grpc.Channel, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of what takes long and cannot be stopped: while it waits, too, so that the rate is how many do."""
    turns = interruption.Turns(1)
    monkeypatch.setattr(interruption, "_turns", turns)
    name, size = "regularization_long_computations_wait_seconds_total", 300
    matrix = Segment(name="m", shape=[size, size])
    matrix.regularizer.nuclear_norm.strength = 0.1
    first = request("gradient", header=header("gradient", layout_of(matrix)), chunk=chunk([1.0] * size**2))
    before = scrape(counting).value(name)
    with turns.taken():
        waiting = call(counted, "gradient", [first])
        until(lambda: scrape(counting).value(name) > before)
        during = scrape(counting).value(name)
        time.sleep(0.1)
        assert scrape(counting).value(name) >= during + 0.05
        good(counted)
    assert list(waiting)
    total = scrape(counting).value(name)
    assert scrape(counting).value(name) == total


def test_a_sum_that_rounding_makes_less_counts_nothing(
    counting: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is counted does not decrease, and metrics are served all the same."""
    name = "regularization_long_computations_wait_seconds_total"
    with monkeypatch.context() as patch:
        patch.setattr(interruption, "seconds_waited", lambda: 1e9)
        counted_once = scrape(counting).value(name)
        patch.setattr(interruption, "seconds_waited", lambda: 1e9 - 2**-20)
        assert scrape(counting).value(name) == counted_once


def test_health_is_counted(counting: Server, counted: grpc.Channel) -> None:
    """Checks by their status, and a watch as cancelled once its client goes."""
    stub = health_pb2_grpc.HealthStub(counted)
    stub.Check(health_pb2.HealthCheckRequest(), timeout=TIMEOUT)
    with pytest.raises(grpc.RpcError):
        stub.Check(health_pb2.HealthCheckRequest(service="none"), timeout=TIMEOUT)
    watch = stub.Watch(health_pb2.HealthCheckRequest(), timeout=TIMEOUT)
    next(watch)
    watch.cancel()
    check, watching = "grpc.health.v1.Health/Check", "grpc.health.v1.Health/Watch"
    until(lambda: scrape(counting).statuses(grpc_method=watching) == {"CANCELLED": 1})
    until(lambda: scrape(counting).statuses(grpc_method=check) == {"OK": 1, "NOT_FOUND": 1})


def test_a_fault_is_counted(counting: Server, counted: grpc.Channel, monkeypatch: pytest.MonkeyPatch) -> None:
    """The counter of faults is there from the beginning, so that its first one is a change."""
    assert "regularization_faults_total 0.0" in scrape(counting).text

    def broken(*_: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr("regularization_server.calls.service.call_of", broken)
    assert good(counted).status == "INTERNAL"
    until(lambda: scrape(counting).value("regularization_faults_total") == 1)


def planned(step: int, *segments: tuple[str, int]) -> layout_pb2.ParameterLayout:
    """A layout by the plan that the server holds."""
    return layout_pb2.ParameterLayout(
        data_type=DATA_TYPE_FLOAT32,
        segments=[Segment(name=name, shape=[size]) for name, size in segments],
        planned=plan_pb2.PlanAtStep(name="digits", step=step),
    )


def step_by_plan(
    channel: grpc.Channel, of: layout_pb2.ParameterLayout, values: list[float], **fields: object
) -> None:
    """A proximal step by the plan."""
    head = header("proximal_step", of, step_size=1.0, **fields)
    answers(channel, "proximal_step", [request("proximal_step", header=head, chunk=chunk(values))])


def test_figures_of_a_named_plan(counting: Server, counted: grpc.Channel) -> None:
    """Step, and of each segment penalty and share of nonzeros in the last call that named it."""
    step_by_plan(counted, planned(16, ("w", 3), ("b", 1)), [9.0, 9.0, 9.0, 9.0])
    step_by_plan(counted, planned(17, ("w", 3), ("b", 1)), [0.8, -0.3, 0.05, 0.5])
    good_call(counted)
    now = scrape(counting)
    assert now.value("regularization_plan_step", plan="digits") == 17
    of_w = {"plan": "digits", "segment": "w"}
    assert now.value("regularization_plan_penalty", **of_w) == pytest.approx(0.1 * (0.7 + 0.2))
    assert now.value("regularization_plan_nonzeros_ratio", **of_w) == pytest.approx(2 / 3)
    assert now.label_sets("regularization_plan_penalty") == 2


def test_of_a_part_of_a_segment_no_figures_are_told(counting: Server, counted: grpc.Channel) -> None:
    """A call for a range tells of the segments that it has whole."""
    from regularization.v1.layout_pb2 import ElementRange

    of = planned(3, ("w", 3), ("b", 2))
    head = header("proximal_step", of, step_size=1.0, element_range=ElementRange(begin=0, end=4))
    stream = [request("proximal_step", header=head, chunk=chunk([1, 1, 1, 1]))]
    answers(counted, "proximal_step", stream)
    now = scrape(counting)
    assert now.summed("regularization_plan_nonzeros_ratio", "segment") == {"w": 1}


def test_segments_of_plans_are_bounded(counting: Server, counted: grpc.Channel) -> None:
    """Names come from callers: so many of a plan are exported, and the others counted."""
    for begin in (0, 200, 400):
        names = [(f"s{index:04}", 1) for index in range(begin, begin + 200)]
        step_by_plan(counted, planned(begin, *names), [1.0] * 200)
        now = scrape(counting)
    assert now.label_sets("regularization_plan_penalty") == MOST_SEGMENTS < MOST_EXPORTED
    assert now.value("regularization_plan_segments_left_out_total") == 600 - MOST_SEGMENTS


def test_everything_of_the_table_is_exported(counting: Server, counted: grpc.Channel) -> None:
    """What is exported is what the table of instruments says, and no more, once it has happened."""
    step_by_plan(counted, planned(1, ("w", 1)), [1.0])
    refused(counted)
    until(lambda: scrape(counting).families == {exported_name(name) for name in INSTRUMENTS}, 10)


def test_a_taken_address_ends_the_start(counting: Server, tmp_path: Path) -> None:
    """With the error of its setting, and nothing stays behind: the server's own address is free again."""
    listen = (f"unix:{tmp_path / 'other'}",)
    taken = Server(Settings(listen=listen, metrics_listen=counting.metrics_address))
    with pytest.raises(SettingInvalid, match="in use") as caught:
        taken.start()
    assert caught.value.setting == "metrics_listen"
    with Server(Settings(listen=listen)):
        pass


WITHOUT = """
import json, sys
from regularization_server import Server, Settings
with Server(Settings(listen=(f"unix:{sys.argv[1]}/s",))) as server:
    print(json.dumps("prometheus_client" in sys.modules))
"""


def test_nothing_is_imported_for_a_server_without(tmp_path: Path) -> None:
    """A server that is not asked for metrics does not load what makes them."""
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT, tmp_path], capture_output=True, text=True, timeout=60, check=True
    )
    assert json.loads(done.stdout) is False
