"""Request streams of ProximalStep, ready to be sent, and stubs that send them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import grpc
from regularization.v1 import (
    layout_pb2,
    regularization_service_pb2,
    regularization_service_pb2_grpc,
    regularizers_pb2,
    summary_pb2,
    tensor_pb2,
)

from benchmarks.harness.arithmetic import STEP_SIZE, STRENGTH

METHOD = "/regularization.v1.RegularizationService/ProximalStep"
TIMEOUT = 300.0


def proximal_step_requests(
    chunks: Iterable[bytes],
    size: int,
    *,
    figures: bool = True,
    strength: float = STRENGTH,
    sparse: bool = False,
) -> Iterator[regularization_service_pb2.ProximalStepRequest]:
    """Makes the messages of one L1 proximal step of a flat float32 vector, header and first chunk in one.

    Args:
        chunks: The vector's bytes.
        size: How many bytes they are together.
        figures: Whether the summary has the penalty, the nonzeros and the squared distance.
        strength: That of the norm.
        sparse: Whether results may be sparse.
    """
    choice = summary_pb2.SummaryFigures(penalty=figures, nonzeros=figures, squared_distance=figures)
    regularizer = regularizers_pb2.Regularizer(l1_norm=regularizers_pb2.L1Norm(strength=strength))
    segment = layout_pb2.Segment(name="parameters", shape=[size // 4], regularizer=regularizer)
    layout = layout_pb2.ParameterLayout(data_type=layout_pb2.DATA_TYPE_FLOAT32, segments=[segment])
    header = regularization_service_pb2.ProximalStepHeader(
        layout=layout, step_size=STEP_SIZE, figures=choice, accept_sparse_results=sparse
    )
    offset = 0
    for chunk in chunks:
        yield regularization_service_pb2.ProximalStepRequest(
            header=None if offset else header,
            chunk=tensor_pb2.TensorChunk(element_offset=offset // 4, parameters=chunk),
        )
        offset += len(chunk)


class StubClient:
    """Calls ProximalStep through the generated stub, as a client in any language would.

    Args:
        address: Where the server listens.
    """

    def __init__(self, address: str) -> None:
        self._channel = grpc.insecure_channel(address)
        self._stub = regularization_service_pb2_grpc.RegularizationServiceStub(self._channel)

    def __call__(self, requests: Iterable[regularization_service_pb2.ProximalStepRequest]) -> int:
        """Streams the messages up, reads the answers as they come, and returns the size of their results."""
        received, whole = 0, False
        for response in self._stub.ProximalStep(iter(requests), timeout=TIMEOUT):
            received += len(response.chunk.values)
            whole = response.HasField("summary")
        if not whole:
            raise RuntimeError("the stream ended without its summary")
        return received

    def __enter__(self) -> StubClient:
        return self

    def __exit__(self, *_: object) -> None:
        self._channel.close()
