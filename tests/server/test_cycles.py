"""Calls that fail or break off: all they had is free at once, without a search for cycles."""

from __future__ import annotations

import gc
import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from threading import Event
from typing import TYPE_CHECKING, Any

import grpc
import pytest
from regularization import wire
from regularization.v1.layout_pb2 import ElementRange, Segment
from regularization.v1.regularizers_pb2 import GroupLasso, Groups, Regularizer
from regularization_kernels.engine import Call, Run
from regularization_kernels.errors import RegularizationError
from regularization_server import Server, Settings
from regularization_server.calls.context import CallContext
from regularization_server.calls.grpc_internals import WaitingCall
from regularization_server.contract.header_bytes import ReadHeader

from tests.support.attackers import attacking
from tests.support.messages import (
    METHODS,
    answers,
    call,
    chunk,
    header,
    l1_norm,
    layout_of,
    nuclear_norm,
    request,
)
from tests.support.processes import channel_to, until

if TYPE_CHECKING:
    from pathlib import Path

HELD = (Call, Run, wire.Request, wire.Chunk, ReadHeader, RegularizationError, WaitingCall, CallContext)
"""What a call has that may be large, or knows what is. Some layouts are kept on purpose."""

ROUNDS = 3


@pytest.fixture
def left_over() -> Iterator[Callable[[], set[str]]]:
    """Names of the types with new objects; nothing is freed meanwhile but what nobody refers to."""
    gc.disable()
    # Other tests have some, as parameters and in failures: what is there by now is not looked at.
    gc.freeze()
    try:
        # By its type: a proxy would be asked for what may not be there any more.
        yield lambda: {kind.__name__ for kind in map(type, gc.get_objects()) if issubclass(kind, HELD)}
    finally:
        gc.unfreeze()
        gc.enable()


def with_header(segment: Segment, **fields: Any) -> Callable[[str], list[Any]]:
    """A stream of a header."""
    return lambda method: [request(method, header=header(method, layout_of(segment), **fields))]


def one_by_one(method: str, *more: Any) -> Iterator[Any]:
    """A stream of eight elements, each a message, so that answers are soon made ahead."""
    yield request(method, header=header(method))
    for index in range(8):
        yield request(method, chunk=chunk((1,), offset=index))
    yield from more


GROUPS = Regularizer(group_lasso=GroupLasso(strength=1, groups=Groups(size=2)))
STREAMS: dict[str, Callable[[str], Iterable[Any]]] = {
    "good": one_by_one,
    "negative_length": with_header(Segment(name="w", shape=[-1])),
    "regularizer_that_does_not_fit": with_header(Segment(name="w", shape=[2], regularizer=nuclear_norm())),
    "groups_that_do_not_fit": with_header(Segment(name="w", shape=[7], regularizer=GROUPS)),
    "modifier_out_of_range": with_header(Segment(name="w", shape=[2], regularizer=l1_norm(), smoothing=-1)),
    "element_range_that_ends_before_it_begins": with_header(
        Segment(name="w", shape=[4]), element_range=ElementRange(begin=3, end=1)
    ),
    "unknown_field": lambda method: [
        request(method, header=header(method)).SerializeToString() + b"\x78\x01"
    ],
    "header_that_is_none": lambda method: [b"\x0a\x02\x0a\x05"],
    "chunk_that_is_none": lambda method: [
        request(method, header=header(method)),
        b"\x12\xff\xff\xff\xff\x0f",
    ],
    "chunk_out_of_order": lambda method: [
        request(method, header=header(method)),
        request(method, chunk=chunk((1,), 7)),
    ],
    "chunk_too_much": lambda method: one_by_one(method, request(method, chunk=chunk((1,), 8))),
    "value_not_finite": lambda method: [
        request(method, header=header(method), chunk=chunk([float("nan")] * 8))
    ],
    "stream_too_short": lambda method: [request(method, header=header(method), chunk=chunk((1, 2)))],
}


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("name", STREAMS)
def test_a_call_that_fails_leaves_nothing(
    server: Server, channel: grpc.Channel, left_over: Callable[[], set[str]], name: str, method: str
) -> None:
    """Whatever it fails with, before its first element or after its last."""
    for _ in range(ROUNDS):
        with suppress(grpc.RpcError):
            answers(channel, method, STREAMS[name](method))
    until(lambda: not left_over())
    assert server.budget.used == 0


@pytest.mark.parametrize("taken", [0, 1, 5])
@pytest.mark.parametrize("timeout", [0.3, 30.0], ids=["deadline", "cancelled"])
@pytest.mark.parametrize("method", METHODS)
def test_a_call_that_breaks_off_leaves_nothing(
    channel: grpc.Channel, left_over: Callable[[], set[str]], method: str, timeout: float, taken: int
) -> None:
    """Cancelled or out of time, while the server waits for a message or makes answers ahead."""
    for _ in range(ROUNDS):
        done = Event()

        def stream(done: Event = done) -> Iterator[Any]:
            yield from list(one_by_one(method))[:-1]
            done.wait()

        started = call(channel, method, stream(), timeout)
        with suppress(grpc.RpcError):
            for _ in range(taken if method != "penalty" else 0):
                next(started)
            if timeout < 1:
                list(started)
        started.cancel()
        done.set()
    until(lambda: not left_over())


@pytest.mark.parametrize("reset", [True, False], ids=["reset", "let_go"])
def test_a_call_without_a_message_leaves_nothing(
    tmp_path: Path, left_over: Callable[[], set[str]], reset: bool
) -> None:
    """Of thousands that end at once, a search for cycles would stop all others for a second."""
    settings = Settings(listen=(f"unix:{tmp_path / 's'}",), stream_idle_timeout=1)
    with Server(settings) as server, attacking(server.addresses[0]) as attack:
        streams = attack.begin("ProximalStep", 10)
        until(lambda: len(server._arrivals) == 10)
        if reset:
            attack.reset(streams)
            until(lambda: len(server._arrivals) == 0)
        else:
            until(lambda: attack.ended.keys() >= set(streams))
        # What comes last may lie in the frame of a thread that waits for the next one.
        with channel_to(server.addresses[0]) as channel:
            answers(channel, "penalty", one_by_one("penalty"))
        until(lambda: not left_over())


def test_open_streams_cause_no_search_of_all_objects() -> None:
    """With as many objects as thousands have: it would stop all threads. New objects are searched."""
    script = """
        import gc, weakref
        from regularization_server.process.preparation import give_back_freed_memory, search_rarely_for_cycles

        class Node:
            def __init__(self):
                self.itself = self

        searches = []
        search_rarely_for_cycles()
        gc.callbacks.append(lambda phase, of: phase == "stop" and searches.append(of["generation"]))
        streams = [[[] for _ in range(90)] for _ in range(4_000)]
        assert 0 < len(searches) < 30 and max(searches) < 2, searches
        kept = weakref.ref(Node())
        give_back_freed_memory()
        assert kept() is None
    """
    subprocess.run([sys.executable, "-c", textwrap.dedent(script)], check=True)
