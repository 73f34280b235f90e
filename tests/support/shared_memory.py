"""A client of the hand-off, as docs/shared-memory.md describes it, and calls on the memory that it gets."""

from __future__ import annotations

import fcntl
import mmap
import os
import socket
import struct
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import grpc
import numpy as np
import pytest
from regularization.v1.shared_memory_pb2 import SharedStretch, SharedTensor
from regularization.v1.tensor_pb2 import TensorChunk

from tests.support.messages import TIMEOUT, Failed, answers, header, request

if TYPE_CHECKING:
    from collections.abc import Iterator

    from regularization.v1.layout_pb2 import ParameterLayout
    from regularization_server import Server

Stretches = dict[str, SharedStretch]

CHUNK = 1 << 19
"""Bytes of an operand in one chunk: all operands together fit a message."""

ALLOCATE, RELEASE = 1, 2
OK, MALFORMED, NO_ROOM, TOO_MANY_REGIONS, NO_SUCH_REGION = range(5)
NO_HANDLE = bytes(16)


@dataclass(frozen=True)
class Reply:
    """What the hand-off answers."""

    status: int
    zero: int
    size: int
    handle: bytes


class Memory:
    """A region, mapped here."""

    def __init__(self, handle: bytes, descriptor: int, size: int) -> None:
        self.handle = handle
        self.size = size
        self.seals = fcntl.fcntl(descriptor, fcntl.F_GET_SEALS)
        self.bytes = mmap.mmap(descriptor, size)
        os.close(descriptor)

    def at(self, byte_offset: int = 0) -> SharedStretch:
        """The stretch that begins at a byte."""
        return SharedStretch(region=self.handle, byte_offset=byte_offset)

    def elements(self, count: int = -1, byte_offset: int = 0, data_type: str = "<f4") -> np.ndarray[Any, Any]:
        """The elements there; writing to them writes to the region."""
        return np.frombuffer(self.bytes, data_type, count, byte_offset)


class HandOffClient:
    """A connection to the hand-off beside a server's address."""

    def __init__(self, address: str) -> None:
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.settimeout(TIMEOUT)
        name = address.removeprefix("unix:")
        if address.startswith("unix-abstract:"):
            name = "\0" + address.removeprefix("unix-abstract:")
        try:
            self.socket.connect(f"{name}.memory")
        except OSError:
            self.close()
            raise

    def ask(
        self, operation: int, size: int = 0, handle: bytes = NO_HANDLE, magic: bytes = b"RGM1"
    ) -> tuple[Reply, list[int]]:
        """Send a request; the reply, and the descriptors that come with it."""
        self.socket.sendall(struct.pack("<4sIQ16s", magic, operation, size, handle))
        return self.receive()

    def receive(self) -> tuple[Reply, list[int]]:
        """Wait for a reply."""
        raw, descriptors, _, _ = socket.recv_fds(self.socket, 32, 1)
        if not raw:
            raise EOFError("the server closed the connection")
        return Reply(*struct.unpack("<IIQ16s", raw)), descriptors

    def allocate(self, size: int) -> Memory:
        """Get a region that must be there to be had."""
        reply, (descriptor,) = self.ask(ALLOCATE, size)
        assert (reply.status, reply.zero, reply.size) == (OK, 0, size)
        return Memory(reply.handle, descriptor, size)

    def holding(self, *values: float, data_type: str = "<f4") -> Memory:
        """Get a region that has these elements."""
        array = np.array(values, dtype=data_type)
        memory = self.allocate(array.nbytes)
        memory.elements(data_type=data_type)[...] = array
        return memory

    def release(self, memory: Memory) -> int:
        """Give a region back; the status of the reply."""
        reply, _ = self.ask(RELEASE, handle=memory.handle)
        return reply.status

    def close(self) -> None:
        """Close the connection."""
        self.socket.close()


@contextmanager
def hand_off_of(address: str) -> Iterator[HandOffClient]:
    """A connection to the hand-off of the server at an address."""
    client = HandOffClient(address)
    try:
        yield client
    finally:
        client.close()


def shared_request(method: str, of: ParameterLayout, stretches: Stretches, **fields: Any) -> Any:
    """The one message of a call on shared memory."""
    return request(method, header=header(method, of, shared=SharedTensor(**stretches), **fields))


