"""A server that answers as a test tells it to: for faults that the real one does not have."""

from __future__ import annotations

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
}


class _Handler(grpc.GenericRpcHandler):
    def __init__(self, answer: Answer, catalogue: service.ListRegularizersResponse | None) -> None:
        self._answer = answer
        self._catalogue = catalogue

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> Any:
        method = str(handler_call_details.method).rpartition("/")[2]
        if method == "ListRegularizers":
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
    elements, size = 0, 4
    for request in requests:
        if request.HasField("header"):
            size = 4 * request.header.layout.data_type
        if request.chunk.parameters:
            yield result(request.chunk.element_offset, request.chunk.parameters)
            elements += len(request.chunk.parameters) // size
    yield summary(elements)


def result(offset: int, values: bytes) -> service.ProximalStepResponse:
    """A message with a result chunk."""
    return service.ProximalStepResponse(chunk=tensor_pb2.ResultChunk(element_offset=offset, values=values))


def summary(elements: int) -> service.ProximalStepResponse:
    """A message with a summary that counts elements."""
    figures = summary_pb2.Figures(elements=elements)
    return service.ProximalStepResponse(summary=summary_pb2.Summary(total=figures))
