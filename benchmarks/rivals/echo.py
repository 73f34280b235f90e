"""A bare gRPC server on raw bytes, the baseline of the subjects: ``python -m benchmarks.rivals.echo``.

It has no serializer or deserializer, so it is what gRPC itself costs in Python: a bidirectional method that
answers each message with one, and on threads also one that answers all of them with a single empty one, and a
unary one. It serves until its standard input closes.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

import grpc
import grpc.aio
import numpy as np
import numpy.typing as npt
from regularization_server.process.preparation import prepare

from benchmarks.harness.servers import module_server

SERVICE = "benchmarks.Echo"
METHOD = f"/{SERVICE}/Exchange"
ABSORB_METHOD = f"/{SERVICE}/Absorb"
UNARY_METHOD = f"/{SERVICE}/Unary"
TIMEOUT = 120.0
THRESHOLD = np.float32(0.5)
MAXIMUM_THREADS = 4096
"""A stream of the threaded server holds one thread; threads are made when they are needed."""


def echo_server(
    work: str = "echo", concurrency: str = "threads", *options: str
) -> Callable[[str], Sequence[str]]:
    """The command line of this server; see ``main`` for what the arguments may be."""
    return module_server("benchmarks.rivals.echo", f"--work={work}", f"--concurrency={concurrency}", *options)


class SoftThreshold:
    """The proximal step of L1 on one message of float32 numbers, into a buffer that is reused."""

    def __init__(self) -> None:
        self._buffer: npt.NDArray[np.float32] = np.empty(0, np.float32)

    def __call__(self, message: bytes) -> bytes:
        """Answers one message."""
        values = np.frombuffer(message, np.float32)
        if self._buffer.size < values.size:
            self._buffer = np.empty(values.size, np.float32)
        result = self._buffer[: values.size]
        np.clip(values, -THRESHOLD, THRESHOLD, out=result)
        np.subtract(values, result, out=result)
        return result.tobytes()


def unchanged(message: bytes) -> bytes:
    """Answers one message with itself."""
    return message


WORK: dict[str, Callable[[], Callable[[bytes], bytes]]] = {
    "echo": lambda: unchanged,
    "soft_threshold": SoftThreshold,
}


def serve_with_threads(address: str, work: str) -> None:
    """Serves with `grpc.server`: one thread for each stream."""

    def exchange(requests: Iterator[bytes], _: grpc.ServicerContext) -> Iterator[bytes]:
        return map(WORK[work](), requests)

    def absorb(requests: Iterator[bytes], _: grpc.ServicerContext) -> Iterator[bytes]:
        deque(requests, maxlen=0)
        yield b""

    def unary(request: bytes, _: grpc.ServicerContext) -> bytes:
        return WORK[work]()(request)

    server = grpc.server(ThreadPoolExecutor(MAXIMUM_THREADS))
    handlers: dict[str, grpc.RpcMethodHandler[bytes, bytes]] = {
        "Absorb": grpc.stream_stream_rpc_method_handler(absorb),
        "Unary": grpc.unary_unary_rpc_method_handler(unary),
    }
    _serve_methods(server, address, exchange, handlers)
    server.start()
    sys.stdin.read()
    server.stop(None).wait()


async def serve_with_asyncio(address: str, work: str) -> None:
    """Serves with `grpc.aio`: one event loop for all streams, the work done in it."""

    async def exchange(requests: AsyncIterator[bytes], _: object) -> AsyncIterator[bytes]:
        answer = WORK[work]()
        async for message in requests:
            yield answer(message)

    server = grpc.aio.server()
    _serve_methods(server, address, exchange, {})
    await server.start()
    await asyncio.to_thread(sys.stdin.read)
    await server.stop(None)


def _serve_methods(
    server: grpc.Server | grpc.aio.Server,
    address: str,
    exchange: Callable[..., object],
    others: dict[str, grpc.RpcMethodHandler[bytes, bytes]],
) -> None:
    handler: grpc.RpcMethodHandler[bytes, bytes] = grpc.stream_stream_rpc_method_handler(exchange)
    handlers = {"Exchange": handler, **others}
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, handlers),))
    server.add_insecure_port(address)


class EchoClient:
    """Calls a bidirectional method with raw bytes, over a channel of its own.

    Args:
        address: Where the server listens.
        method: The method's path; by default that of a server of this module.
    """

    def __init__(self, address: str, method: str = METHOD) -> None:
        self._channel = grpc.insecure_channel(address)
        self._exchange: grpc.StreamStreamMultiCallable[bytes, bytes] = self._channel.stream_stream(method)
        self._exchange_once: grpc.UnaryUnaryMultiCallable[bytes, bytes] = self._channel.unary_unary(method)

    def __call__(self, messages: Iterable[bytes]) -> int:
        """Streams messages up, reads the answers as they come, and returns how many bytes they had."""
        return sum(len(answer) for answer in self._exchange(iter(messages), timeout=TIMEOUT))

    def arrays(self, values: npt.NDArray[np.float32], out: npt.NDArray[np.float32], size: int) -> None:
        """Streams an array up in messages of ``size`` elements, and what comes back into another."""
        messages = (values[begin : begin + size].tobytes() for begin in range(0, values.size, size))
        end = 0
        for answer in self._exchange(messages, timeout=TIMEOUT):
            received = np.frombuffer(answer, np.float32)
            out[end : end + received.size] = received
            end += received.size

    def once(self, message: bytes) -> int:
        """Sends one message, for which one comes back, and returns how many bytes it had."""
        return len(self._exchange_once(message, timeout=TIMEOUT))

    def __enter__(self) -> EchoClient:
        return self

    def __exit__(self, *_: object) -> None:
        self._channel.close()


def main() -> None:
    """Serves as the command line says."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--address", required=True)
    parser.add_argument("--work", choices=WORK, default="echo")
    parser.add_argument("--concurrency", choices=("threads", "asyncio"), default="threads")
    parser.add_argument(
        "--prepared",
        action="store_true",
        help="set malloc as regularization-server does",
    )
    arguments = parser.parse_args()
    if arguments.prepared:
        prepare()
    if arguments.concurrency == "threads":
        serve_with_threads(arguments.address, arguments.work)
    else:
        asyncio.run(serve_with_asyncio(arguments.address, arguments.work))


if __name__ == "__main__":
    main()
