"""The methods of the service: messages in, engine, messages out. Errors become statuses elsewhere."""

from __future__ import annotations

from collections.abc import Generator, Iterable, Iterator
from itertools import chain
from typing import TYPE_CHECKING, NamedTuple

from regularization import wire
from regularization.v1 import regularization_service_pb2
from regularization.v1.regularization_service_pb2 import (
    ListRegularizersRequest,
    ListRegularizersResponse,
    PenaltyResponse,
)
from regularization_kernels.engine import Method, Reservation, Run
from regularization_kernels.errors import RegularizationError, StreamTooLong

from ..contract.answers import Answer
from ..contract.binding import within
from ..contract.catalogue import catalogue
from ..contract.header_bytes import read_header
from ..contract.headers import HEADERS, call_of
from ..contract.known_layouts import KnownLayouts
from ..contract.summaries import LARGEST_MESSAGE, check_summary_fits, summary_of
from ..contract.tensors import chunk_of
from ..settings import MIB
from ..shared_memory.shared_calls import SHARED, SharedRun
from .messages import chunks_of, first_of

if TYPE_CHECKING:
    from regularization.v1.summary_pb2 import Summary as SummaryMessage
    from regularization_kernels.engine import Call, MemoryBudget, ResultChunk

    from ..contract.header_bytes import ReadHeader
    from ..shared_memory.regions import Regions
    from .context import CallContext

    Requests = Iterator[wire.Request]

SERVICE = regularization_service_pb2.DESCRIPTOR.services_by_name["RegularizationService"].full_name
"""Full name of the service."""

CHUNK = "chunk"
"""Name of the field of a message that a chunk stands in."""

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
    requests: Requests
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
        self._layouts = KnownLayouts()

    def penalty(self, requests: Requests, context: CallContext) -> PenaltyResponse:
        """Compute the penalty of a stream of chunks."""
        with Reservation(self._budget) as held:
            call, shared, _, requests = self._opened(requests, context, Method.PENALTY, held)
            if shared is not None:
                _check_no_elements(requests, call)
                return PenaltyResponse(summary=self._computed(shared, context))
            with Run(call, self._budget, check=context.check_wanted) as run:
                for chunk in chunks_of(requests):
                    _feed(run, chunk, call, context)
                return PenaltyResponse(summary=summary_of(run.finish()))

    def gradient(self, requests: Requests, context: CallContext) -> Generator[Answer]:
        """Answer each chunk with its gradient."""
        return self._answers(requests, context, Method.GRADIENT)

    def proximal_step(self, requests: Requests, context: CallContext) -> Generator[Answer]:
        """Answer each chunk with its new parameters."""
        return self._answers(requests, context, Method.PROXIMAL_STEP)

    def list_regularizers(self, request: ListRegularizersRequest) -> ListRegularizersResponse:
        """List the regularizers."""
        return catalogue()

    def _answers(self, requests: Requests, context: CallContext, method: Method) -> Generator[Answer]:
        with Reservation(self._budget) as held:
            call, shared, may_be_sparse, requests = self._opened(requests, context, method, held)
            if shared is None:
                yield from self._streamed(call, requests, context, may_be_sparse)
                return
            _check_no_elements([next(requests)], call)
            yield Answer(summary=self._computed(shared, context))
            _check_no_elements(requests, call, begin=1)

    def _streamed(
        self, call: Call, requests: Requests, context: CallContext, may_be_sparse: bool
    ) -> Iterator[Answer]:
        is_whole = False
        with Run(call, self._budget, check=context.check_wanted) as run:
            for chunk in chunks_of(requests):
                for result in _feed(run, chunk, call, context):
                    if result.element_offset + result.values.size < call.end:
                        yield Answer(result, None, may_be_sparse)
                    else:
                        # All elements are there: the summary is known. It does not wait for the half-close,
                        # for a caller may wait for this answer first. What is sent yet is still checked.
                        is_whole = True
                        yield from _last_answers(result, summary_of(run.summary()), may_be_sparse)
            if not is_whole:
                yield Answer(summary=summary_of(run.finish()))

    def _computed(self, shared: SharedRun, context: CallContext) -> SummaryMessage:
        return summary_of(shared.compute(self._budget, self._threads, context.check_wanted))

    def _opened(self, requests: Requests, context: CallContext, method: Method, held: Reservation) -> _Opened:
        """What the first message asks for; ``held`` is what its header takes of the budget."""
        first = first_of(requests)
        header = read_header(first.header, HEADERS[method], self._layouts)
        call = _charged_call(header, context, method, held)
        check_summary_fits(call)
        if header.layout is None and header.layout_bytes is not None:
            self._layouts.keep(header.layout_bytes, call.layout)
        message, shared = header.message, None
        if message.HasField("shared"):
            context.in_shared_memory = True
            shared = SharedRun(message.shared, call, self._regions)
            context.elements += call.end - call.begin
        may_be_sparse = getattr(message, "accept_sparse_results", False)
        # The header's bytes are not kept.
        return _Opened(call, shared, may_be_sparse, chain([wire.Request(None, first.chunk)], requests))


def _charged_call(header: ReadHeader, context: CallContext, method: Method, held: Reservation) -> Call:
    """The engine's call, its memory taken from the budget before it is made. A small header takes none."""
    if not header.memory:
        return call_of(header, method, context.check_wanted)
    with within("header"):
        held.add(header.memory)
    call = call_of(header, method, context.check_wanted)
    held.reduce_to(header.memory_kept)
    return call


def _feed(run: Run, message: wire.Chunk, call: Call, context: CallContext) -> list[ResultChunk]:
    """Give the engine a chunk, and return the answers that are complete. Chunks are fed here only."""
    with within(CHUNK):
        chunk = chunk_of(message, call.layout.data_type)
    context.elements += chunk.parameters.size
    try:
        return run.feed(chunk)
    except RegularizationError as error:
        if error.field is not None:  # the engine names fields of a chunk alone
            error.within(CHUNK)
        raise


def _check_no_elements(requests: Iterable[wire.Request], call: Call, begin: int = 0) -> None:
    """Go through messages of a call on shared memory, the first of which has this index in its stream."""
    for message in chunks_of(requests, begin):
        with within(CHUNK):
            chunk = chunk_of(message, call.layout.data_type)
            if chunk.parameters.size:
                raise StreamTooLong(
                    f"must be empty where {SHARED} is set, got {chunk.parameters.size} elements",
                    field="parameters",
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
