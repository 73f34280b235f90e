"""Calls that begin: who begins many at once keeps only himself waiting."""

from __future__ import annotations

import threading
from collections import Counter
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest
from regularization.v1.layout_pb2 import Segment
from regularization_kernels import interruption
from regularization_kernels.fair_queue import FairQueue
from regularization_server import Server, Settings
from regularization_server.calls.arrivals import Arrivals
from regularization_server.calls.callers import Caller, CallerKind, caller_shown
from regularization_server.calls.threads import CallThreads
from regularization_server.contract.refusals import TokenRefused
from regularization_server.process.logs import library_logger

from tests.support.attackers import attacking, message
from tests.support.messages import SERVICE, TIMEOUT, chunk, header, layout_of, nuclear_norm, request
from tests.support.processes import channel_to, until

if TYPE_CHECKING:
    from pathlib import Path

MANY, FEW = 100, 5


def test_callers_take_turns_and_each_keeps_its_order() -> None:
    """Who has put in one thing is behind one of each, not behind all; who was served goes to the end."""
    queue = FairQueue[str]()
    for thing in ("a1", "a2", "a3", "b1", "b2", "c1"):
        queue.put(thing[0], thing)
    assert (len(queue), queue.first()) == (6, "a1")
    queue.remove("c", "c1")
    queue.put("c", "c2")
    taken = [queue.take() for _ in range(4)]
    assert taken == ["a1", "b1", "c2", "a2"]
    assert sorted(queue) == ["a3", "b2"]
    queue.put("d", "d1")
    assert [queue.take() for _ in range(3)] == ["b2", "a3", "d1"]
    assert not queue
    with pytest.raises(KeyError):
        queue.take()
    queue.put("a", "a4")
    queue.clear()
    assert not queue


def test_a_thread_that_is_free_takes_what_is_next_by_caller() -> None:
    """With one thread for all, one thing of another caller's is done after one of the first's."""
    log: Any = library_logger()
    callers: Any = {"many": Caller(CallerKind.TOKEN, "many"), "one": Caller(CallerKind.TOKEN, "one")}
    threads = CallThreads(1, log, Arrivals(1, TIMEOUT), caller_of=callers.__getitem__)
    release, done, order = threading.Event(), threading.Event(), list[str]()
    threads.run(lambda: release.wait(TIMEOUT))
    until(lambda: threads._count == 1)
    transport: Any = "many"
    for index in range(MANY):
        threads._run_call(partial(order.append, f"many {index}"), transport)
    transport = "one"
    threads._run_call(lambda: (order.append("one"), done.set()), transport)
    release.set()
    assert done.wait(TIMEOUT)
    # The first of all was put in before anybody waited, and for nobody.
    assert order[:3] == ["many 0", "many 1", "one"]
    threads.shutdown(cancel_futures=True)


def test_who_calls_that_cannot_be_told_harms_nobody() -> None:
    """Whatever the question raises, what is to be run is run."""

    def fails(_: Any) -> Caller:
        raise RuntimeError

    log: Any = library_logger()
    threads = CallThreads(1, log, Arrivals(1, TIMEOUT), caller_of=fails)
    release, done = threading.Event(), threading.Event()
    threads.run(lambda: release.wait(TIMEOUT))
    until(lambda: threads._count == 1)
    transport: Any = None
    for _ in range(2):
        threads._run_call(lambda: None, transport)
    threads._run_call(done.set, transport)
    release.set()
    assert done.wait(TIMEOUT)
    threads.shutdown()


class _Transport:
    """What gRPC says of a call from an address."""

    def peer(self) -> str:
        return "ipv4:10.0.0.7:1234"

    def auth_context(self) -> dict[str, list[bytes]]:
        return {}

    def invocation_metadata(self) -> tuple[tuple[str, str], ...]:
        return (("authorization", "Bearer made-up"),)


