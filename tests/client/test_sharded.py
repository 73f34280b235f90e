"""One call over several streams: cut where the contract lets it be, with the bits of one stream."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Iterable, Iterator
from itertools import accumulate, pairwise
from typing import Any

import grpc
import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from regularization.v1 import regularization_service_pb2 as service
from regularization_client import (
    ArgumentError,
    Box,
    Client,
    DeadlineExceededError,
    ElasticNet,
    GroupLasso,
    Groups,
    InvalidRequestError,
    L1Norm,
    NuclearNorm,
    Part,
    ResourceExhaustedError,
    Retry,
    SquaredL2Norm,
    combine,
)
from regularization_client._transport.sharded import BLOCK, Piece, cuts
from regularization_kernels import summation

from tests.support.faulty_server import answering, echo

L1 = L1Norm(strength=0.1)
LARGE = np.random.default_rng(3).standard_normal(4 * BLOCK + 1000).astype(np.float32)


def some(shape: tuple[int, ...], seed: int, data_type: str = "f4") -> NDArray[Any]:
    """Arbitrary numbers, of which some are exactly 0."""
    values = np.random.default_rng(seed).standard_normal(shape).astype(data_type)
    values[np.abs(values) < 0.1] = 0
    return values


lengths = st.one_of(st.integers(0, 3 * BLOCK), st.integers(0, 6).map(lambda blocks: blocks * BLOCK // 2))
layouts = st.lists(st.builds(Piece, lengths, st.booleans()), min_size=1, max_size=6)


@given(layouts, st.integers(1, 9), st.data())
def test_cuts_are_where_the_contract_allows_them(
    pieces: list[Piece], parts: int, data: st.DataObject
) -> None:
    """At ends of segments, or on the grid of one that is divisible; in order, and no more than asked for."""
    total = sum(piece.size for piece in pieces)
    assume(total > 0)
    begin = data.draw(st.integers(0, total - 1))
    end = data.draw(st.integers(begin + 1, total))
    ends = cuts(pieces, begin, end, parts)
    starts = [0, *accumulate(piece.size for piece in pieces)]
    assert (ends[0], ends[-1]) == (begin, end)
    assert len(ends) <= parts + 1
    assert all(lower < upper for lower, upper in pairwise(ends))
    for cut in ends[1:-1]:
        assert cut in starts or any(
            piece.divisible and start < cut < start + piece.size and (cut - start) % BLOCK == 0
            for start, piece in zip(starts, pieces, strict=False)
        )


def test_cuts_are_on_the_grid_that_the_server_adds_up_along() -> None:
    """The contract states it for both; off it, the parts' sums would not be those of the whole."""
    assert BLOCK == summation.BLOCK


@pytest.mark.parametrize("parts", [2, 3, 4, 8])
def test_large_vectors_are_cut_evenly(parts: int) -> None:
    """As far as the grid lets them be."""
    ends = cuts([Piece(64 * BLOCK + 5, True)], 0, 64 * BLOCK + 5, parts)
    sizes = [upper - lower for lower, upper in pairwise(ends)]
    assert len(sizes) == parts
    assert max(sizes) - min(sizes) <= 2 * BLOCK


def test_a_stream_may_write_where_another_reads(client: Client) -> None:
    """Results that lie over the parameters, a block before them, are put there once all is read."""
    # More than what is under way at once, so that the end of a stream is read after another's first results.
    memory = np.tile(LARGE, 6)
    theta, out = memory[BLOCK:], memory[:-BLOCK]
    expected = client.proximal_step(theta.copy(), L1, step_size=1.0)
    step = client.proximal_step(theta, L1, step_size=1.0, out=out, streams=3)
    assert step.parameters is out
    assert out.tobytes() == expected.parameters.tobytes()
    assert step.exact_penalty == expected.exact_penalty


def test_streams_may_share_many_short_arrays_in_place(client: Client) -> None:
    """Whichever stream's results come first, each array gets its own; some of them are mostly zeros."""
    memory = LARGE.copy()
    memory[2 * BLOCK :] *= 0.02
    theta = {str(place): part for place, part in enumerate(np.array_split(memory, 500))}
    expected = client.proximal_step(theta, L1, step_size=1.0, sparse=True)
    step = client.proximal_step(theta, L1, step_size=1.0, out=theta, streams=3, sparse=True)
    for name, array in theta.items():
        assert array.tobytes() == expected.parameters[name].tobytes()
    assert step.exact_penalty == expected.exact_penalty


REGULARIZERS: tuple[Any, ...] = (
    L1,
    SquaredL2Norm(strength=0.5),
    ElasticNet(l1_strength=0.1, l2_strength=0.3),
    Box(lower=-9, upper=9),
    GroupLasso(strength=0.2, groups=Groups(axis=0)),
    NuclearNorm(strength=0.2),
    None,
)
SIZES = ((0, 3), (7, 3), (512, 512), (513, 512), (100, 8 * 1024))
segments = st.tuples(st.sampled_from(SIZES), st.sampled_from(REGULARIZERS))


