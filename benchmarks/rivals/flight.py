"""Arrow Flight with the same arithmetic: DoExchange, ``python -m benchmarks.rivals.flight``.

Record batches of one float32 column go up, and for a proximal step come down, for a penalty one number does.
Needs pyarrow. It serves until its standard input closes.
"""

from __future__ import annotations

import argparse
import sys
import threading
from collections.abc import Iterator
from typing import Any

import numpy as np
import pyarrow as pa
from pyarrow import flight

from benchmarks.harness.arithmetic import Arithmetic, Vector, soft_threshold
from benchmarks.harness.measure import CHUNK_BYTES

ROWS = CHUNK_BYTES // 4
VECTOR = pa.schema([("values", pa.float32())])
NUMBER = pa.schema([("penalty", pa.float64())])
STEP, PENALTY = b"proximal_step", b"penalty"


class Server(flight.FlightServerBase):  # type: ignore[misc]  # it has no types
    """Answers a stream of record batches; what is asked for is the descriptor's command."""

    def do_exchange(self, context: Any, descriptor: Any, reader: Any, writer: Any) -> None:
        """Serve one stream."""
        del context
        if descriptor.command == PENALTY:
            arithmetic = Arithmetic()
            for values in _columns(reader):
                arithmetic.add(values)
            writer.begin(NUMBER)
            writer.write_batch(_batch(np.array([arithmetic.penalty]), NUMBER))
            return
        writer.begin(VECTOR)
        for values in _columns(reader):
            # gRPC may hold on to what is written, so every batch has memory of its own.
            writer.write_batch(_batch(soft_threshold(values, np.empty_like(values)), VECTOR))


class Client:
    """Calls the server with arrays.

    Args:
        address: Where the server listens.
    """

    def __init__(self, address: str) -> None:
        self._client = flight.connect(_location(address))

    def proximal_step(self, parameters: Vector, out: Vector) -> None:
        """Take the step, into an array of the same length."""
        begin = 0
        for values in self._exchange(STEP, parameters):
            out[begin : begin + values.size] = values
            begin += values.size

    def penalty(self, parameters: Vector) -> float:
        """The penalty."""
        (values,) = self._exchange(PENALTY, parameters)
        return float(values[0])

    def _exchange(self, command: bytes, parameters: Vector) -> Iterator[Any]:
        writer, reader = self._client.do_exchange(flight.FlightDescriptor.for_command(command))
        with writer:
            sender = threading.Thread(target=self._send, args=(writer, parameters))
            sender.start()
            yield from _columns(reader)
            sender.join()

    @staticmethod
    def _send(writer: Any, parameters: Vector) -> None:
        writer.begin(VECTOR)
        for begin in range(0, parameters.size, ROWS):
            writer.write_batch(_batch(parameters[begin : begin + ROWS], VECTOR))
        writer.done_writing()

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_: object) -> None:
        self._client.close()


def _location(address: str) -> str:
    return "grpc+" + address.replace("unix:", "unix://")


def _columns(reader: Any) -> Iterator[Any]:
    """The arrays that come in, without a copy."""
    for chunk in reader:
        yield chunk.data.column(0).to_numpy(zero_copy_only=True)


def _batch(values: Any, schema: Any) -> Any:
    return pa.RecordBatch.from_arrays([pa.array(values)], schema=schema)


def main() -> None:
    """Serve as the command line says."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--address", required=True)
    server = Server(_location(parser.parse_args().address))
    threading.Thread(target=server.serve, daemon=True).start()
    sys.stdin.read()
    server.shutdown()


if __name__ == "__main__":
    main()
