"""Results that come as bitmap and nonzeros, over the wire."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from regularization.v1 import regularization_service_pb2 as service
from regularization.v1.layout_pb2 import Segment
from regularization.v1.regularizers_pb2 import GroupLasso, Groups, MaxNorm, Regularizer

from tests.support.messages import answers, chunk, header, l1_norm, layout_of, request

if TYPE_CHECKING:
    import grpc

SIZE = 1 << 14
CHUNK = 1 << 12


def theta() -> np.ndarray[Any, np.dtype[np.float32]]:
    """Nineteen of twenty elements are below the threshold of the step, and one is above."""
    return np.where(np.arange(SIZE) % 20 == 0, 1.0, 0.001).astype(np.float32)


def stream(method: str, **fields: Any) -> list[Any]:
    """The messages of a call on ``theta``, in chunks."""
    of = layout_of(Segment(name="theta", shape=[SIZE], regularizer=l1_norm()))
    first = request(method, header=header(method, of, **fields))
    values = theta()
    return [
        first,
        *(
            request(method, chunk=chunk(values[begin : begin + CHUNK], begin))
            for begin in range(0, SIZE, CHUNK)
        ),
    ]


def elements(chunks: list[Any]) -> list[int]:
    """The bits of the elements of result chunks, read as the schema says, not by the project's code."""
    bits: list[int] = []
    for each in chunks:
        values = np.frombuffer(each.values, "<u4").tolist()
        if not each.nonzero_bitmap:
            bits += values
            continue
        marks = np.unpackbits(np.frombuffer(each.nonzero_bitmap, np.uint8), bitorder="little")[:CHUNK]
        remaining = iter(values)
        bits += [next(remaining) if mark else 0 for mark in marks]
        assert next(remaining, None) is None
    return bits


def test_a_sparse_result_is_the_dense_one(process_channel: grpc.Channel) -> None:
    """To the bit, in chunks of the same offsets, with the same summary, in a fraction of the bytes."""
    dense = answers(process_channel, "proximal_step", stream("proximal_step"))
    sparse = answers(process_channel, "proximal_step", stream("proximal_step", accept_sparse_results=True))
    assert [each.chunk.element_offset for each in sparse] == [each.chunk.element_offset for each in dense]
    assert elements([each.chunk for each in sparse]) == elements([each.chunk for each in dense])
    assert sparse[-1].summary == dense[-1].summary
    assert all(each.chunk.nonzero_bitmap for each in sparse)
    assert not any(each.chunk.nonzero_bitmap for each in dense)
    assert sum(each.ByteSize() for each in sparse) <= 0.09 * sum(each.ByteSize() for each in dense)


@pytest.mark.parametrize(
    "regularizer",
    [
        Regularizer(group_lasso=GroupLasso(strength=1.0, groups=Groups(size=64))),
        Regularizer(max_norm=MaxNorm(radius=0.0, groups=Groups(size=64))),
    ],
    ids=["group_lasso", "max_norm"],
)
def test_groups_of_zeros_take_a_bit_for_each_element(
    process_channel: grpc.Channel, regularizer: Regularizer
) -> None:
    """Whatever the signs of their elements were: only those that are not zero are values."""
    values = np.random.default_rng(0).normal(size=(SIZE // 64, 64)).astype(np.float32)
    values[np.arange(len(values)) % 20 != 0] *= 0.01
    of = layout_of(Segment(name="theta", shape=[SIZE], regularizer=regularizer))
    messages = [
        request(
            "proximal_step", header=header("proximal_step", of, step_size=1.0, accept_sparse_results=True)
        ),
        request("proximal_step", chunk=chunk(values.reshape(-1), 0)),
    ]
    sparse = answers(process_channel, "proximal_step", messages)
    nonzeros = sparse[-1].summary.total.nonzeros
    assert sum(len(each.chunk.values) for each in sparse) == 4 * nonzeros
    assert sum(each.ByteSize() for each in sparse) <= 4 * nonzeros + SIZE // 8 + 1000
    assert nonzeros == (SIZE // 64 // 20 + 1) * 64 * regularizer.HasField("group_lasso")


def test_a_dense_result_stays_dense(process_channel: grpc.Channel) -> None:
    """Where no element is zero, accepting sparse results changes nothing."""
    plain = answers(process_channel, "gradient", stream("gradient"))
    accepting = answers(process_channel, "gradient", stream("gradient", accept_sparse_results=True))
    assert accepting == plain


@pytest.mark.parametrize("method", [service.GradientHeader, service.ProximalStepHeader])
def test_a_header_does_not_accept_sparse_results_unasked(method: Any) -> None:
    """Unset is false: a client that knows nothing of them gets none."""
    assert method().accept_sparse_results is False