def test_a_token_that_is_made_up_makes_no_caller() -> None:
    """Or each call could have a turn of its own: who shows a wrong one is known by where he is."""

    def refuse(_: Any) -> str | None:
        raise TokenRefused("no")

    transport: Any = _Transport()
    of_address = Caller(CallerKind.ADDRESS, "10.0.0.7")
    assert caller_shown(transport, refuse) == caller_shown(transport, None) == of_address
    assert caller_shown(transport, lambda _: "nightly") == Caller(CallerKind.TOKEN, "nightly")


def test_a_call_does_not_wait_for_all_that_another_caller_has_begun(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where there are threads for a few alone, it has one of them, though a hundred streams came before."""
    start, permits = CallThreads._start, threading.Semaphore(0)

    def start_with_permit(threads: CallThreads, name: str, target: Any) -> bool:
        return (name == "starts" or permits.acquire(timeout=TIMEOUT)) and start(threads, name, target)

    monkeypatch.setattr(CallThreads, "_start", start_with_permit)
    (tmp_path / "tokens").write_text("greedy: aaaa\nmodest: bbbb\n")
    settings = Settings(listen=(f"unix:{tmp_path / 's'}",), token_file=tmp_path / "tokens")
    first = message(request("gradient", header=header("gradient")).SerializeToString())
    whole = request("gradient", header=header("gradient"), chunk=chunk()).SerializeToString()
    with (
        Server(settings) as server,
        channel_to(server.addresses[0]) as channel,
        attacking(server.addresses[0]) as greedy,
    ):
        for stream in greedy.begin("Gradient", MANY, (b"authorization", b"Bearer aaaa")):
            greedy.send(stream, first)
        waiting = server._threads._waiting._of_callers
        until(lambda: sum(map(len, list(waiting.values()))) == MANY - 1)
        modest: Any = channel.unary_unary(f"/{SERVICE}/Gradient")
        answer = modest.future(whole, timeout=TIMEOUT, metadata=(("authorization", "Bearer bbbb"),))
        until(lambda: Caller(CallerKind.TOKEN, "modest") in waiting)
        permits.release(FEW)
        assert answer.result()
        permits.release(MANY)
        until(lambda: server._calls.in_flight == MANY)


def test_a_decomposition_does_not_wait_for_all_of_another_caller_s(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Behind five that one caller has waiting, another's has the second turn that comes."""
    turns = interruption.Turns(1)
    monkeypatch.setattr(interruption, "_turns", turns)
    granted = list[str]()
    (tmp_path / "tokens").write_text("greedy: aaaa\nmodest: bbbb\n")
    settings = Settings(listen=(f"unix:{tmp_path / 's'}",), token_file=tmp_path / "tokens")
    matrix = Segment(name="m", shape=[300, 300], regularizer=nuclear_norm())
    stream = [request("gradient", header=header("gradient", layout_of(matrix)), chunk=chunk([1.0] * 90_000))]
    taken = turns._waiting.take

    def noted() -> Any:
        wish = taken()
        granted.append(wish.whose.name)
        return wish

    with Server(settings) as server, channel_to(server.addresses[0]) as channel:

        def begun(token: str) -> Any:
            start: Any = channel.unary_unary(f"/{SERVICE}/Gradient")
            own = (("authorization", f"Bearer {token}"),)
            return start.future(stream[0].SerializeToString(), timeout=TIMEOUT, metadata=own)

        with turns.taken():
            monkeypatch.setattr(turns._waiting, "take", noted)
            calls = [begun("aaaa") for _ in range(FEW)]
            until(lambda: len(turns._waiting) == FEW)
            calls.append(begun("bbbb"))
            until(lambda: len(turns._waiting) == FEW + 1)
        assert all(call.result() for call in calls)
    assert granted[:2] == ["greedy", "modest"]
    # A decomposition for the penalty, and one for the gradient.
    assert Counter(granted) == {"greedy": 2 * FEW, "modest": 2}