@given(
    wanted=st.lists(segments, min_size=1, max_size=4),
    streams=st.integers(2, 5),
    seed=st.integers(0, 99),
    data_type=st.sampled_from(["f4", "f8"]),
    operands=st.booleans(),
)
@settings(max_examples=20)
def test_the_number_of_streams_changes_no_bit(
    client: Client, wanted: list[Any], streams: int, seed: int, data_type: str, operands: bool
) -> None:
    """Of results and of figures, for every regularizer and method, with operands and without."""
    parameters, regularizers = {}, {}
    for index, (shape, regularizer) in enumerate(wanted):
        if isinstance(regularizer, NuclearNorm) and math.prod(shape) > BLOCK:
            shape = (7, 3)
        parameters[str(index)] = some(shape, seed + index, data_type)
        regularizers[str(index)] = regularizer
    slopes = {name: some(each.shape, seed + 50, data_type) for name, each in parameters.items()}
    given_slopes = slopes if operands else None

    def calls(number: int) -> list[Any]:
        return [
            client.penalty(parameters, regularizers, streams=number),
            client.gradient(parameters, regularizers, loss_gradients=given_slopes, streams=number),
            client.proximal_step(
                parameters, regularizers, step_size=0.5, loss_gradients=given_slopes, streams=number
            ),
        ]

    for one, several in zip(calls(1), calls(streams), strict=True):
        assert (one.sums, one.counts, one.elements) == (several.sums, several.counts, several.elements)
        assert list(one.segments.items()) == list(several.segments.items())
        for name in parameters:
            for what in ("gradient", "parameters"):
                if hasattr(one, what):
                    assert getattr(one, what)[name].tobytes() == getattr(several, what)[name].tobytes()


def test_a_call_goes_out_in_ranges_over_connections_of_their_own(target: str) -> None:
    """Together they are the whole vector; each has its own peer."""
    seen: dict[tuple[int, int], str] = {}

    with Client(target) as real:
        catalogue = service.ListRegularizersResponse(regularizers=real.list_regularizers())

    def note(requests: Iterable[Any], context: grpc.ServicerContext) -> Iterator[Any]:
        first, *rest = list(requests)
        span = first.header.element_range
        seen[span.begin, span.end] = context.peer()
        yield from echo([first, *rest], context)

    with answering(note, catalogue=catalogue) as address, Client(address) as client:
        step = client.proximal_step(LARGE, L1, step_size=1.0, streams=4)
    np.testing.assert_array_equal(step.parameters, LARGE)
    assert [upper for _, upper in sorted(seen)] == [BLOCK, 2 * BLOCK, 3 * BLOCK, LARGE.size]
    assert len(set(seen.values())) == 4


def test_a_given_channel_carries_all_streams(target: str) -> None:
    """It is the caller's choice how many connections there are."""
    with grpc.insecure_channel(target) as channel, Client(channel=channel) as client:
        one, three = (client.proximal_step(LARGE, L1, step_size=1.0, streams=n) for n in (1, 3))
    assert one.exact_penalty == three.exact_penalty
    np.testing.assert_array_equal(one.parameters, three.parameters)


def test_results_go_where_they_belong(client: Client) -> None:
    """Into out, also where that is the parameters themselves, and arrays have any strides."""
    expected = client.proximal_step(LARGE, L1, step_size=0.5)
    theta = LARGE.copy()
    assert client.proximal_step(theta, L1, step_size=0.5, out=theta, streams=3).parameters is theta
    np.testing.assert_array_equal(theta, expected.parameters)
    wide = np.zeros((LARGE.size, 2), np.float32)
    wide[:, 1] = LARGE
    client.proximal_step(wide[:, 1], L1, step_size=0.5, out=wide[:, 0], streams=3)
    np.testing.assert_array_equal(wide[:, 0], expected.parameters)
    np.testing.assert_array_equal(wide[:, 1], LARGE)


def test_a_part_may_be_cut_too(client: Client) -> None:
    """The ranges of its streams lie in its own."""
    part = Part(shapes=LARGE.size, begin=BLOCK)
    rest = client.proximal_step(LARGE[BLOCK:], L1, step_size=0.5, part=part, streams=3)
    first = client.proximal_step(LARGE[:BLOCK], L1, step_size=0.5, part=Part(LARGE.size, 0), streams=3)
    whole = client.proximal_step(LARGE, L1, step_size=0.5)
    assert combine([first, rest]).exact_penalty == whole.exact_penalty
    np.testing.assert_array_equal(rest.parameters, whole.parameters[BLOCK:])


