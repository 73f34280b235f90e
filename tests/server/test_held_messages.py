"""What the messages of a call take of the memory budget."""

from __future__ import annotations

from itertools import count
from typing import TYPE_CHECKING, Any

import grpc
import numpy as np
import pytest
from regularization.v1.layout_pb2 import Segment
from regularization_kernels.engine import MemoryBudget
from regularization_kernels.errors import BudgetExceeded
from regularization_server import Server, Settings
from regularization_server.calls.held_messages import (
    ANSWERS_IN_HAND,
    PARTS_OF_WINDOW,
    REQUESTS_IN_HAND,
    SMALL,
    HeldMessages,
)
from regularization_server.process.grpc_options import stream_window

from tests.support.messages import (
    OpenCall,
    call,
    chunk,
    good_call,
    header,
    l1_norm,
    layout_of,
    request,
)
from tests.support.processes import channel_to, until

if TYPE_CHECKING:
    from collections.abc import Iterator

KIB, MIB = 1 << 10, 1 << 20


def test_the_largest_messages_count() -> None:
    """The window, a request and the copies of an answer, each as large as the largest so far."""
    budget, window, large = MemoryBudget(MIB), 10 * KIB, 100 * KIB
    with HeldMessages(budget, window) as held:
        assert budget.used == window // PARTS_OF_WINDOW
        held.received(SMALL)
        held.made(SMALL)
        assert budget.used == window // PARTS_OF_WINDOW
        for size in (large, SMALL, large):
            held.received(size)
            assert budget.used == window + REQUESTS_IN_HAND * (large - SMALL)
        held.made(large)
        assert budget.used == window + (REQUESTS_IN_HAND + ANSWERS_IN_HAND) * (large - SMALL)
        assert held.may_wait(2)
        assert budget.used == window + (REQUESTS_IN_HAND + ANSWERS_IN_HAND + 2) * (large - SMALL)
        assert not held.may_wait(20)
        with pytest.raises(BudgetExceeded):
            held.received(MIB)
        assert budget.used == window + (REQUESTS_IN_HAND + ANSWERS_IN_HAND + 2) * (large - SMALL)
    assert budget.used == 0


def test_a_stream_is_charged_for_what_may_come_unread() -> None:
    """A stream of small messages has a part of its window of the budget until it ends."""
    settings = Settings(listen=("127.0.0.1:0",), memory_budget=256 * MIB)
    with Server(settings) as server, channel_to(server.addresses[0]) as channel:
        window = stream_window(256 * MIB)
        assert window == MIB
        streams = [OpenCall(channel) for _ in range(3)]
        assert server.budget.used == 3 * window // PARTS_OF_WINDOW
        for stream in streams:
            stream.finish()
        until(lambda: server.budget.used == 0)


@pytest.mark.parametrize(
    ("budget", "window"), [(1, 16 * KIB), (256 * MIB, MIB), (1 << 30, 4 * MIB), (1 << 40, 4 * MIB)]
)
def test_windows_follow_the_budget(budget: int, window: int) -> None:
    """256 streams together have as much unread as the budget is, within what streams can do with."""
    assert stream_window(budget) == window


def unread(channel: grpc.Channel) -> Any:
    """A proximal step of large chunks whose answers nobody reads."""
    elements = MIB // 4
    of = layout_of(Segment(name="w", shape=[1 << 40], regularizer=l1_norm()))
    ones = np.ones(elements, np.float32)

    def messages() -> Iterator[Any]:
        yield request("proximal_step", header=header("proximal_step", of))
        for index in count():
            yield request("proximal_step", chunk=chunk(ones, offset=index * elements))

    return call(channel, "proximal_step", messages())


def test_answers_that_nobody_reads_are_charged() -> None:
    """Streams whose answers wait are held to the budget: those that do not fit are refused, others served."""
    settings = Settings(listen=("127.0.0.1:0", "[::1]:0"), memory_budget=16 * MIB)
    with Server(settings) as server, channel_to(server.addresses[0]) as channel:
        streams = [unread(channel) for _ in range(8)]
        until(lambda: sum(stream.done() for stream in streams) >= 4)
        refused = [stream for stream in streams if stream.done()]
        assert {stream.code() for stream in refused} == {grpc.StatusCode.RESOURCE_EXHAUSTED}
        assert 4 * MIB < server.budget.used <= server.budget.total
        with channel_to(server.addresses[1]) as other:
            good_call(other)
        for stream in streams:
            stream.cancel()
        until(lambda: server.budget.used == 0)
