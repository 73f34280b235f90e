"""What the fuzzer tries by the million, here a few hundred times and without it; and that it would notice."""

from __future__ import annotations

from itertools import product
from random import Random
from typing import TYPE_CHECKING, Any

import grpc
import pytest
from regularization import sparse, wire
from regularization_server.calls import service
from regularization_server.contract import header_bytes

from tests.fuzz import formats, streams
from tests.support.in_process_calls import Service
from tests.support.messages import chunk, header, request
from tests.support.mutated_streams import mutated_bytes

if TYPE_CHECKING:
    from collections.abc import Callable

STREAMS = 150
INPUTS = [streams.honest(seed) for seed in range(STREAMS)]
MESSAGES = [message for stream in INPUTS for message in streams.read(stream)[1]]
HEADERS = [bytes(raw) for each in MESSAGES if (raw := wire.decode_request(each).header) is not None]


def mutants(messages: list[bytes]) -> list[bytes]:
    """The messages, and each with something changed."""
    random = Random(3)  # noqa: S311 - the same every time
    return [*messages, *(mutated_bytes(message, random) for message in messages)]


@pytest.mark.parametrize(
    ("target", "kinds", "messages"),
    [
        (formats.wire_format, 7, MESSAGES),
        (formats.header_format, 5, HEADERS),
        (formats.sparse_format, 1, MESSAGES),
    ],
)
def test_formats_read_by_hand_are_what_they_should_be(
    target: Callable[[bytes], None], kinds: int, messages: list[bytes]
) -> None:
    """Of honest messages and of mutants, as each kind that there is."""
    for kind, message in product(range(kinds), mutants(messages)):
        target(bytes([kind]) + message)


def test_streams_end_as_documented() -> None:
    """Honest ones have answers mostly, mutants mostly not."""
    target = streams.Streams()
    for stream in INPUTS:
        target(stream)
    assert target.answered > target.refused
    for seed, stream in enumerate(INPUTS):
        target(streams.mutant(stream, seed))
    assert target.refused > STREAMS / 2


def test_any_bytes_are_a_stream() -> None:
    """None of the fuzzer's inputs is lost."""
    random = Random(4)  # noqa: S311 - the same every time
    target = streams.Streams()
    for size in (0, 1, 2, 3, 10, 100):
        target(random.randbytes(size))
    method, messages = streams.read(INPUTS[0])
    assert streams.written(method, messages) == INPUTS[0]


def try_all(target: Callable[[bytes], None], inputs: list[bytes]) -> None:
    """Try inputs one after the other."""
    for each in inputs:
        target(each)


def fails(instead: Any) -> Callable[..., Any]:
    """A function that is as another but fails now and then."""
    count = iter(range(1 << 30))

    def function(*arguments: Any, **keywords: Any) -> Any:
        if next(count) % 10 == 9:
            raise KeyError("x")
        return instead(*arguments, **keywords)

    return function


@pytest.mark.parametrize(
    ("owner", "name", "target", "messages"),
    [
        (service, "summary_of", streams.Streams, INPUTS),
        (service, "call_of", streams.Streams, INPUTS),
        (wire, "_varint", lambda: formats.wire_format, MESSAGES),
        (header_bytes, "_apart", lambda: formats.header_format, HEADERS),
        (sparse.SparseElements, "write_into", lambda: formats.sparse_format, MESSAGES),
    ],
)
def test_a_fault_is_noticed(
    monkeypatch: pytest.MonkeyPatch, owner: Any, name: str, target: Any, messages: list[bytes]
) -> None:
    """Where a function fails, the target does."""
    made = target()
    monkeypatch.setattr(owner, name, fails(getattr(owner, name)))
    kinds = [b""] if target is streams.Streams else [bytes([kind]) for kind in range(7)]
    with pytest.raises(KeyError):
        try_all(made, [kind + message for kind, message in product(kinds, messages)])


def test_a_difference_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where a message is read as another one."""
    read = wire.decode_request
    monkeypatch.setattr(wire, "decode_request", lambda raw: read(raw)._replace(chunk=None))
    with pytest.raises(AssertionError):
        try_all(formats.wire_format, [bytes([2]) + message for message in MESSAGES])


def test_calls_without_a_transport_end_as_others() -> None:
    """With the same answers, statuses and reasons, and nothing is left of them."""
    calls = Service(1 << 20)
    first = request("gradient", header=header("gradient")).SerializeToString()
    rest = request("gradient", chunk=chunk()).SerializeToString()
    assert calls.call("Gradient", [first, rest]).code is grpc.StatusCode.OK
    ended = calls.call("Gradient", [rest])
    assert (ended.code, ended.reason) == (grpc.StatusCode.INVALID_ARGUMENT, "ERROR_REASON_HEADER_MISSING")
    assert calls.is_at_rest
    assert calls.faults == []
