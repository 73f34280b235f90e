"""Streams whose bytes an attacker changes, or chance: a documented error or an answer, never a fault."""

from __future__ import annotations

import math
import struct
from itertools import product
from random import Random
from typing import TYPE_CHECKING, Any

import numpy as np
from regularization.v1.layout_pb2 import (
    DATA_TYPE_FLOAT64,
    DataType,
    ElementRange,
    ParameterLayout,
    Rounding,
    Segment,
)
from regularization.v1.regularization_service_pb2 import NON_FINITE_POLICY_PROPAGATE
from regularization.v1.tensor_pb2 import TensorChunk
from regularization_kernels.engine import DATA_TYPES, contract_name

from tests.support import hostile_numbers as hostile
from tests.support.cases import CASES
from tests.support.instances import message_of
from tests.support.messages import METHODS, good_call, header, request
from tests.support.outcomes import outcome_of
from tests.support.shared_memory import operands_for

if TYPE_CHECKING:
    import grpc

    from tests.support.processes import ServerProcess

STREAMS = 3_000


def honest_stream(random: Random) -> tuple[str, list[bytes]]:
    """A stream of a few messages with a few segments, and its method."""
    method = random.choice(list(METHODS))
    data_type = random.choice(DATA_TYPES)
    cases = random.sample(CASES, 2)
    segments = [
        Segment(name=f"s{index}", shape=case.shape, regularizer=message_of(case.regularizer))
        for index, case in enumerate(cases)
    ]
    of = ParameterLayout(data_type=DataType.Value(f"DATA_TYPE_{contract_name(data_type)}"), segments=segments)
    size = sum(int(np.prod(case.shape)) for case in cases)
    fields: dict[str, Any] = {"element_range": ElementRange(begin=0, end=size)}
    if method != "penalty":
        fields |= {"rounding": Rounding(seed=3), "accept_sparse_results": True}
    if random.random() < 0.5:
        fields["non_finite_policy"] = NON_FINITE_POLICY_PROPAGATE
    names = [] if method == "penalty" or random.random() < 0.5 else ["loss_gradients"]
    operands = operands_for(size, *names, data_type=data_type)
    messages = [request(method, header=header(method, of, **fields))]
    step = max(1, size // random.randint(1, 3))
    for begin in range(0, size, step):
        cut = slice(begin * data_type.itemsize, (begin + step) * data_type.itemsize)
        parts: dict[str, Any] = {name: raw[cut] for name, raw in operands.items()}
        messages.append(request(method, chunk=TensorChunk(element_offset=begin, **parts)))
    return method, [message.SerializeToString() for message in messages]


def mutated(stream: list[bytes], other: list[bytes], random: Random) -> list[bytes]:
    """The stream with something changed: bytes of a message, or which messages there are."""
    changed = list(stream)
    at = random.randrange(len(changed))
    kind = random.randrange(8)
    if kind == 0:
        changed.insert(at, random.choice(other))
    elif kind == 1:
        changed[at] = random.choice(other)
    elif kind == 2:
        del changed[at]
    elif kind == 3:
        random.shuffle(changed)
    elif kind == 4:
        foreign = random.choice(other)
        changed[at] = changed[at][: random.randint(0, len(changed[at]))] + foreign[-random.randint(1, 20) :]
    else:
        changed[at] = mutated_bytes(changed[at], random)
    return changed


def mutated_bytes(raw: bytes, random: Random) -> bytes:
    """A message with a few bytes changed, left out, repeated or put in, or with another number in it."""
    changed = bytearray(raw)
    for _ in range(random.choice((1, 1, 2, 5))):
        begin = random.randint(0, len(changed))
        end = min(len(changed), begin + random.choice((1, 1, 2, 4, 8, 30)))
        piece = changed[begin:end]
        new = random.choice(
            (
                bytes(byte ^ 1 << random.randrange(8) for byte in piece),
                random.choice((b"", piece * 2, piece[::-1], bytes(len(piece)), b"\xff" * len(piece))),
                random.randbytes(len(piece)),
                struct.pack("<d", random.choice(hostile.REALS)),
                struct.pack("<f", random.choice((0.0, 3e38, 1e-45, math.inf, math.nan))),
                varint(random.choice(hostile.NEAR)),
            )
        )
        changed[begin : begin + len(new) if len(new) > 2 else end] = new
    return bytes(changed)


def varint(number: int) -> bytes:
    """A number as protobuf writes it: a negative one as if it had 64 bits."""
    number &= (1 << 64) - 1
    raw = bytearray()
    while number > 0x7F:
        raw.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes([*raw, number])


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
        good_call(process_channel)
        method, stream = another, other
    assert streams / 10 < succeeded < streams / 1.5
    assert server_process.process.poll() is None
    assert "Traceback" not in server_process.log


def test_numbers_at_the_ends_of_the_range_end_as_documented(
    server_process: ServerProcess, process_channel: grpc.Channel, share: int
) -> None:
    """Of every regularizer by every method: elements, parameters and step sizes."""
    random = Random(2)  # noqa: S311 - the same calls every time
    ways = list(product(CASES, METHODS, (0.1, 1.0)))
    for case, method, some in random.sample(ways, len(ways) // share):
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
