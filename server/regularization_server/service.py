"""The methods of the service: messages in, engine, messages out. Errors become statuses elsewhere."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import chain
from typing import TYPE_CHECKING, Any

import grpc
from regularization.v1 import regularization_service_pb2
from regularization.v1.regularization_service_pb2 import (
    GradientRequest,
    ListRegularizersRequest,
    ListRegularizersResponse,
    PenaltyRequest,
    PenaltyResponse,
    ProximalStepRequest,
)
from regularization_kernels.engine import Method, Run
from regularization_kernels.errors import HeaderMissing, HeaderRepeated

from .calls import count_elements
from .catalogue import catalogue
from .frames import Answer, reader
from .headers import call_of
from .settings import MIB
from .summaries import summary_of
from .tensors import chunk_of

if TYPE_CHECKING:
    from regularization_kernels.engine import Call, Chunk, MemoryBudget, ResultChunk, Summary

    from .frames import ChunkRequest

    Request = PenaltyRequest | GradientRequest | ProximalStepRequest | ChunkRequest

SERVICE = regularization_service_pb2.DESCRIPTOR.services_by_name["RegularizationService"].full_name
"""Full name of the service."""

LARGEST_SHARED_CHUNK = MIB
"""Bytes of the largest last chunk that shares a message with the summary; both must fit 4 MiB."""


class RegularizationService:
    """The service of the contract.

    Args:
        budget: Where all calls take their buffers from.
    """

    def __init__(self, budget: MemoryBudget) -> None:
        self._budget = budget

    def handlers(self) -> grpc.GenericRpcHandler:
        """Its methods as gRPC serves them; not by generated code, for chunks do not go through protobuf."""
        return grpc.method_handlers_generic_handler(
            SERVICE,
            {
                "Penalty": grpc.stream_unary_rpc_method_handler(
                    self.penalty, reader(PenaltyRequest), PenaltyResponse.SerializeToString
                ),
                "Gradient": grpc.stream_stream_rpc_method_handler(
                    self.gradient, reader(GradientRequest), Answer.to_bytes
                ),
                "ProximalStep": grpc.stream_stream_rpc_method_handler(
                    self.proximal_step, reader(ProximalStepRequest), Answer.to_bytes
                ),
                "ListRegularizers": grpc.unary_unary_rpc_method_handler(
                    self.list_regularizers,
                    ListRegularizersRequest.FromString,
                    ListRegularizersResponse.SerializeToString,
                ),
            },
        )

    def penalty(self, requests: Iterator[Any], context: grpc.ServicerContext) -> PenaltyResponse:
        """Compute the penalty of a stream of chunks."""
        call, requests = _opened(requests, Method.PENALTY)
        with Run(call, self._budget) as run:
            for chunk in _chunks(requests, call):
                run.feed(chunk)
            return PenaltyResponse(summary=summary_of(run.finish()))

    def gradient(self, requests: Iterator[Any], context: grpc.ServicerContext) -> Iterator[Answer]:
        """Answer each chunk with its gradient."""
        return self._answers(requests, Method.GRADIENT)

    def proximal_step(self, requests: Iterator[Any], context: grpc.ServicerContext) -> Iterator[Answer]:
        """Answer each chunk with its new parameters."""
        return self._answers(requests, Method.PROXIMAL_STEP)

    def list_regularizers(
        self, request: ListRegularizersRequest, context: grpc.ServicerContext
    ) -> ListRegularizersResponse:
        """Tell the catalogue."""
        return catalogue()

    def _answers(self, requests: Iterator[Request], method: Method) -> Iterator[Answer]:
        call, requests = _opened(requests, method)
        whole = False
        with Run(call, self._budget) as run:
            for chunk in _chunks(requests, call):
                for result in run.feed(chunk):
                    if result.element_offset + result.values.size < call.end:
                        yield Answer(result)
                    else:
                        # All elements are there: the summary is known. It does not wait for the half-close,
                        # for a caller may wait for this answer first. What is sent yet is still checked.
                        whole = True
                        yield from _last_answers(result, run.finish())
            if not whole:
                yield Answer(summary=summary_of(run.finish()))


def _opened(requests: Iterator[Request], method: Method) -> tuple[Call, Iterator[Request]]:
    """What the first message asks for, and all messages again, the first included."""
    first: Any = next(requests, None)
    if first is None or not first.HasField("header"):
        what = "no message" if first is None else "a message without"
        raise HeaderMissing(f"must be set in the stream's first message, got {what}", field="header")
    return call_of(first.header, method), chain([first], requests)


def _chunks(requests: Iterable[Request], call: Call) -> Iterator[Chunk]:
    for index, request in enumerate(requests):
        if index and request.HasField("header"):
            text = f"must be set in the stream's first message only, got another in message {index}"
            raise HeaderRepeated(text, field="header", message=index)
        if request.HasField("chunk"):
            chunk = chunk_of(request.chunk, call.layout.data_type)
            count_elements(chunk.parameters.size)
            yield chunk


def _last_answers(result: ResultChunk, summary: Summary) -> Iterator[Answer]:
    if result.values.nbytes <= LARGEST_SHARED_CHUNK:
        yield Answer(result, summary_of(summary))
    else:
        yield Answer(result)
        yield Answer(summary=summary_of(summary))
