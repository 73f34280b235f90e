"""Streams whose bytes an attacker changes, or chance: a documented error or an answer, never a fault."""

from __future__ import annotations

from itertools import product
from random import Random
from typing import TYPE_CHECKING, Any

import numpy as np
from regularization.v1.layout_pb2 import DATA_TYPE_FLOAT64, ParameterLayout, Segment
from regularization.v1.regularization_service_pb2 import NON_FINITE_POLICY_PROPAGATE
from regularization.v1.tensor_pb2 import TensorChunk

from tests.support import hostile_numbers as hostile
from tests.support.cases import CASES
from tests.support.instances import message_of
from tests.support.messages import METHODS, good_call, header, request
from tests.support.mutated_streams import honest_stream, mutated
from tests.support.outcomes import outcome_of

if TYPE_CHECKING:
    import grpc

    from tests.support.processes import ServerProcess

STREAMS = 3_000
BROKEN_BETWEEN = 5
"""Broken streams for each honest one."""


def test_mutated_streams_end_as_documented(
    server_process: ServerProcess, process_channel: grpc.Channel, share: int
) -> None:
    """Whatever bytes come, the server says what is wrong or answers, and serves the next caller."""
    random = Random(1)  # noqa: S311 - the same streams every time
    succeeded = 0
    method, stream = honest_stream(random)
    streams = STREAMS // share
    for index in range(streams):
        another, other = honest_stream(random) if index % 4 == 0 else (method, stream)
        broken = mutated(stream, other, random)
        got = outcome_of(process_channel, method, broken)
        assert got.is_documented, (got, method, broken)
        succeeded += got.succeeded
        if index % BROKEN_BETWEEN == 0:
            good_call(process_channel)
        method, stream = another, other
    assert streams / 10 < succeeded < streams / 1.5
    assert server_process.process.poll() is None
    assert "Traceback" not in server_process.log


def test_numbers_at_the_ends_of_the_range_end_as_documented(
    server_process: ServerProcess, process_channel: grpc.Channel, share: int
) -> None:
    """Of regularizers by each method, half of all ways: elements, parameters and step sizes."""
    random = Random(2)  # noqa: S311 - the same calls every time
    ways = list(product(CASES, METHODS, (0.1, 1.0)))
    for case, method, some in random.sample(ways, len(ways) // (2 * share)):
        regularizer = message_of(case.regularizer)
        holder = getattr(regularizer, case.regularizer.name)
        for path in hostile.reals(holder.DESCRIPTOR):
            if hostile.is_set(holder, path) and random.random() < some:
                hostile.put(holder, path, random.choice(hostile.REALS), random)
        size = int(np.prod(case.shape))
        x = np.where(
            [random.random() < some for _ in range(size)], random.choices(hostile.REALS, k=size), 0.3
        )
        segment = Segment(name="w", shape=case.shape, regularizer=regularizer)
        of = ParameterLayout(data_type=DATA_TYPE_FLOAT64, segments=[segment])
        fields: dict[str, Any] = {"non_finite_policy": NON_FINITE_POLICY_PROPAGATE}
        if method == "proximal_step":
            fields["step_size"] = random.choice((0.0, 5e-324, 1.0, 1e200, 1e308))
        elements = TensorChunk(parameters=x.astype("<f8").tobytes())
        message = request(method, header=header(method, of, **fields), chunk=elements)
        got = outcome_of(process_channel, method, [message])
        assert got.is_documented, (got, case, message)
    good_call(process_channel)
    assert "Traceback" not in server_process.log
