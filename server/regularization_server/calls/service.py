"""The methods of the service: messages in, engine, messages out. Errors become statuses elsewhere."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import partial
from itertools import chain
from typing import TYPE_CHECKING, NamedTuple

import grpc
from regularization import wire
from regularization.v1 import regularization_service_pb2
from regularization.v1.regularization_service_pb2 import (
    ListRegularizersRequest,
    ListRegularizersResponse,
    PenaltyResponse,
)
from regularization_kernels.engine import Method, Reservation, Run
from regularization_kernels.errors import HeaderMissing, HeaderRepeated, RegularizationError, StreamTooLong

from ..contract.answers import Answer
from ..contract.binding import within
from ..contract.catalogue import catalogue
from ..contract.header_bytes import read_header
from ..contract.headers import HEADERS, call_of
from ..contract.refusals import FieldUnknown
from ..contract.summaries import LARGEST_MESSAGE, check_summary_fits, summary_of
from ..contract.tensors import chunk_of
from ..settings import MIB
from ..shared_memory.shared_calls import SHARED, SharedRun
from .admission import check_wanted, count_elements, note_shared_memory

if TYPE_CHECKING:
    from regularization.v1.summary_pb2 import Summary as SummaryMessage
    from regularization_kernels.engine import Call, Chunk, MemoryBudget, ResultChunk

    from ..shared_memory.regions import Regions

SERVICE = regularization_service_pb2.DESCRIPTOR.services_by_name["RegularizationService"].full_name
"""Full name of the service."""

LARGEST_SHARED_CHUNK = MIB
"""Bytes of the largest last chunk that shares a message with the summary, where both fit one."""

_FRAMES = 64
"""Bytes of a response message beside its elements and its summary: tags, lengths and an offset."""


class _Opened(NamedTuple):
    """What a stream's first message asks for."""

    call: Call
    shared: SharedRun | None
    """Where its elements lie in shared memory, if they do."""
    may_be_sparse: bool
    """Whether the client takes sparse results."""
    requests: Iterator[wire.Request]
    """All messages, the first included."""


class RegularizationService:
    """The service of the contract.

    Args:
        budget: Where all calls take their buffers from.
        regions: The memory that is shared with clients; None where none is.
        threads: How many work at once on a call in shared memory.
    """

    def __init__(self, budget: MemoryBudget, regions: Regions | None = None, threads: int = 1) -> None:
        self._budget = budget
        self._regions = regions
        self._threads = threads

    def handlers(self) -> grpc.GenericRpcHandler:
        """Its methods as gRPC serves them; not by generated code, for chunks do not go through protobuf."""
        return grpc.method_handlers_generic_handler(
            SERVICE,
            {
                "Penalty": grpc.stream_unary_rpc_method_handler(
                    self.penalty, wire.decode_request, PenaltyResponse.SerializeToString
                ),
                "Gradient": grpc.stream_stream_rpc_method_handler(
                    self.gradient, wire.decode_request, Answer.to_bytes
                ),
                "ProximalStep": grpc.stream_stream_rpc_method_handler(
                    self.proximal_step, wire.decode_request, Answer.to_bytes
                ),
                "ListRegularizers": grpc.unary_unary_rpc_method_handler(
                    self.list_regularizers,
                    ListRegularizersRequest.FromString,
                    ListRegularizersResponse.SerializeToString,
                ),
            },
        )

    def penalty(self, requests: Iterator[wire.Request], context: grpc.ServicerContext) -> PenaltyResponse:
        """Compute the penalty of a stream of chunks."""
        with Reservation(self._budget) as held:
            call, shared, _, requests = self._opened(requests, context, Method.PENALTY, held)
            if shared is not None:
                _check_no_elements(requests, call)
                return PenaltyResponse(summary=self._computed(shared, context))
            with Run(call, self._budget, check=partial(check_wanted, context)) as run:
                for chunk in _chunks(requests, call):
                    count_elements(chunk.parameters.size)
                    _fed(run, chunk)
                return PenaltyResponse(summary=summary_of(run.finish()))

    def gradient(self, requests: Iterator[wire.Request], context: grpc.ServicerContext) -> Iterator[Answer]:
        """Answer each chunk with its gradient."""
        return self._answers(requests, context, Method.GRADIENT)

    def proximal_step(
        self, requests: Iterator[wire.Request], context: grpc.ServicerContext
    ) -> Iterator[Answer]:
        """Answer each chunk with its new parameters."""
        return self._answers(requests, context, Method.PROXIMAL_STEP)

    def list_regularizers(
        self, request: ListRegularizersRequest, context: grpc.ServicerContext
    ) -> ListRegularizersResponse:
        """Tell the catalogue."""
        return catalogue()

    def _answers(
        self, requests: Iterator[wire.Request], context: grpc.ServicerContext, method: Method
    ) -> Iterator[Answer]:
        with Reservation(self._budget) as held:
            call, shared, may_be_sparse, requests = self._opened(requests, context, method, held)
            if shared is None:
                yield from self._streamed(call, requests, context, may_be_sparse)
                return
            _check_no_elements([next(requests)], call)
            yield Answer(summary=self._computed(shared, context))
            _check_no_elements(requests, call, first=1)

    def _streamed(
        self,
        call: Call,
        requests: Iterator[wire.Request],
        context: grpc.ServicerContext,
        may_be_sparse: bool,
    ) -> Iterator[Answer]:
        whole, end = False, call.end
        with Run(call, self._budget, check=partial(check_wanted, context)) as run:
            for chunk in _chunks(requests, call):
                count_elements(chunk.parameters.size)
                for result in _fed(run, chunk):
                    if result.element_offset + result.values.size < end:
                        yield Answer(result, None, may_be_sparse)
                    else:
                        # All elements are there: the summary is known. It does not wait for the half-close,
                        # for a caller may wait for this answer first. What is sent yet is still checked.
                        whole = True
                        yield from _last_answers(result, summary_of(run.summary()), may_be_sparse)
            if not whole:
                yield Answer(summary=summary_of(run.finish()))

    def _computed(self, shared: SharedRun, context: grpc.ServicerContext) -> SummaryMessage:
        return summary_of(shared.compute(self._budget, self._threads, partial(check_wanted, context)))

    def _opened(
        self,
        requests: Iterator[wire.Request],
        context: grpc.ServicerContext,
        method: Method,
        held: Reservation,
    ) -> _Opened:
        """What the first message asks for; ``held`` is what its header takes of the budget."""
        first = _first(requests)
        header = read_header(first.header, HEADERS[method])
        with within("header"):
            held.add(header.memory)
        call, shared = call_of(header, method, partial(check_wanted, context)), None
        held.reduce_to(header.memory_kept)
        check_summary_fits(call)
        message = header.message
        if message.HasField("shared"):
            note_shared_memory()
            shared = SharedRun(message.shared, call, self._regions)
            count_elements(call.end - call.begin)
        may_be_sparse = getattr(message, "accept_sparse_results", False)
        # The header's bytes are not kept.
        return _Opened(call, shared, may_be_sparse, chain([wire.Request(None, first.chunk)], requests))


