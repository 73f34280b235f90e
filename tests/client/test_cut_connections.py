"""Connections that break anywhere: the answer is the whole one, to the bit, or the client goes elsewhere."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import numpy as np
import pytest
from regularization_client import Client, L1Norm, ProximalStepResult, Retry

from tests.support.cutting_proxy import SECONDS_OF_DELAY, Cut, CuttingProxy, How, Way, cutting_proxy
from tests.support.http2_frames import FRAME_HEADER, PREFACE

if TYPE_CHECKING:
    from collections.abc import Iterator

THETA = np.random.default_rng(5).standard_normal(1 << 16).astype(np.float32)
CHUNK = 1 << 14
PATIENCE = 1.0
GENEROUS = 20.0
"""Seconds that tell an answer of another replica from the call's end."""


@pytest.fixture(scope="module")
def proxy(target: str) -> Iterator[CuttingProxy]:
    """A proxy in front of the server of all tests."""
    with cutting_proxy(target) as proxy:
        yield proxy


@pytest.fixture(scope="module")
def whole(proxy: CuttingProxy) -> tuple[ProximalStepResult, dict[Way, list[int]]]:
    """The answer over a connection that is left alone, and where its frames end, each way."""
    with Client(proxy.address, chunk_bytes=CHUNK) as client:
        step = step_of(client)
        ends = {way: ends_of_frames(bytes(carried), way) for way, carried in proxy.carried.items()}
    return step, ends


def step_of(client: Client) -> ProximalStepResult:
    """The call of all these tests: sixteen messages each way."""
    return client.proximal_step(THETA, L1Norm(strength=0.1), step_size=1.0)


def ends_of_frames(carried: bytes, way: Way) -> list[int]:
    """Where each frame of HTTP/2 ends that a connection has carried one way."""
    at = len(PREFACE) if way is Way.TO_SERVER else 0
    ends = []
    while at + FRAME_HEADER <= len(carried):
        at += FRAME_HEADER + int.from_bytes(carried[at : at + 3], "big")
        ends.append(at)
    return ends


def places(ends: list[int]) -> list[int]:
    """Where to cut: early, and behind a frame in the middle, in the next one's header and in its payload."""
    middle = next(end for end in ends if end > ends[-1] // 2)
    return [1, ends[0] + 4, middle, middle + 4, middle + FRAME_HEADER + 100, ends[-1] * 9 // 10]


def same(one: ProximalStepResult, other: ProximalStepResult) -> bool:
    """Whether two answers have the same bits."""
    return one.parameters.tobytes() == other.parameters.tobytes() and (
        one.exact_penalty == other.exact_penalty
    )


@pytest.mark.parametrize("how", [How.CLOSE, How.RESET, How.HALF_CLOSE, How.DELAY], ids=lambda how: how.value)
@pytest.mark.parametrize("way", list(Way), ids=lambda way: way.value)
def test_answers_are_whole_wherever_a_connection_is_cut(
    proxy: CuttingProxy, whole: tuple[ProximalStepResult, dict[Way, list[int]]], how: How, way: Way
) -> None:
    """Between frames and inside them, by a replay; and where it only stands still, by waiting."""
    expected, ends = whole
    for after in places(ends[way])[:: 5 if how is How.DELAY else 1]:
        proxy.happened.clear()
        proxy.cuts.append(Cut(how, way, after))
        with Client(proxy.address, chunk_bytes=CHUNK) as client:
            assert same(step_of(client), expected), after
        assert [cut.after for cut in proxy.happened] == [after]


def test_a_connection_that_is_cut_again_and_again_takes_as_many_attempts(
    proxy: CuttingProxy, whole: tuple[ProximalStepResult, dict[Way, list[int]]]
) -> None:
    """Each of six connections ends another way, and the seventh is whole."""
    expected, ends = whole
    proxy.happened.clear()
    retry = Retry(attempts=20, first_pause=0.05)
    cuts = [
        Cut(how, way, places(ends[way])[index + 1])
        for index, how in enumerate((How.CLOSE, How.RESET, How.HALF_CLOSE))
        for way in Way
    ]
    with Client(proxy.address, chunk_bytes=CHUNK, retry=retry) as client:
        # Whom nobody has ever answered also looks for what is wrong with the encryption.
        assert same(step_of(client), expected)
        proxy.cuts.extend(cuts)
        proxy.close_connections()
        assert same(step_of(client), expected)
    assert proxy.happened == cuts


@pytest.mark.parametrize("way", list(Way), ids=lambda way: way.value)
def test_a_connection_that_lets_nothing_through_is_left_for_another_replica(
    proxy: CuttingProxy, target: str, whole: tuple[ProximalStepResult, dict[Way, list[int]]], way: Way
) -> None:
    """After the longest silence, as with a server that has stopped: nobody tells the client."""
    expected, ends = whole
    proxy.happened.clear()
    proxy.cuts.append(Cut(How.BLACK_HOLE, way, places(ends[way])[4]))
    retry = Retry(first_pause=0.01, longest_silence=PATIENCE)
    with cutting_proxy(target) as other:
        targets = [proxy.address, other.address]
        with Client(targets, chunk_bytes=CHUNK, retry=retry) as client:
            began = time.monotonic()
            assert same(step_of(client), expected)
            assert same(step_of(client), expected)
            assert PATIENCE / 2 < time.monotonic() - began < GENEROUS
    assert [cut.how for cut in proxy.happened] == [How.BLACK_HOLE]


def test_a_delay_is_no_failure(
    proxy: CuttingProxy, whole: tuple[ProximalStepResult, dict[Way, list[int]]]
) -> None:
    """One connection carries the call, and nothing is replayed."""
    expected, ends = whole
    proxy.happened.clear()
    cut = Cut(How.DELAY, Way.TO_CLIENT, places(ends[Way.TO_CLIENT])[2])
    proxy.cuts.append(cut)
    began = time.monotonic()
    with Client(proxy.address, chunk_bytes=CHUNK, retry=Retry(attempts=1)) as client:
        assert same(step_of(client), expected)
    assert time.monotonic() - began >= SECONDS_OF_DELAY
    assert proxy.happened == [cut]
