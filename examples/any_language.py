"""The smallest complete client: nothing but gRPC and the code generated from the schema.

    regularization-server --listen unix:/tmp/r.sock &
    python examples/any_language.py unix:/tmp/r.sock

A program in any other language does the same with the code generated for it. A small vector is one message
up, with the header and the vector's bytes, and one message down, with the new vector's bytes and the summary.
A vector of more than 1 MiB goes in several messages, of which the first has the header.
"""

from __future__ import annotations

import struct
import sys

import grpc
from regularization.v1 import (
    layout_pb2,
    regularization_service_pb2,
    regularization_service_pb2_grpc,
    regularizers_pb2,
    tensor_pb2,
)

THETA = (0.8, -0.3, 0.5)
STRENGTH = 0.1
STEP_SIZE = 1.0
SECONDS = 10.0


def main(target: str) -> None:
    """Ask for the L1 norm's penalty at `THETA` and for its proximal step from there."""
    regularizer = regularizers_pb2.Regularizer(l1_norm=regularizers_pb2.L1Norm(strength=STRENGTH))
    segment = layout_pb2.Segment(name="weight", shape=[len(THETA)], regularizer=regularizer)
    layout = layout_pb2.ParameterLayout(data_type=layout_pb2.DATA_TYPE_FLOAT64, segments=[segment])
    chunk = tensor_pb2.TensorChunk(parameters=struct.pack(f"<{len(THETA)}d", *THETA))

    with grpc.insecure_channel(target) as channel:
        service = regularization_service_pb2_grpc.RegularizationServiceStub(channel)

        penalty_header = regularization_service_pb2.PenaltyHeader(layout=layout)
        question = regularization_service_pb2.PenaltyRequest(header=penalty_header, chunk=chunk)
        answer = service.Penalty(iter([question]), timeout=SECONDS)
        print(f"penalty         {answer.summary.total.penalty.value:g}")

        step_header = regularization_service_pb2.ProximalStepHeader(layout=layout, step_size=STEP_SIZE)
        request = regularization_service_pb2.ProximalStepRequest(header=step_header, chunk=chunk)
        responses = list(service.ProximalStep(iter([request]), timeout=SECONDS))
        # The last response has the summary; where it is missing, the stream is not whole.
        if not responses or not responses[-1].HasField("summary"):
            raise RuntimeError("the stream ended before its summary")
        total = responses[-1].summary.total
        values = b"".join(response.chunk.values for response in responses)
        parameters = struct.unpack(f"<{len(THETA)}d", values)
        print(f"new parameters  ({', '.join(f'{value:g}' for value in parameters)})")
        print(f"new penalty     {total.penalty.value:g}")
        print(f"nonzeros        {total.nonzeros} of {total.elements}")
        print(f"distance²       {total.squared_distance.value:g}")


if __name__ == "__main__":
    main(sys.argv[1])