class _First(NamedTuple):
    """What a stream's first message must have, and may have."""

    header: memoryview
    chunk: wire.Chunk | None


def _first(requests: Iterator[wire.Request]) -> _First:
    first = next(requests, None)
    if first is not None:
        _check_known(first, 0)
    if first is None or first.header is None:
        what = "no message" if first is None else "a message without"
        raise HeaderMissing(f"must be set in the stream's first message, got {what}", field="header")
    return _First(first.header, first.chunk)


def _check_known(request: wire.Request, index: int) -> None:
    """Refuse a message, which has this index in its stream, that says more than the schema has."""
    if request.unknown is not None:
        path, number = request.unknown
        subject = "" if path else "a request message "
        raise FieldUnknown.at(path, number, subject, message=index)


def _chunks(requests: Iterable[wire.Request], call: Call, first: int = 0) -> Iterator[Chunk]:
    """The chunks of messages, the first of which has this index in its stream."""
    for index, request in enumerate(requests, first):
        _check_known(request, index)
        if index and request.header is not None:
            text = f"must be set in the stream's first message only, got another in message {index}"
            raise HeaderRepeated(text, field="header", message=index)
        if request.chunk is not None:
            yield chunk_of(request.chunk, call.layout.data_type)


def _fed(run: Run, chunk: Chunk) -> list[ResultChunk]:
    """What a run answers to a chunk; the engine names the chunk's fields alone."""
    try:
        return run.feed(chunk)
    except RegularizationError as error:
        if error.field is not None:
            error.within("chunk")
        raise


def _check_no_elements(requests: Iterable[wire.Request], call: Call, first: int = 0) -> None:
    """Go through messages of a call on shared memory, the first of which has this index in its stream."""
    for chunk in _chunks(requests, call, first):
        if chunk.parameters.size:
            raise StreamTooLong(
                f"must be empty where {SHARED} is set, got {chunk.parameters.size} elements",
                field="chunk.parameters",
                element=chunk.element_offset,
                expected=call.begin,
                received=chunk.end,
            )


def _last_answers(result: ResultChunk, summary: SummaryMessage, may_be_sparse: bool) -> Iterator[Answer]:
    together = result.values.nbytes + summary.ByteSize() + _FRAMES
    if result.values.nbytes <= LARGEST_SHARED_CHUNK and together <= LARGEST_MESSAGE:
        yield Answer(result, summary, may_be_sparse)
    else:
        yield Answer(result, None, may_be_sparse)
        yield Answer(summary=summary)
