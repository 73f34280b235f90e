"""Whole streams through the service's handlers: an answer, or an error for which the schema has a reason.

An input is a method and some messages, each behind its length; any bytes are one.
"""

from __future__ import annotations

import struct
import time
from random import Random
from typing import TYPE_CHECKING

from regularization.v1.errors_pb2 import ErrorReason

from tests.support.in_process_calls import Service
from tests.support.messages import KINDS, METHODS
from tests.support.mutated_streams import honest_stream, mutated
from tests.support.outcomes import DOCUMENTED, FAULTS

if TYPE_CHECKING:
    from collections.abc import Iterator

MEMORY = 64 << 20
NAMES = [kind.name for kind in KINDS.values()]
MOST_MESSAGES = 64
LONGEST_SECONDS = 1.0
"""Of a processor, for an input of some KiB."""

REASONS = set(ErrorReason.keys()) - FAULTS


def written(name: str, messages: list[bytes]) -> bytes:
    """The input that is this stream."""
    parts = [bytes([NAMES.index(name)])]
    for message in messages:
        parts += (struct.pack("<H", min(len(message), 0xFFFF)), message[:0xFFFF])
    return b"".join(parts)


def read(data: bytes) -> tuple[str, list[bytes]]:
    """The stream that an input is."""
    messages, at = [], 1
    while at + 2 <= len(data) and len(messages) < MOST_MESSAGES:
        (length,) = struct.unpack_from("<H", data, at)
        messages.append(data[at + 2 : at + 2 + length])
        at += 2 + length
    return NAMES[data[0] % len(NAMES)] if data else NAMES[0], messages


class Streams:
    """The target: makes a call of each input.

    Attributes:
        answered: How many calls had an answer.
        refused: How many were refused.
    """

    def __init__(self) -> None:
        self.answered = 0
        self.refused = 0
        self._service = Service(MEMORY)

    def __call__(self, data: bytes) -> None:
        """Make the call, and see that it ends as it should."""
        name, messages = read(data)
        began = time.process_time()
        ended = self._service.call(name, messages)
        took = time.process_time() - began
        if self._service.faults:
            raise self._service.faults.pop()
        if ended.reason is None:
            assert ended.code.value[0] == 0, (ended.code, data)
            self.answered += 1
        else:
            assert ended.code in DOCUMENTED, (ended, data)
            assert ended.reason in REASONS, (ended, data)
            self.refused += 1
        assert self._service.is_at_rest, data
        assert took < LONGEST_SECONDS, (took, data)


def honest(seed: int) -> bytes:
    """An honest stream; each seed has its own."""
    random = Random(seed)  # noqa: S311 - the same streams every time
    method, stream = honest_stream(random)
    return written(METHODS[method].name, stream)


def mutant(data: bytes, seed: int) -> bytes:
    """A stream with something changed: bytes, numbers, or which messages there are."""
    random = Random(seed)  # noqa: S311 - the fuzzer's own seed
    name, messages = read(data)
    if not messages:
        return honest(seed)
    if random.random() < 0.05:
        name = random.choice(NAMES)
    _, others = read(honest(seed))
    return written(name, mutated(messages, others, random))


def seeds(count: int) -> Iterator[bytes]:
    """Streams to begin with."""
    return map(honest, range(count))