def shared_call(
    channel: grpc.Channel,
    method: str,
    of: ParameterLayout,
    stretches: Stretches,
    **fields: Any,
) -> Any:
    """Make a call on shared memory; its one answer, which has no chunk."""
    (answer,) = answers(channel, method, [shared_request(method, of, stretches, **fields)])
    assert method == "penalty" or not answer.HasField("chunk")
    return answer


def in_memory(client: HandOffClient, method: str, operands: dict[str, bytes]) -> tuple[Memory, Stretches]:
    """A region with these operands one after the other and, behind them, room for the result."""
    size = len(operands["parameters"])
    memory = client.allocate(max(1, size * (len(operands) + 1)))
    stretches = {}
    for index, (name, raw) in enumerate(operands.items()):
        memory.bytes[index * size : (index + 1) * size] = raw
        stretches[name] = memory.at(index * size)
    if method != "penalty":
        stretches["result"] = memory.at(len(operands) * size)
    return memory, stretches


def mapped_regions(process: int) -> int:
    """How many regions a process has mapped, as the system sees it."""
    lines = Path(f"/proc/{process}/maps").read_text(encoding="utf-8").splitlines()
    return sum("memfd:regularization" in line for line in lines)


def random_bytes(count: int, data_type: str, seed: int, *, positive: bool = False) -> bytes:
    """So many elements of a data type, with zeros among them."""
    random = np.random.default_rng(seed)
    values = np.where(random.random(count) < 0.2, 0.0, random.normal(size=count))
    if np.dtype(data_type).kind == "i":  # fixed point
        values *= np.iinfo(data_type).max / 8
    return (np.abs(values) if positive else values).astype(np.dtype(data_type)).tobytes()


def operands_for(count: int, *names: str, data_type: str = "f4") -> dict[str, bytes]:
    """Parameters and operands of a call."""
    return {
        name: random_bytes(count, data_type, seed, positive=name in {"weights", "step_scales"})
        for seed, name in enumerate(("parameters", *names))
    }


def over_the_wire(
    channel: grpc.Channel, method: str, of: ParameterLayout, operands: dict[str, bytes], **fields: Any
) -> tuple[bytes, Any]:
    """The results and the summary of a call with chunks."""
    size = len(operands["parameters"])
    width = size // max(1, elements_of(of)) or 1
    stream = [request(method, header=header(method, of, **fields))]
    for begin in range(0, size, CHUNK):
        parts: dict[str, Any] = {name: raw[begin : begin + CHUNK] for name, raw in operands.items()}
        stream.append(request(method, chunk=TensorChunk(element_offset=begin // width, **parts)))
    got = answers(channel, method, stream)
    values = b"".join(answer.chunk.values for answer in got) if method != "penalty" else b""
    return values, got[-1].summary


def elements_of(of: ParameterLayout) -> int:
    """Elements of a layout."""
    return sum(int(np.prod(segment.shape, dtype=np.int64)) for segment in of.segments)


def in_shared_memory(
    client: HandOffClient,
    channel: grpc.Channel,
    method: str,
    of: ParameterLayout,
    operands: dict[str, bytes],
    result_in: str | None = None,
    **fields: Any,
) -> tuple[bytes, Any]:
    """The results and the summary of a call on shared memory; the result may lie in an operand's place."""
    memory, stretches = in_memory(client, method, operands)
    try:
        if result_in is not None:
            stretches["result"] = stretches[result_in]
        summary = shared_call(channel, method, of, stretches, **fields).summary
        size = len(operands["parameters"])
        for name, raw in operands.items():
            if name != result_in:
                begin = stretches[name].byte_offset
                assert memory.bytes[begin : begin + size] == raw, f"{name} has changed"
        if method == "penalty":
            return b"", summary
        begin = stretches["result"].byte_offset
        return memory.bytes[begin : begin + size], summary
    finally:
        assert client.release(memory) == OK


def failed(channel: grpc.Channel, method: str, stream: list[Any]) -> Failed:
    """How a call fails that must fail."""
    with pytest.raises(grpc.RpcError) as caught:
        answers(channel, method, stream)
    return Failed.of(caught.value)


def regions_of(server: Server) -> tuple[int, int]:
    """Bytes and number of the regions that a server has mapped."""
    assert server.regions is not None
    return server.regions.used, server.regions.mapped