def test_progress_adds_up(client: Client) -> None:
    """It only goes up, to all elements."""
    calls: tuple[Any, ...] = (client.penalty, client.gradient)
    for call in calls:
        seen: list[tuple[int, int]] = []
        call(LARGE, L1, streams=3, progress=lambda done, total, seen=seen: seen.append((done, total)))
        assert [done for done, _ in seen] == sorted({done for done, _ in seen})
        assert seen[-1] == (LARGE.size, LARGE.size)


def test_the_error_of_one_stream_is_the_call_s(client: Client) -> None:
    """With the element's place in the whole vector; and the client goes on working."""
    wrong = LARGE.copy()
    wrong[3 * BLOCK + 7] = np.nan
    with pytest.raises(InvalidRequestError) as caught:
        client.proximal_step(wrong, L1, step_size=1.0, streams=4)
    assert caught.value.element == 3 * BLOCK + 7
    assert client.penalty(LARGE, L1, streams=4).nonzeros == LARGE.size


class OneFails:
    """Refuses the range that begins at 0, and never answers the others."""

    def __init__(self) -> None:
        self.ended: list[bool] = []
        self._others = threading.Semaphore(0)

    def __call__(self, requests: Iterable[Any], context: grpc.ServicerContext) -> Iterator[Any]:
        """Answer a stream."""
        if next(iter(requests)).header.element_range.begin == 0:
            for _ in range(2):
                self._others.acquire()
            context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, "no room")
        over = threading.Event()
        context.add_callback(over.set)
        self._others.release()
        self.ended.append(over.wait(30))
        yield from ()


def test_the_error_of_one_stream_ends_the_others() -> None:
    """They are cancelled, not waited for."""
    server = OneFails()
    parameters = dict.fromkeys("abc", LARGE[:BLOCK])
    with answering(server, catalogue=service.ListRegularizersResponse()) as address:
        with Client(address, timeout=25) as client, pytest.raises(ResourceExhaustedError, match="no room"):
            client.gradient(parameters, L1, streams=3)
        deadline = time.monotonic() + 10
        while len(server.ended) < 2:
            assert time.monotonic() < deadline, "waited in vain"
            time.sleep(0.01)
    assert server.ended == [True, True]


def test_the_deadline_is_of_all_streams_together() -> None:
    """None of them goes on after it."""

    def never(requests: Iterable[Any], context: grpc.ServicerContext) -> Iterator[Any]:
        over = threading.Event()
        context.add_callback(over.set)
        over.wait(30)
        yield from ()

    with (
        answering(never, catalogue=service.ListRegularizersResponse()) as address,
        Client(address) as client,
        pytest.raises(DeadlineExceededError),
    ):
        client.gradient(dict.fromkeys("ab", LARGE[:BLOCK]), L1, streams=2, timeout=0.3)


def test_a_stream_that_broke_is_replayed_by_itself() -> None:
    """The others are not sent again."""
    begins: list[int] = []

    def breaks_once(requests: Iterable[Any], context: grpc.ServicerContext) -> Iterator[Any]:
        first, *rest = list(requests)
        begins.append(first.header.element_range.begin)
        if begins.count(BLOCK) == 1 and begins[-1] == BLOCK:
            context.abort(grpc.StatusCode.UNAVAILABLE, "going away")
        yield from echo([first, *rest], context)

    with (
        answering(breaks_once, catalogue=service.ListRegularizersResponse()) as address,
        Client(address, retry=Retry(first_pause=0.01)) as client,
    ):
        parts = dict.fromkeys("ab", LARGE[:BLOCK])
        step = client.proximal_step(parts, L1, step_size=1.0, streams=2)
    assert sorted(begins) == [0, BLOCK, BLOCK]
    np.testing.assert_array_equal(step.parameters["b"], LARGE[:BLOCK])


def test_an_error_of_the_caller_s_own_comes_out_as_it_is(client: Client) -> None:
    """From the progress callback, which another thread calls."""

    class StopError(Exception):
        pass

    def stop(done: int, total: int) -> None:
        raise StopError

    with pytest.raises(StopError):
        client.gradient(LARGE, L1, streams=3, progress=stop)


@pytest.mark.parametrize("streams", [0, -1, 65])
def test_a_number_of_streams_out_of_range_is_refused(client: Client, streams: int) -> None:
    """Before anything is sent."""
    with pytest.raises(ArgumentError, match="streams must be from 1 to 64"):
        client.penalty(LARGE, L1, streams=streams)


@pytest.mark.parametrize("regularizer", [GroupLasso(strength=1, groups=Groups(size=8)), NuclearNorm()])
def test_what_may_not_be_cut_goes_in_one_stream(client: Client, regularizer: Any) -> None:
    """And so does what is small; the answer is the same, or the error."""
    parameters = LARGE[: 2 * BLOCK].reshape(-1, 512)
    if isinstance(regularizer, NuclearNorm):
        with pytest.raises(InvalidRequestError, match="strength"):
            client.penalty(parameters, regularizer, streams=4)
        return
    one, four = (client.penalty(parameters, regularizer, streams=n) for n in (1, 4))
    assert one == four
