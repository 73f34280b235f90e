"""Streams of messages as honest callers send them, and with something changed."""

from __future__ import annotations

import math
import struct
from typing import TYPE_CHECKING, Any

import numpy as np
from regularization.v1.layout_pb2 import (
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
from tests.support.messages import METHODS, header, request
from tests.support.shared_memory import operands_for

if TYPE_CHECKING:
    from random import Random


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
