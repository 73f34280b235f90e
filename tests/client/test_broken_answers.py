"""Answers that HTTP/2 breaks off: the client has them whole, of a replay or of a connection that goes on.

Named after the negative cases of gRPC's interoperability tests.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import grpc
import numpy as np
import pytest
from regularization_client import Client, L1Norm, Retry

from tests.support.http2_server import Break, Breaking, hand_written_server
from tests.support.processes import channel_to

if TYPE_CHECKING:
    from collections.abc import Iterator

    from regularization_client import ProximalStepResult

THETA = np.random.default_rng(8).standard_normal(1 << 12).astype(np.float32)
CHUNK = 1 << 12
RETRY = Retry(first_pause=0.01)
NO_ERROR, INTERNAL_ERROR, REFUSED_STREAM, CANCEL = 0, 2, 7, 8


@pytest.fixture(scope="module")
def real(target: str) -> Iterator[grpc.Channel]:
    """A channel to the server of all tests."""
    with channel_to(target) as channel:
        yield channel


@pytest.fixture(scope="module")
def expected(target: str) -> bytes:
    """The bits of the answer."""
    with Client(target, chunk_bytes=CHUNK) as client:
        return bits_of(step_of(client))


def step_of(client: Client) -> ProximalStepResult:
    """Four messages each way."""
    return client.proximal_step(THETA, L1Norm(strength=0.1), step_size=1.0)


def bits_of(step: ProximalStepResult) -> bytes:
    """Its elements and its penalty."""
    return step.parameters.tobytes() + repr(step.exact_penalty).encode()


@pytest.mark.parametrize("code", [NO_ERROR, INTERNAL_ERROR, REFUSED_STREAM, CANCEL])
@pytest.mark.parametrize(
    "how",
    [Break.RESET_AFTER_HEADERS, Break.RESET_DURING_DATA, Break.RESET_AFTER_DATA],
    ids=lambda how: how.value,
)
def test_a_stream_that_is_reset_is_replayed(
    real: grpc.Channel, expected: bytes, how: Break, code: int
) -> None:
    """After headers, in a message, and where all but the status is there: without it, nothing is whole."""
    with (
        hand_written_server(real) as server,
        Client(server.address, chunk_bytes=CHUNK, retry=RETRY) as client,
    ):
        # Whom nobody has ever answered makes connections to look for what is wrong with the encryption.
        step_of(client)
        server.breaking.extend([Breaking(how, code)] * 2)
        assert bits_of(step_of(client)) == expected
    assert server.calls == 4
    assert server.connections == 1


def test_a_call_goes_on_after_its_connection_takes_no_others(real: grpc.Channel, expected: bytes) -> None:
    """It is answered once, on its connection; the next call makes another."""
    with hand_written_server(real) as server:
        server.breaking.append(Breaking(Break.GO_AWAY))
        with Client(server.address, chunk_bytes=CHUNK, retry=Retry(attempts=1)) as client:
            assert bits_of(step_of(client)) == expected
            assert server.calls == 1
            assert bits_of(step_of(client)) == expected
    assert (server.calls, server.connections) == (2, 2)


def test_a_call_that_was_not_looked_at_is_made_again(real: grpc.Channel, expected: bytes) -> None:
    """Its connection goes away before it; another one is made for it."""
    with hand_written_server(real) as server:
        server.breaking.append(Breaking(Break.GO_AWAY_UNSERVED))
        with Client(server.address, chunk_bytes=CHUNK, retry=RETRY) as client:
            assert bits_of(step_of(client)) == expected
    assert (server.calls, server.connections) == (2, 2)


def test_pings_in_an_answer_are_answered(real: grpc.Channel, expected: bytes) -> None:
    """Each of them, and the answer is whole."""
    with hand_written_server(real) as server:
        server.breaking.extend([Breaking(Break.PINGS)] * 2)
        with Client(server.address, chunk_bytes=CHUNK, retry=Retry(attempts=1)) as client:
            assert bits_of(step_of(client)) == expected
            # By then the first answer's are back.
            assert bits_of(step_of(client)) == expected
            assert server.acknowledged >= 4


def test_no_more_calls_are_made_at_once_than_a_connection_takes(real: grpc.Channel, expected: bytes) -> None:
    """With room for one, eight callers are served one after the other."""
    with (
        hand_written_server(real, most_streams=1) as server,
        Client(server.address, chunk_bytes=CHUNK, retry=Retry(attempts=1)) as client,
        ThreadPoolExecutor(8) as pool,
    ):
        step_of(client)  # by then the client knows how many it takes
        assert [bits_of(step) for step in pool.map(lambda _: step_of(client), range(8))] == [expected] * 8
        assert server.most_at_once == 1
        assert server.calls == 9
