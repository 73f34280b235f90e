"""A client that the conformance vectors can check: nothing but gRPC and the code generated from the schema.

    python -m conformance.check_client -- python examples/conformance_client.py

A program in any other language does the same. It is started with the server's address, reads calls to make
from its input and writes what came of them to its output: each a line of JSON, and behind it as many bytes as
it says, which are messages in gRPC's frames. Every request is decoded and encoded again by generated code,
and so is every response: that is what is checked.
"""

from __future__ import annotations

import base64
import json
import sys
from typing import BinaryIO

import grpc
from regularization.training.v1 import augmentation_pb2, early_stopping_pb2
from regularization.v1 import regularization_service_pb2

FILES = (regularization_service_pb2, augmentation_pb2, early_stopping_pb2)


def main(target: str, jobs: BinaryIO, answers: BinaryIO) -> None:
    """Make call after call, until the input ends."""
    with grpc.insecure_channel(target) as channel:
        for line in iter(jobs.readline, b""):
            job = json.loads(line)
            requests = list(frames(jobs.read(job["request_bytes"])))
            answer, responses = call(channel, job, requests)
            framed = b"".join(b"\0" + len(each).to_bytes(4, "big") + each for each in responses)
            answers.write(json.dumps(answer | {"response_bytes": len(framed)}).encode() + b"\n" + framed)
            answers.flush()


def frames(data: bytes):
    """The messages in gRPC's frames: a byte 0, the length in four bytes, big-endian, and the message."""
    while data:
        end = 5 + int.from_bytes(data[1:5], "big")
        yield data[5:end]
        data = data[end:]


def call(channel: grpc.Channel, job: dict, requests: list[bytes]) -> tuple[dict, list[bytes]]:
    """Make a call: what the answer's line says of its end, and the responses."""
    request, response = types(job["method"])
    # gRPC writes the requests in a thread of its own while this one reads: a long stream needs both at once.
    method = channel.stream_stream(f"/{job['method']}", request.SerializeToString, response.FromString)
    responses = []
    try:
        answers = method(map(request.FromString, requests), timeout=job["deadline_seconds"])
        responses.extend(each.SerializeToString() for each in answers)
    except grpc.RpcError as error:
        details = dict(error.trailing_metadata() or ()).get("grpc-status-details-bin", b"")
        encoded = base64.b64encode(details).decode()
        return {"code": error.code().name, "details": encoded, "message": error.details()}, responses
    return {"code": "OK"}, responses


def types(method: str):
    """The classes of a method's request and response."""
    service, name = method.split("/")
    for file in FILES:
        for each in file.DESCRIPTOR.services_by_name.values():
            if each.full_name == service:
                found = each.methods_by_name[name]
                return found.input_type._concrete_class, found.output_type._concrete_class
    raise LookupError(f"no method {method}")


if __name__ == "__main__":
    main(sys.argv[1], sys.stdin.buffer, sys.stdout.buffer)
