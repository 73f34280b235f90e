"""Sparse results: asked for where it pays, exact to the bit, and checked."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any

import ml_dtypes
import numpy as np
import pytest
from click.testing import CliRunner
from numpy.typing import NDArray
from regularization.v1 import regularization_service_pb2 as service
from regularization.v1 import tensor_pb2
from regularization_client import Client, L1Norm, ProtocolError
from regularization_client._transport.connection import Connection
from regularization_client.command import main

from tests.support.faulty_server import answering, echo, summary

L1 = L1Norm(strength=1.0)


def mostly_below(size: int, data_type: Any) -> NDArray[Any]:
    """Numbers of which one in twenty is above the threshold of a step, with negative zeros among them."""
    x = np.random.default_rng(size).uniform(0.6, 2.0, size)
    x[np.arange(size) % 20 != 0] = 0.25
    x[::7] *= -1
    x[3::13] = -0.0
    return x.astype(data_type)


@pytest.mark.parametrize("data_type", ["f2", ml_dtypes.bfloat16, "f4", "f8", ">f4"])
@pytest.mark.parametrize("chunk_bytes", [64, 1000, 1 << 20])
def test_a_sparse_result_has_the_bits_of_the_dense_one(target: str, data_type: Any, chunk_bytes: int) -> None:
    """For every data type, however it is cut, over several arrays, into given ones of any stride."""
    arrays = {
        name: mostly_below(size, data_type) for name, size in {"a": 1003, "b": 5, "c": 64, "d": 999}.items()
    }
    results = {}
    with Client(target, chunk_bytes=chunk_bytes) as client:
        for sparse in (False, True):
            out = {name: np.full(2 * array.size, 9, array.dtype)[::2] for name, array in arrays.items()}
            out["a"] = np.full(arrays["a"].size, 9, arrays["a"].dtype)
            step = client.proximal_step(arrays, L1, step_size=0.5, out=out, sparse=sparse)
            results[sparse] = (step, {name: array.tobytes() for name, array in out.items()})
    assert results[True][1] == results[False][1]
    assert results[True][0].penalty == results[False][0].penalty
    assert np.count_nonzero(results[True][0].parameters["a"]) == 47


def test_a_gradient_may_be_sparse_too(client: Client) -> None:
    """It is zero where the parameters are."""
    x = np.zeros(1000, np.float32)
    x[7] = -2.0
    gradient = client.gradient(x, L1, sparse=True).gradient
    assert gradient.tolist() == np.sign(x).tolist()


@pytest.mark.parametrize(
    ("address", "asked"),
    [
        ("unix:/s", False),
        ("localhost:1", False),
        ("127.0.0.1:1", False),
        ("dns:///replicas:1", True),
        ("10.1.2.3:1", True),
    ],
)
def test_it_is_asked_for_over_a_network(address: str, asked: bool) -> None:
    """On one host moving bytes takes no longer than packing them."""
    connection = Connection(address)
    assert connection.leaves_host is asked
    connection.close()


def headers_seen(call: Callable[[str], object]) -> list[bool]:
    """Whether each call to a server that only echoes accepts sparse results."""
    seen = []

    def note(requests: Iterable[Any], context: Any) -> Iterator[Any]:
        def noted() -> Iterator[Any]:
            for request in requests:
                if request.HasField("header"):
                    seen.append(request.header.accept_sparse_results)
                yield request

        yield from echo(noted(), context)

    with answering(note) as target:
        call(target)
    return seen


def test_the_call_s_option_decides() -> None:
    """Over the connection's default."""
    x = np.ones(3, np.float32)

    def calls(target: str) -> None:
        with Client(target) as client:
            client.proximal_step(x, None, step_size=1.0)
            client.proximal_step(x, None, step_size=1.0, sparse=True)

    assert headers_seen(calls) == [False, True]


def test_the_command_asks_as_the_client_does(tmp_path: Any) -> None:
    """Not where the server is on this host."""
    np.save(tmp_path / "x.npy", np.ones(3, np.float32))

    def run(target: str) -> None:
        arguments = ["prox", str(tmp_path / "x.npy"), "-r", "none", "-s", "1", "--target", target]
        assert CliRunner().invoke(main, arguments).exit_code == 0

    assert headers_seen(run) == [False]


def sparse_result(offset: int, values: bytes, bitmap: bytes) -> service.ProximalStepResponse:
    """A message with a sparse result chunk."""
    chunk = tensor_pb2.ResultChunk(element_offset=offset, values=values, nonzero_bitmap=bitmap)
    return service.ProximalStepResponse(chunk=chunk)


ONE = np.ones(1, np.float32).tobytes()
WRONG = {
    "a bitmap that is too short": [sparse_result(0, b"", b"\0")],
    "a bitmap that is too long": [sparse_result(0, b"", b"\0\0\0")],
    "a bit past the end": [sparse_result(0, ONE, b"\0\x10")],
    "more bits than values": [sparse_result(0, ONE, b"\3\0")],
    "fewer bits than values": [sparse_result(0, ONE + ONE, b"\1\0")],
    "half a value": [sparse_result(0, ONE[:2], b"\1\0")],
    "a chunk that was not sent": [sparse_result(4, b"", b"\0")],
    "the same chunk twice": [sparse_result(0, b"", b"\0\0"), sparse_result(0, b"", b"\0\0")],
}


@pytest.mark.parametrize("what", WRONG)
def test_a_sparse_chunk_that_does_not_fit_is_refused(what: str) -> None:
    """It is not taken for a result."""
    with (
        answering(lambda requests, context: iter([*WRONG[what], summary(12)])) as target,
        Client(target) as client,
        pytest.raises(ProtocolError),
    ):
        client.proximal_step(np.ones(12, np.float32), None, step_size=1.0, sparse=True)


def test_several_streams_may_be_sparse(target: str) -> None:
    """Each answers its own chunks."""
    x = mostly_below((1 << 19) + 1000, "f4")
    with Client(target) as client:
        dense = client.proximal_step(x, L1, step_size=0.5, sparse=False)
        sparse = client.proximal_step(x, L1, step_size=0.5, sparse=True, streams=3)
    assert sparse.parameters.tobytes() == dense.parameters.tobytes()
    assert sparse.penalty == dense.penalty
