"""The services that one writes first: ``python -m benchmarks.rivals.protobuf_services``.

The arithmetic is the same. A message has a vector, as ``repeated float`` or as ``bytes``, and goes through
protobuf objects on both sides. Each method is a bidirectional stream: ``Step`` answers every message with
one, ``Penalty`` all of them with one. It serves until its standard input closes.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import grpc
import numpy as np
from google.protobuf import descriptor_pool, message_factory
from google.protobuf.descriptor_pb2 import FieldDescriptorProto as Field
from google.protobuf.descriptor_pb2 import FileDescriptorProto

from benchmarks.harness.arithmetic import Arithmetic, Vector
from benchmarks.harness.measure import CHUNK_BYTES

SERVICE = "benchmarks.Vectors"
TIMEOUT = 120.0
ELEMENTS = CHUNK_BYTES // 4
THREADS = 4


@dataclass(frozen=True, slots=True)
class Form:
    """How a message has a vector."""

    message: Any
    """The message's class."""
    write: Callable[[Vector], Any]
    """From an array to the field's value."""
    read: Callable[[Any], Vector]
    """From the field's value to an array."""

    def messages(self, vectors: Iterator[Vector]) -> Iterator[Any]:
        """A message for each vector."""
        return (self.message(values=self.write(vector)) for vector in vectors)


def _message(field_type: Field.Type.ValueType, label: Field.Label.ValueType) -> Any:
    """The class of ``message Vector { <label> <type> values = 1; }``."""
    file = FileDescriptorProto(name="vector.proto", package="benchmarks", syntax="proto3")
    file.message_type.add(name="Vector").field.add(name="values", number=1, type=field_type, label=label)
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("benchmarks.Vector"))


FORMS = {
    "repeated": Form(
        _message(Field.TYPE_FLOAT, Field.LABEL_REPEATED),
        write=lambda vector: vector.tolist(),
        read=lambda values: np.array(values, np.float32),
    ),
    "bytes": Form(
        _message(Field.TYPE_BYTES, Field.LABEL_OPTIONAL),
        write=lambda vector: vector.tobytes(),
        read=lambda values: np.frombuffer(values, np.float32),
    ),
}


class Client:
    """Calls the service with arrays.

    Args:
        address: Where the server listens.
        form: Which of the two services it is.
    """

    def __init__(self, address: str, form: str) -> None:
        self._form = FORMS[form]
        self._channel = grpc.insecure_channel(address)
        self._step, self._penalty = (
            self._channel.stream_stream(
                f"/{SERVICE}/{method}", self._form.message.SerializeToString, self._form.message.FromString
            )
            for method in ("Step", "Penalty")
        )

    def proximal_step(self, parameters: Vector, out: Vector) -> None:
        """Take the step, into an array of the same length."""
        begin = 0
        for answer in self._step(self._requests(parameters), timeout=TIMEOUT):
            values = self._form.read(answer.values)
            out[begin : begin + values.size] = values
            begin += values.size

    def penalty(self, parameters: Vector) -> float:
        """The penalty."""
        (answer,) = self._penalty(self._requests(parameters), timeout=TIMEOUT)
        return float(self._form.read(answer.values)[0])

    def _requests(self, parameters: Vector) -> Iterator[Any]:
        begins = range(0, parameters.size, ELEMENTS)
        return self._form.messages(parameters[begin : begin + ELEMENTS] for begin in begins)

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_: object) -> None:
        self._channel.close()


def serve(address: str, form: Form) -> None:
    """Serves one of the two."""

    def step(requests: Iterator[Any], _: grpc.ServicerContext) -> Iterator[Any]:
        arithmetic = Arithmetic()
        return form.messages(arithmetic.step(form.read(request.values)) for request in requests)

    def penalty(requests: Iterator[Any], _: grpc.ServicerContext) -> Iterator[Any]:
        arithmetic = Arithmetic()
        for request in requests:
            arithmetic.add(form.read(request.values))
        return form.messages(iter([np.array([arithmetic.penalty], np.float32)]))

    handlers = {
        name: grpc.stream_stream_rpc_method_handler(
            method, form.message.FromString, form.message.SerializeToString
        )
        for name, method in (("Step", step), ("Penalty", penalty))
    }
    server = grpc.server(ThreadPoolExecutor(THREADS))
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, handlers),))
    server.add_insecure_port(address)
    server.start()
    sys.stdin.read()
    server.stop(None).wait()


def main() -> None:
    """Serve as the command line says."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--address", required=True)
    parser.add_argument("--form", choices=FORMS, required=True)
    arguments = parser.parse_args()
    serve(arguments.address, FORMS[arguments.form])


if __name__ == "__main__":
    main()
