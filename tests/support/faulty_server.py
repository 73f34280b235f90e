"""A server that answers as a test tells it to: for faults that the real one does not have."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from concurrent import futures
from contextlib import contextmanager
from typing import Any

import grpc
from regularization.v1 import regularization_service_pb2 as service
from regularization.v1 import summary_pb2, tensor_pb2

Answer = Callable[[Iterable[Any], grpc.ServicerContext], Iterator[Any]]

_REQUESTS: dict[str, Any] = {
    "Penalty": service.PenaltyRequest,
    "Gradient": service.GradientRequest,
    "ProximalStep": service.ProximalStepRequest,
    "Measure": service.MeasureRequest,
    "Combine": service.CombineRequest,
    "ListRegularizers": service.ListRegularizersRequest,
}


class _Handler(grpc.GenericRpcHandler):
    def __init__(self, answer: Answer, catalogue: service.ListRegularizersResponse | None) -> None:
        self._answer = answer
        self._catalogue = catalogue

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> Any:
        method = str(handler_call_details.method).rpartition("/")[2]
        if method not in _REQUESTS:
            return None
        if method == "ListRegularizers" and self._catalogue is not None:
            return grpc.unary_unary_rpc_method_handler(
                lambda request, context: self._catalogue,
                request_deserializer=service.ListRegularizersRequest.FromString,
                response_serializer=service.ListRegularizersResponse.SerializeToString,
            )
        return grpc.stream_stream_rpc_method_handler(
            self._answer,
            request_deserializer=_REQUESTS[method].FromString,
            response_serializer=lambda message: message.SerializeToString(),
        )


@contextmanager
def answering(
    answer: Answer,
    address: str = "localhost:0",
    credentials: grpc.ServerCredentials | None = None,
    catalogue: service.ListRegularizersResponse | None = None,
) -> Iterator[str]:
    """Serve an answer to every stream, and maybe a catalogue; the value is the address."""
    server = grpc.server(futures.ThreadPoolExecutor(4))
    server.add_generic_rpc_handlers((_Handler(answer, catalogue),))
    if credentials is None:
        port = server.add_insecure_port(address)
    else:
        port = server.add_secure_port(address, credentials)
    server.start()
    try:
        yield address if address.startswith("unix:") else f"localhost:{port}"
    finally:
        server.stop(None).wait()


def echo(requests: Iterable[Any], context: grpc.ServicerContext) -> Iterator[Any]:
    """Answer as the proximal step of nothing at all does: what came goes back, with a summary at the end."""
    elements, size, names = 0, 4, dict[str, int]()
    for request in requests:
        if isinstance(request, service.ListRegularizersRequest):
            continue
        if request.HasField("header"):
            size = 4 * request.header.layout.data_type
            names = _segments(request.header)
        if request.chunk.parameters:
            yield result(request.chunk.element_offset, request.chunk.parameters)
            elements += len(request.chunk.parameters) // size
    yield summary(elements, names)


def result(offset: int, values: bytes) -> service.ProximalStepResponse:
    """A message with a result chunk."""
    return service.ProximalStepResponse(chunk=tensor_pb2.ResultChunk(element_offset=offset, values=values))


def summary(elements: int, segments: dict[str, int] | None = None) -> service.ProximalStepResponse:
    """A message with a summary that counts elements: of the segments, or of one array without a name."""
    entries = [
        summary_pb2.SegmentSummary(name=name, figures=_figures(size))
        for name, size in (segments or {"parameters": elements}).items()
    ]
    return service.ProximalStepResponse(
        summary=summary_pb2.Summary(total=_figures(elements), segments=entries)
    )


def _figures(elements: int) -> summary_pb2.Figures:
    zero = summary_pb2.ExactSum()
    return summary_pb2.Figures(elements=elements, penalty=zero, nonzeros=0, squared_distance=zero)


def _segments(header: Any) -> dict[str, int]:
    """How many elements of each segment a call carries, of those that it touches."""
    sizes = [math.prod(segment.shape) for segment in header.layout.segments]
    first, last = 0, sum(sizes)
    if header.HasField("element_range"):
        first, last = header.element_range.begin, header.element_range.end
    touched, begin = {}, 0
    for segment, size in zip(header.layout.segments, sizes, strict=True):
        if begin < last and first < begin + size:
            touched[segment.name] = min(begin + size, last) - max(begin, first)
        begin += size
    return touched
